"""Pictures name what they show."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from sup_lightning.callbacks.geometry import GeometryFigures
from sup_lightning.plotting import geometry
from tests.helpers import toy_data, toy_model, toy_trainer


def test_titles_name_the_polytopes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    angle = 2 * math.pi * torch.arange(5) / 5
    pentagon = torch.stack([angle.cos(), angle.sin()], dim=1)
    W = torch.stack([pentagon, pentagon * torch.tensor([1.0, 0.4]), torch.zeros(5, 2)])
    model = toy_model({"seed": 3})
    monkeypatch.setattr(model, "feature_directions", lambda: W)
    drawn: list[list[str]] = []
    features_2d = geometry.features_2d

    def draw(directions: torch.Tensor, titles: list[str], *args: Any) -> Any:
        drawn.append(titles)
        return features_2d(directions, titles, *args)

    monkeypatch.setattr(geometry, "features_2d", draw)
    trainer = toy_trainer(tmp_path, GeometryFigures(), max_epochs=1)
    trainer.fit(model, toy_data({"seed": 3}))
    (titles,) = drawn
    assert sorted(title.count("\n") for title in titles) == [1, 1, 2]  # label, loss, and what has a name
    assert [title.splitlines()[-1] for title in titles if title.count("\n") == 2] == ["pentagon"]
