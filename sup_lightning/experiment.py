"""One config, built and run in this process: what the command line and the Python API both call."""

import json
import logging
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from sup_lightning.callbacks.superposition import TABLE
from sup_lightning.lightning_cli import SupCLI


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        model: The trained module.
        data: Its DataModule.
        trainer: The trainer.
        directory: Where it wrote.
        metrics: The final value of everything that was logged.
    """

    model: LightningModule
    data: LightningDataModule
    trainer: Trainer
    directory: Path | None
    metrics: dict[str, float]

    @property
    def instances(self) -> pd.DataFrame:
        """All measurements: one row for each epoch and instance."""
        if self.directory is None or not (self.directory / TABLE).is_file():
            raise FileNotFoundError(f"no {TABLE}: the run had no SuperpositionMonitor")
        return pd.read_csv(self.directory / TABLE)


def run() -> Run:
    """Run the subcommand that `sys.argv` holds; ranks that are launched from here read the same."""
    _quieten()
    cli = SupCLI()
    metrics = {name: float(value) for name, value in cli.trainer.callback_metrics.items() if value.numel() == 1}
    return Run(cli.model, cli.datamodule, cli.trainer, cli.log_dir, metrics)


def fit(config: str | Path, **overrides: Any) -> Run:
    """Train what a config describes; the same as `sup fit --config <config>` with these options.

    Args:
        config: Path of an experiment's YAML file.
        overrides: Options, nested as in the file: `data={"feature_probability": 0.2}, sweep={"seed": 8}`.

    Raises:
        UserError: If the config or an option is wrong.

    Objects made in a notebook give the same run:

    >>> import torch
    >>> from functools import partial
    >>> from sup_lightning import SyntheticFeatures, ToyModel
    >>> from sup_lightning.modules import WarmupCosine
    >>> config = Path(__file__).parents[1] / "configs/experiment/toy_relu-output_5-2.yaml"
    >>> run = fit(config, sweep={"seed": 4}, trainer={"max_steps": 60, "limit_val_batches": 1})

    >>> adamw = partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.0, fused=True)
    >>> cosine = partial(WarmupCosine, total_steps=10_000)
    >>> model = ToyModel(n_features=5, sweep={"seed": 4}, optimizer=adamw, lr_scheduler=cosine)
    >>> data = SyntheticFeatures(n_features=5, feature_probability=0.05, sweep={"seed": 4})
    >>> quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    >>> Trainer(max_steps=60, **quiet).fit(model, data)
    >>> torch.equal(model.feature_directions(), run.model.feature_directions())
    True
    """
    arguments = ["fit", "--config", str(config)]
    for name, value in _options(overrides):
        arguments += [f"--{name}", value]
    command = str(Path(__file__).with_name("__main__.py"))  # what launched ranks run
    with mock.patch.object(sys, "argv", [command, *arguments]):
        return run()


def _options(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text) pairs; a class given by path stays whole."""
    options: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and "class_path" not in value:
            options += _options(value, f"{prefix}{name}.")
        else:
            options.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)))
    return options


class _NoAdvertising(logging.Filter):
    """Drops Lightning's product tips, its list of hardware that is not there, and a note on a default."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not any(noise in text for noise in ("litlogger", "available: False, us", "`weights_only` was not set"))


_NO_ADVERTISING = _NoAdvertising()


def _quieten() -> None:
    connectors = "lightning.pytorch.trainer.connectors.checkpoint_connector"
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero", connectors):
        logging.getLogger(name).addFilter(_NO_ADVERTISING)  # adding it twice adds it once
    warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", FutureWarning)
