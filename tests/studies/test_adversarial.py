"""M08 on weights whose vulnerability is known."""

from pathlib import Path

import torch

from sup_lightning.modules import ToyModel
from sup_lightning.studies.paper.adversarial import AdversarialVulnerability
from sup_lightning.studies.study import Answer
from sup_lightning.studies.verdict import Outcome
from tests.studies.planting import OWN_ROWS, answer, planted


def found(folder: Path, features_of_a_dimension: list[int]) -> Answer:
    """With so many copies in each dimension at each p: the attack is then as many times as costly, squared."""

    def plant(experiment: str, model: ToyModel) -> None:
        n_seeds, n_hidden = model.sweep.n_seeds, model.net.n_hidden
        model.net.W.zero_()
        for point, n_copies in enumerate(features_of_a_dimension):
            rows = torch.eye(n_hidden).repeat(n_copies, 1)
            model.net.W[point * n_seeds : (point + 1) * n_seeds, : len(rows)] = rows

    study = AdversarialVulnerability()
    return answer(study, planted(study, folder, plant, data=OWN_ROWS))


def test_shared_dimensions_are_vulnerable(tmp_path: Path) -> None:
    result = found(tmp_path, [1, 2, 3, 4, 5])
    assert result.verdict == Outcome.SUPPORTED
    assert result.claims[0].effect > 5
    assert result.claims[1].effect > 0.99


def test_dimensions_of_their_own_are_not(tmp_path: Path) -> None:
    result = found(tmp_path, [1, 1, 1, 1, 1])
    assert result.verdict == Outcome.NOT_SUPPORTED
    assert result.tables["vulnerability"]["vulnerability"].between(0.99, 1.5).all()
