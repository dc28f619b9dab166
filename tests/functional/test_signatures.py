"""Signatures, kinds and clusters of neurons that are written out."""

import pytest
import torch
from torch import Tensor

from sup_lightning.functional.motifs import neuron_census
from sup_lightning.functional.signatures import COLUMNS, KINDS, cluster_neurons, neuron_kinds, neuron_signatures


def kinds_of(W_in: Tensor, W_out: Tensor) -> list[str]:
    return [KINDS[k] for k in neuron_kinds(W_in, W_out, neuron_census(W_in, W_out)).tolist()]


def test_known_kinds() -> None:
    W_in, W_out = torch.zeros(2, 4, 7)
    W_in[0, 0], W_out[0, 0] = 2.0, 0.5  # one feature, whatever its scale
    W_in[0, 1], W_out[0, 1], W_out[2, 1] = -1.0, 1.0, -0.5  # and inhibits another
    W_in[0, 2], W_in[1, 2], W_out[0, 2], W_out[1, 2] = 2.0, -0.5, 0.5, 2.0  # the paper's motif
    W_in[0, 3], W_in[2, 3], W_out[1, 3] = 1.0, 0.9, -3.0  # inhibitor
    W_in[0, 4], W_out[0, 4] = 1.0, 0.05  # idle
    W_in[0, 5], W_in[1, 5], W_out[0, 5], W_out[1, 5] = 1.0, 1.0, 0.4, 0.4  # half of two features: no known kind
    names = ["one feature", "one feature, inhibits", "asymmetric pair", "inhibitor", "idle", "other", "idle"]
    assert kinds_of(W_in, W_out) == names


def test_signatures_forget_names_signs_and_scales() -> None:
    generator = torch.Generator().manual_seed(0)
    W_in, W_out = torch.randn(2, 3, 6, 5, generator=generator)
    expected = neuron_signatures(W_in, W_out)
    assert expected.vector.shape == (3, 5, len(COLUMNS))
    order = torch.randperm(6, generator=generator)
    signs = torch.tensor([1.0, -1, -1, 1, -1, 1]).unsqueeze(1)
    changed = neuron_signatures(3 * (signs * W_in)[:, order], W_out[:, order] / 3)
    for now, before in zip(changed[:3], expected[:3], strict=True):
        torch.testing.assert_close(now, before)
    assert (order[changed.feature] == expected.feature).all()


def test_clusters_find_what_was_put_in() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 7, generator=generator)
    truth = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    vectors = centres[truth] + 0.02 * torch.randn(100, 7, generator=generator)
    clusters = cluster_neurons(vectors)
    assert clusters.label.tolist() == truth.tolist()  # the largest first
    torch.testing.assert_close(clusters.centre, centres, atol=0.03, rtol=0)
    assert clusters.silhouette > 0.9
    assert clusters.assign(vectors).tolist() == pytest.approx([54, 27, 9], abs=1)
    assert clusters.assign(centres[:1] + 3).tolist() == [0, 0, 0]


def test_equal_neurons_are_one_cluster() -> None:
    clusters = cluster_neurons(torch.ones(20, 7))
    assert clusters.n_clusters == 1
    assert clusters.assign(torch.ones(5, 7)).tolist() == [5]
