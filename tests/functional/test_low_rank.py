"""Low-rank products, against the matrices that they stand for."""

import pytest
import torch

from sup_lightning.functional.low_rank import (
    LowRank,
    composition,
    degenerate_groups,
    frobenius,
    random_composition,
    singular_vectors,
)


def random(d_in: int, rank: int, d_out: int, seed: int) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((d_in, rank), (rank, d_out))
    return LowRank(*(torch.randn(3, *shape, generator=generator).double() for shape in shapes))


A, B = random(20, 4, 15, 0), random(15, 5, 12, 1)
FULL_A, FULL_B = A.left @ A.right, B.left @ B.right


def test_norm_product_and_transpose() -> None:
    torch.testing.assert_close(frobenius(A), torch.linalg.matrix_norm(FULL_A))
    both = A.then(B)
    torch.testing.assert_close(both.left @ both.right, FULL_A @ FULL_B)
    torch.testing.assert_close(A.mT.left @ A.mT.right, FULL_A.mT)


def test_singular_vectors_are_those_of_the_matrix() -> None:
    u, s, v = singular_vectors(A)
    torch.testing.assert_close(s, torch.linalg.svdvals(FULL_A)[:, :4])
    torch.testing.assert_close(u @ torch.diag_embed(s) @ v.mT, FULL_A)
    for basis in (u, v):
        torch.testing.assert_close(basis.mT @ basis, torch.eye(4).double().expand(3, 4, 4), rtol=0, atol=1e-12)


def test_composition_is_that_of_the_matrices() -> None:
    norms = [torch.linalg.matrix_norm(each) for each in (FULL_A @ FULL_B, FULL_A, FULL_B)]
    torch.testing.assert_close(composition(A, B), norms[0] / norms[1] / norms[2])
    aligned = LowRank(torch.eye(6)[:, :1], torch.eye(6)[:1])
    assert float(composition(aligned, aligned)) == 1.0


def test_random_maps_compose_as_the_dimension_says() -> None:
    """E |A B|² / |A|² = |B|² / d for a random A, whatever B is."""
    reads = random(64, 16, 64, 2)
    null = random_composition(reads, rank=16, n_draws=50)
    assert null.shape == (50, 3)
    assert float(null.mean()) == pytest.approx(64**-0.5, rel=0.02)
    assert torch.equal(random_composition(reads, 16, 5), null[:5])


def test_near_equal_singular_values_are_one_subspace() -> None:
    assert degenerate_groups(torch.tensor([2.0, 1.0, 0.5])) == [range(0, 1), range(1, 2), range(2, 3)]
    assert degenerate_groups(torch.tensor([1.0, 0.96, 0.93, 0.5]), 0.05) == [range(0, 3), range(3, 4)]
    assert degenerate_groups(torch.tensor([1.0, 0.96, 0.93, 0.5]), 0.01) == [range(k, k + 1) for k in range(4)]
    assert degenerate_groups(torch.ones(1)) == [range(0, 1)]
