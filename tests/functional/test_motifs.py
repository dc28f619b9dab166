"""The census on networks that are built by hand, so that each neuron's job is known."""

import pytest
import torch
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.functional.motifs import neuron_census, rescale_neurons


def motif() -> tuple[Tensor, Tensor]:
    """Features a and b: 2a - b/2 and -2a + b/2 carry one sign of each, a and -a inhibit output b."""
    W_in = torch.tensor([[2.0, -2.0, 1.0, -1.0], [-0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
    W_out = torch.tensor([[0.5, 0.5, 0.0, 0.0], [2.0, 2.0, -4.0, -4.0]], dtype=torch.float64)
    return W_in, W_out


def plain(n_features: int) -> tuple[Tensor, Tensor]:
    eye = torch.eye(n_features, dtype=torch.float64)
    return torch.cat([eye, -eye], dim=1), torch.cat([eye, eye], dim=1)


def run(W_in: Tensor, W_out: Tensor, x: Tensor) -> Tensor:
    return ((x @ W_in).relu() @ W_out.mT).relu()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_motif_network_does_what_the_census_says() -> None:
    """One feature at a time: |a| exactly and without a trace of b; |b| exactly, with a quarter of it on a."""
    a, b = torch.tensor([[0.8, 0.0], [-0.8, 0.0]]).double(), torch.tensor([[0.0, 0.8], [0.0, -0.8]]).double()
    torch.testing.assert_close(run(*motif(), a), torch.tensor([[0.8, 0.0], [0.8, 0.0]]).double())
    torch.testing.assert_close(run(*motif(), b), torch.tensor([[0.2, 0.8], [0.2, 0.8]]).double())
    census = neuron_census(*motif())
    assert census.load.tolist() == [2, 2, 1, 1]
    assert census.monosemantic.tolist() == [False, False, True, True]
    assert census.polysemantic.tolist() == [True, True, False, False]
    assert census.both_signs.tolist() == [True, True]
    assert census.asymmetric.tolist() == [True, True, False, False]
    assert census.strong.tolist() == [0, 0, -1, -1]
    assert census.weak.tolist() == [1, 1, -1, -1]
    assert census.inhibition.tolist() == [1, 1, 0, 0]
    assert census.inhibited.tolist() == [True, True, False, False]


def test_inhibition_needs_the_right_sign_and_size() -> None:
    W_in, W_out = motif()
    alone = neuron_census(W_in[:, :2], W_out[:, :2])
    assert alone.asymmetric.tolist() == [True, True]
    assert alone.inhibited.tolist() == [False, False]
    W_out[1, 3] = 0  # nothing inhibits what -a disturbs
    census = neuron_census(W_in, W_out)
    assert census.inhibited.tolist() == [True, False, False, False]
    W_out[1, 2] = -0.8  # a fifth
    census = neuron_census(W_in, W_out)
    assert census.inhibition.tolist() == pytest.approx([0.2, 0, 0, 0])
    assert not census.inhibited.any()
    assert neuron_census(W_in, W_out, least_inhibition=0.15).inhibited.any()


def test_two_neurons_for_each_feature_have_no_motif() -> None:
    census = neuron_census(*plain(5))
    assert census.load.tolist() == [1] * 10
    assert census.both_signs.all()
    assert not census.asymmetric.any()
    assert not census.inhibited.any()
    assert not census.inhibition.any()


def test_one_sign_is_not_both() -> None:
    W_in, W_out = plain(3)
    W_out[1, 4] = 0.2  # the negative neuron of feature 1 hardly writes
    assert neuron_census(W_in, W_out).both_signs.tolist() == [True, False, True]
    W_out[1, 4] = -1.0
    assert neuron_census(W_in, W_out).both_signs.tolist() == [True, False, True]


def test_symmetric_superposition_is_not_the_motif() -> None:
    W_in = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    census = neuron_census(W_in, torch.ones(2, 2, dtype=torch.float64))
    assert census.polysemantic.all()
    assert census.both_signs.all()
    assert not census.asymmetric.any()
    assert neuron_census(*(w[:, :2] for w in motif()), least_ratio=5.0).asymmetric.sum() == 0  # its ratio is 4


def test_the_size_of_a_neuron_means_nothing() -> None:
    W_in, W_out = motif()
    size = torch.tensor([10.0, 0.1, 3.0, 0.5], dtype=torch.float64)
    for scaled, unscaled in zip(neuron_census(W_in * size, W_out / size), neuron_census(W_in, W_out), strict=True):
        torch.testing.assert_close(scaled, unscaled)
    x = random(100, 2)
    rescaled = rescale_neurons(W_in * size, W_out / size)
    torch.testing.assert_close(run(*rescaled, x), run(W_in, W_out, x))
    torch.testing.assert_close(rescaled[0].abs().amax(dim=0), torch.ones(4, dtype=torch.float64))


def test_dead_neurons_and_instances() -> None:
    dead = neuron_census(torch.zeros(2, 4, dtype=torch.float64), motif()[1])
    assert not dead.load.any()
    assert not dead.both_signs.any()
    assert not dead.asymmetric.any()
    assert torch.isfinite(dead.inhibition).all()
    W_in, W_out = random(3, 2, 6, 8), random(3, 2, 6, 8, seed=1)
    for all_models, one in zip(neuron_census(W_in, W_out), neuron_census(W_in[1, 0], W_out[1, 0]), strict=True):
        torch.testing.assert_close(all_models[1, 0], one)
    with pytest.raises(UserError, match="shapes of W_in and W_out"):
        neuron_census(torch.zeros(2, 3), torch.zeros(1, 3))


def test_shuffled_weights_seldom_show_the_motif() -> None:
    """Ten copies of the motif network: 20 of 40 neurons show it, all inhibited; fewer than 1 in 100 if shuffled."""
    W_in, W_out = (torch.block_diag(*[part] * 10) for part in motif())
    census = neuron_census(W_in, W_out)
    assert (census.asymmetric.sum(), census.inhibited.sum()) == (20, 20)
    found = 0
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        shuffled = [w.flatten()[torch.randperm(w.numel(), generator=generator)].view_as(w) for w in (W_in, W_out)]
        found += int(neuron_census(*shuffled).asymmetric.sum())
    assert found / (100 * 40) < 0.01
