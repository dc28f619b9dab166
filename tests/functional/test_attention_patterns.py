"""Scores of attention patterns, against loops over queries and keys."""

import torch

from sup_lightning.functional.attention_patterns import back_profile, match_scores

GENERATOR = torch.Generator().manual_seed(0)
PATTERN = torch.randn(3, 2, 9, 9, generator=GENERATOR).double().tril().masked_fill(torch.ones(9, 9).triu(1) > 0, -1e9)
PATTERN = PATTERN.softmax(dim=-1)
TOKENS = torch.randint(0, 4, (3, 9), generator=GENERATOR)


def test_back_profile_is_that_of_a_loop() -> None:
    found = back_profile(PATTERN, 4)
    for row in range(3):
        for head in range(2):
            for k in range(5):
                expected = sum(PATTERN[row, head, q, q - k] for q in range(k, 9)) / (9 - k)
                torch.testing.assert_close(found[row, head, k], expected)


def test_match_scores_are_those_of_a_loop() -> None:
    offsets = (0, 1, 2, 3)
    found = match_scores(PATTERN, TOKENS, offsets)
    for row in range(3):
        for place, offset in enumerate(offsets):
            attention, uniform = [], []
            for q in range(9):
                keys = [j for j in range(offset, q + 1) if j - offset < q and TOKENS[row, j - offset] == TOKENS[row, q]]
                if keys:
                    attention.append(PATTERN[row, :, q, keys].sum(dim=1))
                    uniform.append(len(keys) / (q + 1))
            torch.testing.assert_close(found.attention[row, :, place], torch.stack(attention).mean(dim=0))
            torch.testing.assert_close(found.uniform[row, place], torch.tensor(uniform, dtype=torch.float64).mean())


def test_uniform_attention_has_no_excess_and_rows_without_a_copy_do_not_count() -> None:
    uniform = torch.ones(2, 1, 6, 6).tril()
    uniform = uniform / uniform.sum(dim=-1, keepdim=True)
    tokens = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5]])
    found = match_scores(uniform, tokens, [1])
    assert found.attention[1].isnan().all()
    torch.testing.assert_close(found.excess, torch.zeros(1, 1))
