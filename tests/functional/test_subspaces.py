"""Subspaces against closed forms."""

import pytest
import torch

from sup_lightning.functional.subspaces import (
    energy_fraction,
    overlap_above_chance,
    projected,
    random_subspaces,
    span,
)


def test_span_is_what_the_vectors_span() -> None:
    basis = torch.linalg.qr(torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).double()).Q
    vectors = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double() @ basis.mT
    found = span(vectors)
    assert found.shape == (10, 3)
    torch.testing.assert_close(found @ found.mT, basis @ basis.mT)
    assert span(vectors, 2).shape == (10, 2)


def test_energy_and_overlap_of_known_subspaces() -> None:
    eye = torch.eye(8).double()
    assert float(energy_fraction(eye, eye[:, :3])) == pytest.approx(3 / 8)
    assert float(overlap_above_chance(eye[:, :4], eye[:, 2:6])) == pytest.approx(2 * 8 / 16)
    assert float(overlap_above_chance(eye[:, :4], eye[:, 4:])) == 0
    torch.testing.assert_close(projected(eye[0] + eye[5], eye[:, :3]), eye[0])


def test_random_subspaces_are_at_chance() -> None:
    random = random_subspaces(24, 6, 200)
    torch.testing.assert_close(random.mT @ random, torch.eye(6).double().expand(200, 6, 6), rtol=0, atol=1e-12)
    fixed = torch.eye(24).double()[:, :4]
    assert float(overlap_above_chance(random, fixed).mean()) == pytest.approx(1.0, abs=0.05)
    vectors = torch.randn(5, 24, generator=torch.Generator().manual_seed(0)).double()
    assert float(energy_fraction(vectors, random).mean()) == pytest.approx(6 / 24, abs=0.02)
