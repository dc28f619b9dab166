"""The instances axis."""

import pytest

from sup_lightning.errors import UserError
from sup_lightning.sweep import Sweep


def test_seed_varies_fastest() -> None:
    sweep = Sweep(seed=[3, 5], feature_probability=[0.1, 0.2], dropout=[0.0, 0.5])
    assert sweep.n_instances == 8
    assert sweep.n_points == 4
    assert sweep.seeds == [3, 5] * 4
    assert sweep.values("dropout", None) == [0.0, 0.0, 0.5, 0.5] * 2
    assert sweep.point_labels[1] == "feature_probability=0.1,dropout=0.5"
    assert list(sweep.table().columns) == ["feature_probability", "dropout", "seed"]


def test_round_trip_and_default() -> None:
    sweep = Sweep(seed=3, importance=[[1.0, 0.5], [1.0, 1.0]], first_seed=7)
    assert Sweep.of(sweep.as_dict()).instances == sweep.instances
    assert Sweep.of(None).instances == [{"seed": 0}]
    assert sweep.values("feature_probability", 0.3) == [0.3] * 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 0}, "sweep.seed is 0; allowed: a positive number of seeds"),
        ({"feature_probability": []}, r"sweep.feature_probability is \[\]; allowed: at least one value"),
        ({"seed": [1, 1]}, r"sweep.seed is \[1, 1\]; allowed: values that differ"),
    ],
)
def test_bad_axes(settings: dict[str, list[float]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sweep(**settings)  # type: ignore[arg-type]


def test_unknown_axis() -> None:
    with pytest.raises(UserError, match="did you mean dropout"):
        Sweep.of({"dropot": [0.1]})
