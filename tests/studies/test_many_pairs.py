"""T13a on networks made by hand, and its baselines against what is known of maxima."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.data import PairTask, SyntheticFeatures
from sup_lightning.errors import UserError
from sup_lightning.functional.readout import fit_readout
from sup_lightning.modules import ToyModel
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy import many_pairs
from sup_lightning.studies.toy.many_functions import rows_of
from sup_lightning.studies.toy.many_pairs import SUMS, ManyPairs, best_built, built_neurons, interaction
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sup_lightning.studies.toy.many_functions.FIT_ROWS", 128)
    monkeypatch.setattr("sup_lightning.studies.toy.many_functions.ROWS", 4_096)


def uniform(n_features: int, p: float) -> Tensor:
    data = SyntheticFeatures(n_features, feature_probability=p, task=PairTask("max", pairs="all"))
    return rows_of(data, torch.full((n_features,), p), "test", 40_000)[0]


@pytest.mark.parametrize("p", [1.0, 0.3])
def test_interactions_are_uncorrelated_with_every_feature(p: float) -> None:
    """Variance at p = 1: 1/18 of the maximum, of which x² / 2 of both features explains 2/45."""
    x = uniform(3, p)
    found = interaction(x, p)
    assert found.mean(dim=0).abs().max() < 0.01
    for alone in (x, x.square(), (x > 0.6).float()):
        both = torch.corrcoef(torch.cat([found, alone], dim=1).T).nan_to_num()
        assert both[:3, 3:].abs().max() < 0.03
        assert (both[:3, :3] - torch.eye(3)).abs().max() < 0.03
    if p == 1:
        assert found.var(dim=0).mean().item() == pytest.approx(1 / 18 - 2 / 45, rel=0.03)


def test_neurons_for_all_pairs_compute_all_maxima() -> None:
    x = uniform(4, 1.0)
    targets = PairTask("max", pairs="all")(x.mT).mT
    loss, count = best_built(x, targets, 4 + 6)
    assert (loss < 1e-6, count) == (True, 6)
    left, few = best_built(x, targets, 4)
    assert left == pytest.approx(6 / 72, rel=0.05)  # each maximum less what is linear in its features
    assert few == 0


def weights_for(x: Tensor, targets: Tensor, W: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    weights, bias = fit_readout((x @ W + b).relu(), targets)
    return weights.T.float(), bias.float()


def built_weights(n: int, width: int, n_pairs: int) -> tuple[Tensor, Tensor]:
    """Input weights of the first features themselves and of relu(y - x) of neighbours."""
    W = torch.zeros(n, width)
    for k in range(min(n, width)):
        W[k, k] = 1.0
    for k in range(min(n_pairs, width - n)):
        W[(k + 1 + k // n) % n, n + k], W[k % n, n + k] = 1.0, -1.0
    return W, torch.zeros(width)


def found(folder: Path, n_pairs: dict[int, int]) -> Answer:
    """Networks that carry all features and compute so many maxima, by their width; with sums, the same neurons."""

    def plant(experiment: str, model: ToyModel) -> None:
        net = model.net
        width, p = net.n_hidden, model.sweep.values("feature_probability", 1.0)
        W, b = built_weights(8, width, n_pairs[width])
        for k in range(net.n_instances):
            x = uniform(8, p[k])[:4096]
            net.W_in[k], net.b_in[k] = W, b  # type: ignore[index]
            if experiment != SUMS:
                W_out, bias = weights_for(x, PairTask("max", pairs="all")(x.mT).mT, W, b)
                net.W_out[k], net.b[k] = W_out, bias  # type: ignore[index]

    study = ManyPairs()
    return answer(study, planted(study, folder, plant, data=OWN_ROWS))


def test_what_beats_the_naive_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the naive network had but six neurons: networks of 14 then beat it, and compute six maxima more."""
    honest = many_pairs.best_built
    monkeypatch.setattr(many_pairs, "best_built", lambda x, y, width: honest(x, y, 6))
    result = found(tmp_path, n_pairs={8: 0, 14: 6, 20: 12})
    assert [claim.outcome for claim in result.claims[:2]] == [Outcome.SUPPORTED] * 2
    assert result.claims[3].outcome != Outcome.NOT_SUPPORTED
    read = result.tables["intermediates"].set_index("feature_probability")["trained_on_sums"]
    assert read[0.1] == pytest.approx(6 / 28, abs=0.02)  # six neurons that hold a pair each
    assert result.claims[1].effect == 6
    assert result.claims[2].effect == 1  # none is shared, and the claim does not hold
    assert result.claims[2].outcome == Outcome.NOT_SUPPORTED


def test_the_naive_network_does_not_beat_itself(tmp_path: Path) -> None:
    result = found(tmp_path, n_pairs={8: 0, 14: 0, 20: 0})
    assert [claim.outcome for claim in result.claims[:2]] == [Outcome.NOT_SUPPORTED] * 2
    assert result.claims[3].outcome == Outcome.NOT_SUPPORTED
    assert (result.tables["functions"]["maxima"] == 0).all()


def test_neurons_that_add_more_than_one_maximum(tmp_path: Path) -> None:
    result = found(tmp_path, n_pairs={8: 0, 14: 2, 20: 12})
    assert result.claims[2].effect == pytest.approx(10 / 6)
    assert result.claims[2].outcome == Outcome.SUPPORTED


def test_built_neurons_have_the_width() -> None:
    assert built_neurons(torch.rand(5, 8), 8, 4, 9).shape == (5, 21)


def test_few_features_have_too_few_pairs() -> None:
    with pytest.raises(UserError, match="n_features is 6; allowed: 8 or more"):
        ManyPairs(n_features=6)
