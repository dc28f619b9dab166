"""A phase diagram as one run: thousands of tiny models side by side, against a loop over single ones.

The grid of Elhage et al. 2022 ("Superposition as a phase change"), n = 2 features in m = 1 dimension: 20 feature
probabilities x 20 importances x 10 seeds, batch 1024. Both sides use the same kernels and the same trainer, without
measurements; the peer trains one instance at a time. A few of its models are trained, spread over the grid, and their
mean is scaled up. The time for setting a run up is left out on both sides, which favours the loop.

    python -m benchmarks.phase_diagram --threads 1
"""

import logging
import statistics
import time
from functools import partial
from typing import Any

import torch
from jsonargparse import auto_cli
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from sup_lightning.data import SyntheticFeatures
from sup_lightning.modules import ToyModel
from sup_lightning.nn import BottleneckModel

Axes = dict[str, list[Any]]


class Clock(Callback):
    """Time of the training steps of a run, without its set-up."""

    seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.perf_counter() - self.start


def grid(n_features: int, n_points: int, n_seeds: int) -> Axes:
    """Density x relative importance of the last feature x seed, as in the paper's diagram."""
    steps = torch.linspace(0, 1, n_points)
    probabilities = (100 ** (-steps)).tolist()
    importances = (10 ** (2 * steps - 1)).tolist()
    return {
        "feature_probability": probabilities,
        "importance": [[*[1.0] * (n_features - 1), importance] for importance in importances],
        "seed": list(range(n_seeds)),
    }


def train(axes: Axes, n_features: int, n_hidden: int, batch_size: int, steps: int) -> float:
    """Seconds for `steps` steps of all instances."""
    model = ToyModel(n_features, partial(BottleneckModel, n_hidden=n_hidden), sweep=axes)
    data = SyntheticFeatures(n_features, batch_size=batch_size, steps_per_epoch=steps, sweep=axes)
    clock = Clock()
    trainer = Trainer(
        max_steps=steps, limit_val_batches=0, callbacks=[clock], accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data)
    return clock.seconds


def main(threads: int = 1, points: int = 20, seeds: int = 10, models: int = 5, rounds: int = 3) -> None:
    """Measure.

    Args:
        threads: CPU threads of both sides.
        points: Values of each of the two axes of the diagram.
        seeds: Models at each point.
        models: Single models trained in each round.
        rounds: Alternations of the two sides; medians are reported.
    """
    torch.set_num_threads(threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    title = "instance-steps per second"
    table = Table(
        "features, hidden, batch", "instances", "one by one", "one run", "ratio", "milliseconds a step", title=title
    )
    for size in ((2, 1, 1024), (2, 1, 256), (3, 2, 1024), (3, 2, 256)):
        axes = grid(size[0], points, seeds)
        n_instances = points * points * seeds
        singles = [{name: [values[k * len(values) // models]] for name, values in axes.items()} for k in range(models)]
        train(axes, *size, steps=5)
        train(singles[0], *size, steps=100)
        rates = []
        for _ in range(rounds):
            alone = 1000 * models / sum(train(single, *size, steps=1000) for single in singles)
            rates.append((alone, n_instances * 50 / train(axes, *size, steps=50)))
        alone, together = (statistics.median(side) for side in zip(*rates, strict=True))
        ratio = statistics.median(b / a for a, b in rates)
        table.add_row(
            str(size), str(n_instances), f"{alone:,.0f}", f"{together:,.0f}", f"{ratio:.1f}",
            f"{1000 * n_instances / together:.1f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    auto_cli(main)
