"""T02 on networks made by hand: one that computes eight absolute values with ten neurons, and the naive one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.data import AnticorrelatedSets, CorrelatedSets, FeatureDistribution, SignedValues, SyntheticFeatures
from sup_lightning.functional.naive import absolute_value_variance, greedy_loss
from sup_lightning.modules import ToyModel
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy.absolute_variants import LARGE, RUNS, AbsoluteVariants, absolute_covariance
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.active_rows.ROWS", 4096)


def pairs(features: list[int]) -> tuple[Tensor, Tensor]:
    """Two neurons for each of these features, and no more."""
    W_in, W_out = torch.zeros(2, 20, 10)
    for k, i in enumerate(features):
        W_in[i, 2 * k], W_in[i, 2 * k + 1] = 1.0, -1.0
        W_out[i, 2 * k] = W_out[i, 2 * k + 1] = 1.0
    return W_in, W_out


def superposed(features: list[int], weakness: float = 0.25) -> tuple[Tensor, Tensor]:
    """Eight functions: eight neurons serve two features each, and two silence the weak outputs for the strong ones."""
    W_in, W_out = torch.zeros(2, 20, 10)
    for k in range(4):
        weak, strong = features[k], features[k + 4]  # the error falls on the strong ones: the less important
        for neuron, inhibitor, sign in ((2 * k, 8, 1.0), (2 * k + 1, 9, -1.0)):
            W_in[strong, neuron], W_out[strong, neuron] = sign, 1.0
            W_in[weak, neuron], W_out[weak, neuron] = sign * weakness, 1 / weakness
            W_in[strong, inhibitor], W_out[weak, inhibitor] = sign, -1 / weakness
    return W_in, W_out


def found(folder: Path, shared: bool) -> Answer:
    def plant(experiment: str, model: ToyModel) -> None:
        if experiment == LARGE:
            return
        net = model.net
        together = "_correlated" in experiment
        features = [2 * i for i in range(8)] if together else list(range(8))
        W_in, W_out = superposed(features) if shared else pairs(features[:5])
        if shared and together:  # the other of a set is on too, with a mean of half: 3/4 of |x| comes nearest to it
            W_out[1::2] = 0.75 * W_out[::2]
        if shared and "_he" in experiment:  # half of two features each, which is no known kind
            W_in, W_out = (torch.eye(10).repeat_interleave(2, dim=0) * size for size in (1.0, 0.4))
        net.W_in.copy_(W_in.expand_as(net.W_in))
        net.W_out.copy_(W_out.expand_as(net.W_out))
        p = torch.tensor(model.sweep.values("feature_probability", 1.0)).unsqueeze(1)
        net.b.copy_(torch.where(W_out.abs().sum(dim=1) > 0, 0.0, p / 2))

    study = AbsoluteVariants()
    return answer(study, planted(study, folder, plant, data=OWN_ROWS))


def test_superposition_and_a_new_motif(tmp_path: Path) -> None:
    result = found(tmp_path, shared=True)
    assert result.verdict == Outcome.SUPPORTED
    assert result.claims[0].effect == pytest.approx((12 + 4 / 16) / 15, abs=0.06)
    assert result.claims[4].effect == pytest.approx(0.5, abs=0.02)  # all neurons of one of two starts
    table = result.tables["absolute_variants"].query("init == 'transpose' and n_features == 20")
    assert (table["asymmetric_pair"] == 8).all()
    assert (table["inhibitor"] == 2).all()
    assert set(result.pictures) == {"loss", "kinds", "unexplained"}


def test_the_naive_network_has_neither(tmp_path: Path) -> None:
    result = found(tmp_path, shared=False)
    assert result.verdict == Outcome.NOT_SUPPORTED
    assert result.claims[0].effect == pytest.approx(1, abs=0.06)
    assert result.claims[1].effect == pytest.approx(15 / (10 + 5 * 0.4375), abs=0.08)  # it leaves partners alone
    assert result.claims[4].effect == 0
    table = result.tables["absolute_variants"].query("n_features == 20")
    assert (table["one_feature"] == 10).all()
    assert "unexplained" not in result.pictures


@pytest.mark.parametrize(
    ("law", "correlation"),
    [(CorrelatedSets(2, SignedValues()), 0.75), (AnticorrelatedSets(2, "feature", SignedValues()), 0.0)],
    ids=["correlated", "anticorrelated"],
)
def test_covariance_of_absolute_values(law: FeatureDistribution, correlation: float) -> None:
    data = SyntheticFeatures(4, 0.2, features=law)
    expected = absolute_covariance(data, 0.2)
    x = data.batch("validation", 0, range(200_000), 200_000).features[0].abs()
    torch.testing.assert_close(expected, x.T.cov(), atol=1.5e-3, rtol=0)
    assert expected[0, 0].item() == pytest.approx(absolute_value_variance(torch.tensor(0.2)).item())
    rare = absolute_covariance(data, 1e-4)
    assert (rare[0, 1] / rare[0, 0]).item() == pytest.approx(correlation, abs=1e-3)
    left = greedy_loss(rare.double(), torch.arange(4), 1) / rare[0, 0]
    assert left.item() == pytest.approx(3 - correlation**2, abs=2e-3)


def test_options() -> None:
    study = AbsoluteVariants(n_features=8, n_hidden=4)
    overrides = study.overrides(RUNS["independent", "he"])
    assert overrides["model"]["net"] == {"n_hidden": 4}
    assert overrides["sweep"]["importance"][1][:3] == [1.0, 0.8, 0.64]
    assert len(overrides["sweep"]["importance"][1]) == 8
    assert study.overrides(LARGE) == {}
    assert AbsoluteVariants().overrides(RUNS["independent", "he"]) == {}
