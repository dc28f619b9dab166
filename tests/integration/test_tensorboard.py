"""What TensorBoard shows, read back from the event files."""

from pathlib import Path

import pandas as pd
import pytest
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from sup_lightning import Run, fit
from tests.helpers import TOY, events

CALLBACKS = [{"class_path": "SuperpositionMonitor"}, {"class_path": "GeometryFigures"}, {"class_path": "Throughput"}]


def run_fit(n_hidden: int = 2) -> Run:
    return fit(
        TOY, version="run", threads=1,
        sweep={"seed": 6, "feature_probability": [0.1, 0.5]},
        data={"steps_per_epoch": 30, "batch_size": 64, "val_batches": 1, "val_batch_size": 256},
        model={"net": {"init_args": {"n_hidden": n_hidden}}},
        trainer={"max_epochs": 2, "log_every_n_steps": 10, "callbacks": CALLBACKS},
    )  # fmt: skip


def test_scalars_figures_layout_and_hparams() -> None:
    run = run_fit()
    assert run.directory is not None
    read = events(run.directory)
    tags = read.Tags()
    assert [point.step for point in read.Scalars("train/loss")] == [9, 19, 29, 39, 49, 59]
    assert [point.step for point in read.Scalars("val/loss")] == [29, 59]
    assert read.Scalars("throughput/samples_per_second")[0].value > 0

    # Medians over seeds lie within their intervals, and are those of the table.
    table = run.instances
    last = table[table["epoch"] == 1]
    for p in (0.1, 0.5):
        name = f"sup_points/feature_dimensionality/feature_probability={p}"
        middle, low, high = (read.Scalars(name + end)[-1].value for end in ("", "_low", "_high"))
        assert low <= middle <= high
        expected = last[last["feature_probability"] == p]["feature_dimensionality"].median()
        assert middle == pytest.approx(expected, rel=1e-5)
    one = read.Scalars("instances/loss/feature_probability=0.5,seed=2")
    assert [point.step for point in one] == [29, 59]
    assert one[-1].value == pytest.approx(last["loss"].iloc[8], rel=1e-5)

    assert [image.step for image in read.Images("geometry")] == [29, 59]
    assert read.Images("geometry")[0].width > 500
    pictures = sorted(path.name for path in (run.directory / "figures").iterdir())
    assert pictures == ["geometry_step=0000030.png", "geometry_step=0000060.png"]

    layout = Layout.FromString(read.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["loss", "geometry", "instances"]
    losses, geometry, _ = ({chart.title: chart for chart in category.chart} for category in layout.category)
    for series in geometry["interference feature_probability=0.1"].margin.series:
        assert {series.value, series.lower, series.upper} <= set(tags["scalars"])
    assert {"train/loss", "val/loss"} <= set(losses["loss"].multiline.tag)

    session = HParamsPluginData.FromString(read.summary_metadata["_hparams_/session_start_info"].plugin_data.content)
    hparams = session.session_start_info.hparams
    assert hparams["model.init_args.net.init_args.n_hidden"].number_value == 2
    assert hparams["sweep.feature_probability"].string_value == "[0.1, 0.5]"
    assert hparams["seed"].number_value == 0
    assert hparams["version/torch"].string_value
    assert hparams["commit"].string_value
    assert hparams["command"].string_value.startswith("sup fit --config")
    assert read.Scalars("hp/val/loss")[0].value == pytest.approx(run.metrics["val/loss"], rel=1e-6)


def test_more_than_two_dimensions_are_drawn_as_gram_matrices() -> None:
    run = run_fit(n_hidden=3)
    assert run.directory is not None
    assert len(list((run.directory / "figures").iterdir())) == 2


def test_dimensions_never_exceed_the_hidden_ones() -> None:
    table = run_fit().instances
    assert (table["total_dimensionality"] <= 2 + 1e-5).all()
    assert isinstance(table, pd.DataFrame)
    assert Path("lightning_logs/toy_relu-output_5-2/run/instances.csv").is_file()
