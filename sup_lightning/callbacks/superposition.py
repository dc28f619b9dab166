"""The quantities of superposition, at each epoch, for each instance and with intervals over seeds."""

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from sup_lightning.callbacks.geometry_protocol import (
    directions_of,
    feature_probability_of,
    instance_values_of,
    sweep_of,
)
from sup_lightning.callbacks.run_folder import run_folder
from sup_lightning.functional.dimensionality import (
    dimensions_per_feature,
    feature_dimensionality,
    feature_norms,
    represented_features,
)
from sup_lightning.functional.interference import density_weighted_interference, interference
from sup_lightning.functional.intervals import seed_interval
from sup_lightning.sweep import Sweep

TABLE = "instances.csv"
MOST_CHARTS = 12
"""Most sweep points that get charts of their own on TensorBoard's page."""


def measure(W: Tensor, feature_probability: Tensor | None = None) -> dict[str, Tensor]:
    """Quantities of superposition of each instance, `[n_instances]` each; NaN where nothing is represented.

    Args:
        W: Feature directions `[n_instances, n_features, n_hidden]`.
        feature_probability: p, `[n_instances, n_features]`.
    """
    represented = represented_features(W)
    dimensionality = feature_dimensionality(W)

    def mean_of_represented(values: Tensor) -> Tensor:
        return torch.where(represented, values, torch.nan).nanmean(dim=-1)

    values = {
        "represented_features": represented.sum(dim=-1).float(),
        "dimensions_per_feature": dimensions_per_feature(W),
        "feature_dimensionality": mean_of_represented(dimensionality),
        "total_dimensionality": dimensionality.sum(dim=-1),
        "feature_norm": mean_of_represented(feature_norms(W)),
        "interference": mean_of_represented(interference(W)),
    }
    if feature_probability is not None and feature_probability.shape == W.shape[:-1]:
        weighted = density_weighted_interference(W, feature_probability.to(W.device))
        values["density_weighted_interference"] = mean_of_represented(weighted)
    return values


class SuperpositionMonitor(Callback):
    """Measures feature directions at the end of each epoch; works on any module with `feature_directions()`.

    Logs `sup/<quantity>` (median over all instances), for each sweep point its median over seeds with the ends of a
    95 % interval (`sup_points/<quantity>/<point>`, and `_low`, `_high`), and each instance's value
    (`instances/<quantity>/<instance>`). All values of all epochs go to `instances.csv` in the run directory.

    Args:
        max_instances: Most instances that get TensorBoard curves of their own; the table has them all.
    """

    def __init__(self, max_instances: int = 64) -> None:
        self.max_instances = max_instances

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        W = directions_of(pl_module, type(self).__name__)
        if trainer.is_global_zero:
            self._lay_out(trainer, sweep_of(pl_module, len(W)))
            self._drop_rows_from(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        W = directions_of(pl_module, type(self).__name__)
        sweep = sweep_of(pl_module, len(W))
        values = instance_values_of(pl_module, trainer) | measure(W, feature_probability_of(trainer))
        medians = {f"sup/{name}": value.nanquantile(0.5) for name, value in values.items()}
        pl_module.log_dict(medians, sync_dist=True, reduce_fx="max")  # equal on all ranks: the maximum is exact
        if trainer.is_global_zero and trainer.logger is not None:
            trainer.logger.log_metrics(self._curves(values, sweep), step=trainer.global_step - 1)
            self._write_rows(trainer, values, sweep)

    def _curves(self, values: dict[str, Tensor], sweep: Sweep) -> dict[str, float]:
        curves: dict[str, float] = {}
        for name, value in values.items():
            median, low, high = seed_interval(value.view(sweep.n_points, sweep.n_seeds))
            for point, *ends in zip(sweep.point_labels, median, low, high, strict=True):
                for suffix, end in zip(("", "_low", "_high"), ends, strict=True):
                    if not torch.isnan(end):
                        curves[f"sup_points/{name}/{point or 'all'}{suffix}"] = float(end)
            for label, one in list(zip(sweep.labels, value, strict=True))[: self.max_instances]:
                curves[f"instances/{name}/{label}"] = float(one)
        return curves

    def _lay_out(self, trainer: Trainer, sweep: Sweep) -> None:
        """TensorBoard's custom-scalars page: losses, geometry with intervals, curves of the instances."""
        if not isinstance(trainer.logger, TensorBoardLogger):
            return
        points = [point or "all" for point in sweep.point_labels][:MOST_CHARTS]
        shown = ("dimensions_per_feature", "feature_dimensionality", "represented_features", "interference")
        margins = {f"{name} {point}": f"sup_points/{name}/{point}" for name in shown for point in points}
        layout = {
            "loss": {
                "loss": ["Multiline", ["train/loss", "val/loss", "val/loss_best"]],
                "fvu": ["Multiline", ["val/fvu"]],
            },
            "geometry": {name: ["Margin", [tag, f"{tag}_low", f"{tag}_high"]] for name, tag in margins.items()},
            "instances": {name: ["Multiline", [f"instances/{name}/.*"]] for name in ("loss", *shown)},
        }
        trainer.logger.experiment.add_custom_scalars(layout)

    @staticmethod
    def _table(trainer: Trainer) -> Path | None:
        folder = run_folder(trainer)
        return folder / TABLE if folder else None

    def _drop_rows_from(self, trainer: Trainer) -> None:
        """Rows that a killed run wrote after the checkpoint would stand there twice."""
        path = self._table(trainer)
        if path is not None and path.is_file():
            import pandas as pd

            rows = pd.read_csv(path)
            rows[rows["step"] <= trainer.global_step].to_csv(path, index=False)

    def _write_rows(self, trainer: Trainer, values: dict[str, Tensor], sweep: Sweep) -> None:
        path = self._table(trainer)
        if path is None:
            return
        import pandas as pd

        rows = sweep.table()
        rows.insert(0, "instance", range(len(rows)))
        rows.insert(0, "step", trainer.global_step)
        rows.insert(0, "epoch", trainer.current_epoch)
        measured = pd.DataFrame({name: value.cpu().numpy() for name, value in values.items()})
        path.parent.mkdir(parents=True, exist_ok=True)
        new = pd.concat([rows, measured], axis=1)
        if path.exists() and list(pd.read_csv(path, nrows=0)) != list(new):  # an epoch with or without validation
            pd.concat([pd.read_csv(path), new]).to_csv(path, index=False)
        else:
            new.to_csv(path, mode="a", header=not path.exists(), index=False)
