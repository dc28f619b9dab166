"""One config, built and run in this process: what the command line and the Python API both call."""

import hashlib
import json
import logging
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import yaml
from filelock import FileLock
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from sup_lightning.callbacks.checkpoint import LAST
from sup_lightning.callbacks.run_record import read_record
from sup_lightning.callbacks.superposition import TABLE
from sup_lightning.checkpoint_io import read_checkpoint
from sup_lightning.errors import UserError
from sup_lightning.lightning_cli import SupCLI, UntrainedCLI
from sup_lightning.modules import ToyModel

if TYPE_CHECKING:
    import pandas as pd


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
    def toy(self) -> ToyModel:
        """The module, which has to be a toy model."""
        if not isinstance(self.model, ToyModel):
            raise TypeError(f"{type(self.model).__name__} is not a ToyModel")
        return self.model

    @property
    def instances(self) -> "pd.DataFrame":
        """All measurements: one row for each epoch and instance."""
        if self.directory is None or not (self.directory / TABLE).is_file():
            raise FileNotFoundError(f"no {TABLE}: the run had no SuperpositionMonitor")
        import pandas as pd

        return pd.read_csv(self.directory / TABLE)

    @property
    def final(self) -> "pd.DataFrame":
        """The measurements after the last epoch: one row for each instance, in the order of the instances axis."""
        rows = self.instances
        return rows[rows["step"] == rows["step"].max()].sort_values("instance").reset_index(drop=True)

    @property
    def record(self) -> dict[str, Any]:
        """Versions, commit, command, seed and duration of the run."""
        return read_record(self.directory) if self.directory is not None else {}


def run() -> Run:
    """Run the subcommand that `sys.argv` holds; ranks that are launched from here read the same."""
    return _run(SupCLI)


def _run(cli_class: type[SupCLI]) -> Run:
    _quieten()
    cli = cli_class()
    metrics = {name: float(value) for name, value in cli.trainer.callback_metrics.items() if value.numel() == 1}
    return Run(cli.model, cli.datamodule, cli.trainer, cli.log_dir, metrics)


def _call(cli_class: type[SupCLI], arguments: Sequence[str]) -> Run:
    command = str(Path(__file__).with_name("__main__.py"))  # what launched ranks run
    with mock.patch.object(sys, "argv", [command, *arguments]):
        return _run(cli_class)


def fit(config: str | Path, *overlays: str | Path, **overrides: Any) -> Run:
    """Train what a config describes; the same as `sup fit --config <config>` with these options.

    Args:
        config: Path of an experiment's YAML file.
        overlays: Further YAML files, whose settings replace those before them.
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
    return _call(SupCLI, ["fit", *options_of(config, *overlays, **overrides)])


def options_of(config: str | Path, *overlays: str | Path, **overrides: Any) -> list[str]:
    """The options of `sup fit` for a config, overlays and overrides, as on the command line."""
    options = [f"--config={path}" for path in (config, *overlays)]
    return options + [f"--{name}={value}" for name, value in _options(overrides)]


def untrained(options: Sequence[str]) -> Run:
    """Everything that `sup fit` with these options would train, at its initial weights. Writes nothing."""
    built = _call(UntrainedCLI, ["fit", *options])
    return Run(built.model, built.data, built.trainer, None, {})


def train_or_load(options: Sequence[str], runs: str | Path = "lightning_logs", label: str = "run") -> Run:
    """Train what options of `sup fit` describe, unless that was done before; go on with what was interrupted.

    The run's version is `<label>-<digest of the settings>`, so other settings never meet an older run's weights.

    Args:
        options: Options of `sup fit`, of the form `--name=value`.
        runs: Folder of all runs.
        label: What the version's name starts with.
    """
    version = f"{label}-{_digest(options)}"
    folder = Path(runs) / experiment_of(options)
    folder.mkdir(parents=True, exist_ok=True)
    where = [f"--runs={runs}", f"--version={version}"]
    with FileLock(folder / f".{version}.lock"):  # a second process that wants the same run waits for it
        resume = ["--ckpt_path=last"] if (folder / version / LAST).is_file() else []
        if not read_record(folder / version).get("finished"):
            if not resume and (folder / version).exists():  # killed before its first checkpoint
                shutil.rmtree(folder / version)
            return _call(SupCLI, ["fit", *options, *where, *resume])
    return _loaded(options, where, folder / version)


def _loaded(options: Sequence[str], where: Sequence[str], directory: Path) -> Run:
    built = _call(UntrainedCLI, ["fit", *options, *where, "--ckpt_path=last"])
    built.model.load_state_dict(read_checkpoint(directory / LAST)["state_dict"])
    return Run(built.model, built.data, built.trainer, directory, read_record(directory)["metrics"])


def experiment_of(options: Sequence[str]) -> str:
    """The experiment's name: the last that the options or their configs give."""
    name = "default"
    for option in options:
        key, _, value = option.partition("=")
        if key == "--config":
            name = resolved(value).get("experiment", name)
        elif key == "--experiment":
            name = value
    return name


def _digest(options: Sequence[str]) -> str:
    """Eight letters that stand for the settings themselves, wherever their files lie."""
    settings = [
        {name: value for name, value in resolved(option.partition("=")[2]).items() if name != "threads"}
        if option.startswith("--config=")
        else option
        for option in options
        if not option.startswith(("--runs=", "--threads="))
    ]
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=4).hexdigest()


def resolved(config: str | Path) -> dict[str, Any]:
    """An experiment's settings as plain values, with the group files that it names in place of their paths.

    Raises:
        UserError: If a file is missing or is not YAML.
    """
    path = Path(config)
    try:
        settings = yaml.safe_load(path.read_text()) or {}
    except OSError:
        raise UserError(f"config is {str(path)!r}, which cannot be read") from None
    except yaml.YAMLError as error:
        raise UserError(f"config is {str(path)!r}, which is not YAML ({str(error).splitlines()[0]})") from None
    groups = {name: value for name, value in settings.items() if str(value).endswith(".yaml")}
    return settings | {name: resolved(path.parent / value) for name, value in groups.items()}


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
    """Drops Lightning's product tips, its list of hardware that is not there, and notes on a default and the seed."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not any(
            noise in text for noise in ("litlogger", "available: False, us", "`weights_only` was not set", "Seed set")
        )


_NO_ADVERTISING = _NoAdvertising()


def _quieten() -> None:
    connectors = "lightning.pytorch.trainer.connectors.checkpoint_connector"
    fabric = ("lightning.fabric.utilities.rank_zero", "lightning.fabric.utilities.seed")
    for name in ("lightning.pytorch.utilities.rank_zero", *fabric, connectors):
        logging.getLogger(name).addFilter(_NO_ADVERTISING)  # adding it twice adds it once
    warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", FutureWarning)
