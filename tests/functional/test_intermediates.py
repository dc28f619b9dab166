"""What a layer holds of ANDs, on layers whose content is known."""

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.functional.intermediates import (
    binary_rows,
    interaction_directions,
    interaction_explained,
    interactions,
    interchange_effect,
)

PAIRS = torch.tensor([[0, 1], [2, 3], [0, 2]])


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_interactions_are_uncorrelated_and_of_unit_variance(p: float) -> None:
    rows, probability = binary_rows(4, p)
    assert probability.sum().item() == pytest.approx(1, abs=1e-6)
    both = torch.cat([interactions(rows, p, PAIRS), (rows - p) / (p * (1 - p)) ** 0.5], dim=1)
    torch.testing.assert_close(both.T @ (probability.unsqueeze(1) * both), torch.eye(7), atol=1e-5, rtol=0)


def test_what_is_read_from_known_layers() -> None:
    """One neuron is an AND, one a sum of features, one the sum of two ANDs, of which each explains half."""
    rows, probability = binary_rows(4, 0.3)
    a = interactions(rows, 0.3, PAIRS)
    state = torch.stack([a[:, :1], rows[:, :1] + rows[:, 1:2], a[:, :1] + a[:, 1:2], 0 * a[:, :1]])
    found = interaction_explained(state, rows, probability, 0.3, PAIRS)
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0.5, 0.5, 0], [0, 0, 0]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_no_layer_holds_more_than_its_width() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, probability = binary_rows(6, 0.3)
    pairs = torch.combinations(torch.arange(6))
    state = (rows @ torch.randn(5, 6, 3, generator=generator) + torch.randn(5, 1, 3, generator=generator)).relu()
    found = interaction_explained(state, rows, probability, 0.3, pairs)
    assert (found.sum(dim=-1) <= 3 + 1e-5).all()
    assert (found.sum(dim=-1) > 0.01).all()


def test_direction_of_an_and_is_what_the_and_adds() -> None:
    rows, probability = binary_rows(4, 0.3)
    step = torch.tensor([0.5, -2.0])
    both = rows[:, :1] * rows[:, 1:2]
    state = both * step + rows[:, 2:3] + 3 * rows[:, :1]
    found = interaction_directions(state.unsqueeze(0), rows, probability, 0.3, PAIRS)
    torch.testing.assert_close(found[0], torch.stack([step, 0 * step, 0 * step]), atol=1e-5, rtol=0)


def test_setting_an_intermediate_that_is_used_and_one_that_is_not() -> None:
    rows, _ = binary_rows(4, 0.5)
    z = torch.stack([rows[:, 0] * rows[:, 1], rows[:, 2] * rows[:, 3], rows[:, 0] * rows[:, 2]], dim=1)
    state = z[:, :2]
    xor = (z[:, 0] - z[:, 1]).abs()
    wanted = (1 - 2 * xor).unsqueeze(1).expand(-1, 3)
    directions = torch.tensor([[1.0, 0], [0, 1.0], [0, 0]])

    def read(changed: torch.Tensor) -> torch.Tensor:
        return (changed[:, :1] - changed[:, 1:]).abs()

    found = interchange_effect(read, state, directions, z, wanted, torch.tensor([0, 0, 0]))
    assert found.tolist() == [1, 1, 0]


def test_too_many_rows_to_list() -> None:
    with pytest.raises(UserError, match="n_features is 17; allowed: at most 16"):
        binary_rows(17, 0.5)
