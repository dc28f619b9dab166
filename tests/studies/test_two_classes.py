"""T04 on weights made by hand: classes that are represented differently, and the same features dealt to both."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.modules import ToyModel
from sup_lightning.studies.study import Answer
from sup_lightning.studies.toy.two_classes import DENSITY, IMPORTANCE, Classes, TwoClasses
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


def frequent_alone() -> Tensor:
    """A dimension for each of twenty frequent features, and none for a rare one."""
    return torch.eye(80, 20)


def rare_in_pairs() -> Tensor:
    """Ten frequent features with a dimension each, and twenty rare ones as antipodal pairs in the other ten."""
    W = torch.zeros(80, 20)
    W[:10, :10] = torch.eye(10)
    W[40:50, 10:], W[50:60, 10:] = torch.eye(10), -torch.eye(10)
    return W


def mixed() -> Tensor:
    """An order that gives half of each kind of feature to the other class, and parts six of the ten pairs."""
    order, moved = torch.arange(80), torch.tensor([0, 2, 4, 6, 8, 10, 11, 12, 13, 15])
    order[moved], order[40 + moved] = 40 + moved, moved
    return order


def found(folder: Path, differ: bool) -> Answer:
    def plant(experiment: str, model: ToyModel) -> None:
        W = frequent_alone() if experiment == DENSITY else rare_in_pairs()
        model.net.W.copy_(W if differ else W[mixed()])
        model.net.b.zero_()

    study = TwoClasses()
    return answer(study, planted(study, folder, plant, data=OWN_ROWS))


def test_classes_that_differ(tmp_path: Path) -> None:
    result = found(tmp_path, differ=True)
    assert result.verdict == Outcome.SUPPORTED
    assert [claim.effect for claim in result.claims] == pytest.approx([0.5, 0.25, 0.5, 1])
    balanced = result.tables["importance"].set_index("rare_importance").loc[30]
    assert balanced["interference_on_rare_from_rare"] == pytest.approx(1)  # the other of the pair
    assert balanced["interference_on_rare_from_frequent"] == 0


def test_the_same_features_dealt_to_both_classes(tmp_path: Path) -> None:
    result = found(tmp_path, differ=False)
    assert result.verdict == Outcome.NOT_SUPPORTED
    assert [claim.effect for claim in result.claims] == pytest.approx([0, 0, 0, 0.4])


def test_shuffled_labels_forget_the_classes() -> None:
    """Half of either class has what one class had, on the mean over many shuffles."""
    labels = (torch.arange(80) >= 40).long()
    classes = Classes([1.0], rare_in_pairs().view(1, 1, 80, 20), labels)
    shares = torch.stack([classes.shuffled(number).represented[0, 0] for number in range(200)])
    assert shares.mean(0).tolist() == pytest.approx([30 / 80] * 2, abs=0.02)
    assert all(int(classes.shuffled(number).labels.sum()) == 40 for number in range(5))


def test_options() -> None:
    study = TwoClasses(n_features=8, n_hidden=2)
    assert study.overrides(DENSITY)["sweep"]["feature_probability"][3] == [0.3] * 4 + [0.01] * 4
    of_importance = study.overrides(IMPORTANCE)
    assert of_importance["data"]["init_args"] == {"n_features": 8, "feature_probability": [0.3] * 4 + [0.01] * 4}
    assert of_importance["sweep"]["importance"][-1] == [1] * 4 + [100] * 4
    assert of_importance["model"]["init_args"]["net"] == {"init_args": {"n_hidden": 2}}
    assert TwoClasses().overrides(DENSITY) == {}
    with pytest.raises(UserError, match="n_features is 9; allowed: an even number above n_hidden, which is 2"):
        TwoClasses(n_features=9, n_hidden=2)
