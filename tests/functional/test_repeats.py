"""Which targets were shown before, against a loop over all earlier places."""

from itertools import pairwise

import torch

from sup_lightning.functional.repeats import repeated_pairs


def test_repeated_pairs_are_those_of_a_loop() -> None:
    rows = torch.randint(0, 4, (20, 15), generator=torch.Generator().manual_seed(0))
    found = repeated_pairs(rows[:, :-1], rows[:, 1:])
    for row, known in zip(rows.tolist(), found.tolist(), strict=True):
        pairs = list(pairwise(row))
        assert known == [pair in pairs[:t] for t, pair in enumerate(pairs)]
