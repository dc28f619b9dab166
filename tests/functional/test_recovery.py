import torch

from sup_lightning.functional.recovery import max_cosine


def test_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    learned = torch.randn(3, 7, 5, generator=generator)
    given = torch.randn(4, 5, generator=generator)
    for k in range(3):
        for j in range(4):
            best = max(abs(float(torch.cosine_similarity(row, given[j], dim=0))) for row in learned[k])
            assert abs(float(max_cosine(learned, given)[k, j]) - best) < 1e-6


def test_dead_directions_match_nothing() -> None:
    assert max_cosine(torch.zeros(2, 3), torch.eye(3)).tolist() == [0, 0, 0]
