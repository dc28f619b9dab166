"""Bumps on a ring: each input alone is a sparse uniform feature, together they are one place."""

import pytest
import torch

from sup_lightning.data import IndependentFeatures, RingBumps, SyntheticFeatures
from sup_lightning.errors import UserError
from sup_lightning.functional.keyed_random import keyed_uniform

N = 200_000


@pytest.mark.parametrize(("p", "width"), [(0.3, 0.125), (1.0, 0.25)])
def test_each_input_has_the_law_of_an_independent_feature(p: float, width: float) -> None:
    bumps = RingBumps(width)
    x = bumps.sample(keyed_uniform("x", [0], 0, (1, N)), torch.full((8, 1), p))[0]
    marginal = bumps.marginals(torch.full((8,), p), 8)
    assert marginal.tolist() == pytest.approx([2 * width * p] * 8)
    q = float(marginal[0])
    alone = IndependentFeatures().sample(keyed_uniform("x", [1], 0, (8, N)), torch.tensor(q))[0]
    for moment in (lambda y: (y > 0).float(), torch.clone, torch.square):
        expected, found = moment(alone).mean(), moment(x).mean(dim=1)  # type: ignore[no-untyped-call]
        torch.testing.assert_close(found, expected.expand(8), atol=4 * (q / N) ** 0.5, rtol=0)
    active = x[0][x[0] > 0]
    shares = active.histc(bins=10, min=0, max=1) / len(active)
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=4 * (0.1 / len(active)) ** 0.5, rtol=0)


def test_a_bump_is_seen_by_neighbours_across_the_seam() -> None:
    x = RingBumps(0.25).bumps(torch.tensor([[0.9375]]), 8)[:, 0]
    torch.testing.assert_close(x, torch.tensor([0.75, 0.25, 0, 0, 0, 0, 0.25, 0.75]))


def test_points_share_their_draws_and_batches_have_the_instances_axis() -> None:
    sweep = {"seed": 3, "feature_probability": [1.0, 0.2]}
    data = SyntheticFeatures(n_features=16, features=RingBumps(), sweep=sweep)
    x = data.batch("features", 0, range(50), 50).features
    assert x.shape == (6, 50, 16)
    torch.testing.assert_close(data.marginal_probability[:, 0], torch.tensor([0.25] * 3 + [0.05] * 3))
    fires = (x > 0).any(dim=-1)
    assert fires[:3].all()
    assert 0 < fires[3:].float().mean() < 0.5


def test_bad_settings() -> None:
    with pytest.raises(UserError, match=r"width is 0.7; allowed: a number in \(0, 0.5\]"):
        RingBumps(0.7)
    with pytest.raises(UserError, match="the same for all features: it is that of the bump"):
        SyntheticFeatures(n_features=2, features=RingBumps(), feature_probability=[0.1, 0.2])
