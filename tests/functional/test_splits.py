"""Parts of strata."""

import torch

from sup_lightning.functional.splits import dealt


def test_parts_are_alike() -> None:
    strata = torch.arange(100) % 7
    part = dealt(strata, 9)
    assert set(part.bincount(minlength=9).tolist()) == {11, 12}
    for stratum in range(7):
        counts = part[strata == stratum].bincount(minlength=9)
        assert int(counts.max() - counts.min()) <= 1
    assert torch.equal(part, dealt(strata, 9))
    assert not torch.equal(part, dealt(strata, 9, seed=1))
