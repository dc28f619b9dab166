"""What is needed to know later what a run was: versions, commit, command, seed, and how it ended."""

import hashlib
import importlib.metadata
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from sup_lightning.callbacks.run_folder import run_folder

RECORD = "run.yaml"
"""The record's file in a run directory."""
PACKAGES = ("sup_lightning", "torch", "lightning", "torchmetrics", "transformer-lens", "numpy")


HASHES = ("init_hash", "init_hashes", "data_hash")
"""What two runs share if they began alike and see the same batches in the same order."""


def first_hashes(trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
    """Hashes of the initial weights, together and by name, and of the first batches, where module and data give them.

    A module gives them by `weight_hashes()`, its data by `order_hash()`.
    """
    hashes: dict[str, Any] = {}
    if hasattr(pl_module, "weight_hashes"):
        of_weights: dict[str, str] = pl_module.weight_hashes()  # type: ignore[operator]
        together = hashlib.blake2b(repr(sorted(of_weights.items())).encode(), digest_size=8).hexdigest()
        hashes |= {"init_hash": together, "init_hashes": of_weights}
    data = getattr(trainer, "datamodule", None)
    if hasattr(data, "order_hash"):
        hashes["data_hash"] = data.order_hash()  # type: ignore[union-attr]
    return hashes


def run_record(seed: int | None) -> dict[str, Any]:
    """Versions, commit, command and seed as plain values."""
    return {
        **{f"version/{name}": importlib.metadata.version(name) for name in PACKAGES},
        "version/python": platform.python_version(),
        "commit": _commit(),
        "command": shlex.join(["sup", *sys.argv[1:]]),
        "seed": seed,
    }


def read_record(folder: Path) -> dict[str, Any]:
    """What a run's record says; empty if there is none. `finished` is true if the run came to its end."""
    try:
        record = yaml.safe_load((folder / RECORD).read_text())
    except FileNotFoundError:
        return {}
    return record if isinstance(record, dict) else {}


def _commit() -> str:
    """The commit of the source tree, with a + if files differ from it; `unknown` outside a repository."""
    where = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
            cwd=where, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit.stdout.strip()


class RunRecord(Callback):
    """Writes `run.yaml`, and at the end TensorBoard's HPARAMS entry: settings, record, final metrics.

    At the end `run.yaml` also holds the final metrics, the seconds that training took (over all its resumptions), and
    `finished: true`.

    Args:
        settings: The resolved config.
        seed: The run's seed.
    """

    def __init__(self, settings: Mapping[str, Any], seed: int | None) -> None:
        self.settings = dict(settings)
        self.seed = seed
        self.record: dict[str, Any] = {}
        self._earlier_seconds = 0.0
        self._started = 0.0

    # Not the callback's state: Lightning would warn where a checkpoint is measured without this callback.
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["seconds"] = self._seconds

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._earlier_seconds = checkpoint.get("seconds", 0.0)

    @property
    def _seconds(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._started

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()
        folder = run_folder(trainer)
        earlier = read_record(folder) if folder is not None else {}
        begun = {name: earlier[name] for name in HASHES if name in earlier}  # resumed: these are not the first weights
        self.record = run_record(self.seed) | (begun or first_hashes(trainer, pl_module))
        self._write(trainer, self.record)

    def _write(self, trainer: Trainer, record: dict[str, Any]) -> None:
        folder = run_folder(trainer)
        if trainer.is_global_zero and folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f".{RECORD}.partial"  # it says whether the run is finished: whole or not there
            partial.write_text(yaml.safe_dump(record, sort_keys=False))
            partial.replace(folder / RECORD)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = {name: float(v) for name, v in trainer.callback_metrics.items() if v.numel() == 1}
        end = {"finished": True, "steps": trainer.global_step, "seconds": round(self._seconds, 1), "metrics": metrics}
        self._write(trainer, self.record | end)
        if trainer.is_global_zero and trainer.logger and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            final = {f"hp/{name}": value for name, value in metrics.items()}
            record = {name: value for name, value in self.record.items() if not isinstance(value, Mapping)}
            settings = {**_flat(self.settings), **record}
            if isinstance(trainer.logger, TensorBoardLogger):
                trainer.logger.log_hyperparams(settings, metrics=final)
            else:
                trainer.logger.log_hyperparams(settings)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted names; lists as text, nothing as nothing."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat
