"""Pictures of the features, at each epoch, in TensorBoard and as PNG files."""

from textwrap import shorten

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from sup_lightning.callbacks.geometry_protocol import directions_of, instance_values_of, sweep_of
from sup_lightning.callbacks.run_folder import run_folder
from sup_lightning.errors import require_positive
from sup_lightning.functional.geometry import describe, find_polytopes
from sup_lightning.sweep import Sweep

FIGURES = "figures"
"""Folder of the pictures in a run directory."""
TITLE_WIDTH = 36
"""Most characters of a line that fit above a panel."""


class GeometryFigures(Callback):
    """Draws features in two dimensions, or Gram matrix and norms; any module with `feature_directions()`.

    Writes `figures/geometry_step=<n>.png` in the run directory and the figure `geometry` to TensorBoard. With several
    sweep points, each is shown by its best seed; with one, the seeds from best to worst. A panel's title
    names the polytopes that its features form.

    Args:
        every_n_epochs: Epochs between pictures; the last epoch is always drawn.
        max_instances: Most panels of a picture.
    """

    def __init__(self, every_n_epochs: int = 1, max_instances: int = 10) -> None:
        require_positive(every_n_epochs=every_n_epochs, max_instances=max_instances)
        self.every_n_epochs = every_n_epochs
        self.max_instances = max_instances

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        final = trainer.global_step == trainer.max_steps or trainer.current_epoch + 1 == trainer.max_epochs
        if not trainer.is_global_zero or not (final or (trainer.current_epoch + 1) % self.every_n_epochs == 0):
            return
        from sup_lightning.plotting.geometry import features_2d, gram_and_norms

        W = directions_of(pl_module, type(self).__name__)
        sweep = sweep_of(pl_module, len(W))
        loss = instance_values_of(pl_module, trainer).get("loss")
        shown = self._choose(loss, sweep)
        labels = sweep.labels
        titles = [labels[k] if loss is None else f"{labels[k]}\nloss {loss[k]:.4g}" for k in shown]
        titles = [title + _polytopes(W[k]) for title, k in zip(titles, shown, strict=True)]
        draw = features_2d if W.shape[-1] == 2 else gram_and_norms
        figure = draw(W[shown], titles, f"feature directions after step {trainer.global_step}")
        if (folder := run_folder(trainer)) is not None:
            path = folder / FIGURES / f"geometry_step={trainer.global_step:07d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=130)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.add_figure("geometry", figure, trainer.global_step - 1, close=False)

    def _choose(self, loss: Tensor | None, sweep: Sweep) -> list[int]:
        """Which instances to show."""
        order = torch.zeros(sweep.n_instances) if loss is None else loss.cpu().nan_to_num(torch.inf)
        by_point = order.view(sweep.n_points, sweep.n_seeds)
        if sweep.n_points > 1:
            best = by_point.argmin(dim=1) + torch.arange(sweep.n_points) * sweep.n_seeds
            return best[_spread(len(best), self.max_instances)].tolist()
        ranked = by_point[0].argsort(stable=True)
        return ranked[_spread(len(ranked), self.max_instances)].tolist()


def _polytopes(W: Tensor) -> str:
    """A line for a title with the named polytopes of one model, if there are any."""
    named = describe(polytope for polytope in find_polytopes(W) if polytope.is_named)
    return "\n" + shorten(named, TITLE_WIDTH, placeholder=" …") if named else ""


def _spread(n: int, most: int) -> Tensor:
    """At most `most` indices evenly spread over range(n), both ends included."""
    return torch.linspace(0, n - 1, min(n, most)).round().long()
