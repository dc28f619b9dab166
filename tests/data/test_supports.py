"""Who fires together: sampled frequencies against the enumerated supports, within four standard errors."""

from collections.abc import Callable
from math import comb
from typing import Any

import pytest
import torch
from torch import Tensor

from sup_lightning.data import (
    AnticorrelatedSets,
    CoactiveSets,
    ConstantValue,
    CorrelatedSets,
    DiscreteValues,
    ExactlyKActive,
    FeatureDistribution,
    IndependentFeatures,
    SignedValues,
    SyntheticFeatures,
    UniformValues,
)
from sup_lightning.errors import UserError
from sup_lightning.functional.keyed_random import keyed_uniform

N = 200_000
UPPER = UniformValues(0.5, 1)

LAWS: dict[str, tuple[FeatureDistribution, list[float]]] = {
    "independent": (IndependentFeatures(UPPER), [0.1, 0.9, 0.5, 1.0, 0.2, 0.3]),
    "pairs": (CorrelatedSets(2, UPPER), [0.1, 0.1, 0.6, 0.6, 1.0, 1.0]),
    "triples": (CorrelatedSets(3, UPPER), [0.25] * 6),
    "single": (CorrelatedSets(1, UPPER), [0.1, 0.9, 0.5, 1.0, 0.2, 0.3]),
    "one-of-two": (AnticorrelatedSets(2, "set", UPPER), [0.1, 0.1, 0.6, 0.6, 1.0, 1.0]),
    "one-of-three": (AnticorrelatedSets(3, "set", UPPER), [0.3] * 6),
    "arena": (AnticorrelatedSets(2, "feature", UPPER), [0.1, 0.1, 0.5, 0.5, 0.2, 0.2]),
    "coactive-pairs": (CoactiveSets(2, 0.3, UPPER), [0.1, 0.1, 0.6, 0.6, 0.65, 0.65]),
    "coactive-triples": (CoactiveSets(3, 0.9, UPPER), [0.2] * 6),
    "never-alone": (CoactiveSets(2, 1.0, UPPER), [0.1, 0.1, 0.6, 0.6, 1.0, 1.0]),
    "never-together": (CoactiveSets(3, 0.0, UPPER), [0.1] * 6),
    "exactly-1": (ExactlyKActive(1, UPPER), [1 / 6] * 6),
    "exactly-4": (ExactlyKActive(4, UPPER), [4 / 6] * 6),
    "exactly-6": (ExactlyKActive(6, UPPER), [1.0] * 6),
}


def sampled(law: FeatureDistribution, p: list[float], n: int = N) -> Tensor:
    """`[n_features, n]`."""
    return law.sample(keyed_uniform("x", [0], 0, (law.n_draws(len(p)), n)), torch.tensor(p)[:, None])[0]


@pytest.mark.parametrize("name", LAWS)
def test_sampled_frequencies_are_those_of_the_supports(name: str) -> None:
    law, p = LAWS[name]
    supports, probability = law.supports(len(p), torch.tensor(p, dtype=torch.float64))
    assert supports.dtype == torch.bool
    assert supports.unique(dim=0).shape == supports.shape
    assert probability.sum().item() == pytest.approx(1, abs=1e-12)
    weights = 2 ** torch.arange(len(p))
    expected = torch.zeros(2 ** len(p), dtype=torch.float64)
    expected[(supports * weights).sum(1)] = probability
    fires = sampled(law, p) != 0
    counts = torch.bincount((fires * weights[:, None]).sum(0), minlength=len(expected))
    error = (expected * (1 - expected) / N).sqrt()
    assert ((counts / N - expected).abs() <= 4 * error + 1e-6).all()
    marginals = law.marginals(torch.tensor(p, dtype=torch.float64), len(p))
    torch.testing.assert_close(probability @ supports.double(), marginals, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", LAWS)
def test_values_have_their_law_and_are_independent(name: str) -> None:
    law, p = LAWS[name]
    x = sampled(law, p)
    active = x[x != 0].double()
    assert active.min() >= 0.5
    assert active.max() <= 1
    ordered = (active.sort().values - 0.5) * 2
    steps = torch.arange(1, len(ordered) + 1) / len(ordered)
    assert (ordered - steps).abs().max() * len(ordered) ** 0.5 < 2.2  # Kolmogorov-Smirnov: P < 1e-4
    both = x[:, (x[0] != 0) & (x[1] != 0)]
    if both.shape[1] > 1000:
        assert torch.corrcoef(both[:2])[0, 1].abs() < 4 / both.shape[1] ** 0.5


@pytest.mark.parametrize(
    ("law", "p", "within", "across"),
    [
        (CorrelatedSets(2), 0.2, 1.0, 0.0),
        # For disjoint events of probability q each the correlation is -q / (1 - q).
        (AnticorrelatedSets(2, "set"), 0.2, -0.1 / 0.9, 0.0),
        (AnticorrelatedSets(2, "feature"), 0.2, -0.25, 0.0),
        (ExactlyKActive(1), 1 / 4, -1 / 3, -1 / 3),
        (ExactlyKActive(3), 3 / 4, -1 / 3, -1 / 3),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, FeatureDistribution) else "",
)
def test_correlations(law: FeatureDistribution, p: float, within: float, across: float) -> None:
    correlation = torch.corrcoef((sampled(law, [p] * 4) != 0).double())
    assert correlation[0, 1].item() == pytest.approx(within, abs=4 / N**0.5)
    assert correlation[0, 2].item() == pytest.approx(across, abs=4 / N**0.5)


@pytest.mark.parametrize(
    ("law", "p", "size"),
    [(CorrelatedSets(2), 0.3, 2), (AnticorrelatedSets(2), 0.3, 1), (ExactlyKActive(3), 3 / 8, 3)],
    ids=lambda each: type(each).__name__ if isinstance(each, FeatureDistribution) else "",
)
def test_the_number_that_fire_in_a_set(law: FeatureDistribution, p: float, size: int) -> None:
    n_active = (sampled(law, [p] * 8) != 0).unflatten(0, (-1, 8 if size == 3 else 2)).sum(1)
    assert set(n_active.unique().tolist()) == ({3} if size == 3 else {0, size})


@pytest.mark.parametrize("law", [CorrelatedSets(2), AnticorrelatedSets(2), AnticorrelatedSets(2, "feature")])
def test_points_of_one_seed_share_their_draws(law: FeatureDistribution) -> None:
    """What fires at a small p fires at every larger one, with the same value."""
    rare, common = sampled(law, [0.1] * 4, 1000), sampled(law, [0.3] * 4, 1000)
    assert rare.count_nonzero() > 0
    assert (common[rare != 0] == rare[rare != 0]).all()


@pytest.mark.parametrize("values", [ConstantValue(), DiscreteValues([1, 2, 3]), SignedValues()])
@pytest.mark.parametrize("law", [IndependentFeatures, CorrelatedSets, AnticorrelatedSets, ExactlyKActive])
def test_any_value_law_with_any_law_of_who_fires(law: Callable[..., FeatureDistribution], values: Any) -> None:
    distribution = law(values=values)
    x = sampled(distribution, [1 / 4] * 4)
    square = sum(w * (low**2 + low * high + high**2) / 3 for w, low, high in values.pieces)
    share = distribution.marginals(torch.full((4,), 0.25), 4)[0].item()
    assert x.square().mean().item() == pytest.approx(share * square, rel=0.03)


def test_the_data_module_broadcasts_over_points_and_seeds() -> None:
    sweep = {"seed": 2, "feature_probability": [0.1, 0.4]}
    for law in (CorrelatedSets(3), AnticorrelatedSets(3), AnticorrelatedSets(2, "feature")):
        data = SyntheticFeatures(6, features=law, sweep=sweep)
        x = data.batch("features", 3, range(4000), 4000).features
        assert x.shape == (4, 4000, 6)
        share = (x != 0).float().mean(1)
        torch.testing.assert_close(share, data.marginal_probability, rtol=0, atol=4 * 0.5 / 4000**0.5)
        alone = SyntheticFeatures(6, 0.4, features=law, sweep={"seed": [1]})
        assert torch.equal(x[3], alone.batch("features", 3, range(4000), 4000).features[0])


def test_the_setting_and_the_true_probability() -> None:
    data = SyntheticFeatures(4, 0.2, features=AnticorrelatedSets(2, "set"))
    assert data.feature_probability[0].tolist() == pytest.approx([0.2] * 4)
    assert data.marginal_probability[0].tolist() == pytest.approx([0.1] * 4)
    data = SyntheticFeatures(8, features=ExactlyKActive(2), sweep={"seed": 3})
    assert data.feature_probability.tolist() == [[0.25] * 8] * 3
    assert SyntheticFeatures(8).feature_probability[0].tolist() == pytest.approx([0.05] * 8)
    SyntheticFeatures(5, 0.2, features=AnticorrelatedSets(5, "feature"))  # 5 · .2 is 1, whatever float32 says


def test_supports_are_batched_over_instances() -> None:
    p = torch.rand(3, 2, 4, dtype=torch.float64)
    _, together = IndependentFeatures().supports(4, p)
    assert together.shape == (3, 2, 16)
    _, alone = IndependentFeatures().supports(4, p[1, 1])
    torch.testing.assert_close(together[1, 1], alone, rtol=1e-14, atol=0)
    supports, probability = ExactlyKActive(2).supports(5, p.new_full((3, 5), 0.4))
    assert (supports.shape, probability.shape) == ((comb(5, 2), 5), (3, comb(5, 2)))


class Unknown(IndependentFeatures):
    supports = FeatureDistribution.supports


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CorrelatedSets(0), "set_size is 0; allowed: a positive integer"),
        (lambda: ExactlyKActive(0), "k is 0; allowed: a positive integer"),
        (lambda: AnticorrelatedSets(2, "pair"), "probability_of is 'pair'; allowed: set or feature"),  # type: ignore[arg-type]
        (
            lambda: SyntheticFeatures(5, features=CorrelatedSets(2)),
            "n_features is 5; allowed: a multiple of set_size, which is 2",
        ),
        (
            lambda: SyntheticFeatures(4, [0.1, 0.1, 0.2, 0.3], features=CorrelatedSets(2)),
            r"feature_probability is \[0.2, 0.3\]; allowed: the same for the 2 features of a set",
        ),
        (
            lambda: SyntheticFeatures(4, 0.6, features=AnticorrelatedSets(2, "feature")),
            "feature_probability is 0.6; allowed: at most 1/2, as only one of the 2 features",
        ),
        (lambda: SyntheticFeatures(4, features=ExactlyKActive(5)), "k is 5; allowed: at most n_features, which is 4"),
        (
            lambda: SyntheticFeatures(4, 0.05, features=ExactlyKActive(2)),
            r"feature_probability is 0.05; allowed: k / n_features = 2/4, or nothing \(null\)",
        ),
        (
            lambda: SyntheticFeatures(4, features=ExactlyKActive(2), sweep={"feature_probability": [0.5, 0.25]}),
            "feature_probability is 0.25; allowed: k / n_features = 2/4",
        ),
        (
            lambda: IndependentFeatures().supports(17, torch.full((17,), 0.1)),
            "n_features is 17; allowed: so few that at most 65,536 sets of them can fire",
        ),
        (lambda: ExactlyKActive(10).supports(30, torch.full((30,), 1 / 3)), "n_features is 30; allowed: so few"),
        (lambda: Unknown().supports(3, torch.full((3,), 0.1)), "Unknown does not say which features fire together"),
    ],
)
def test_bad_settings(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
