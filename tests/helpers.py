"""Small real runs that the tests share."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sup_lightning.checkpoint_io import AtomicCheckpointIO
from sup_lightning.data import SyntheticFeatures
from sup_lightning.modules import ToyModel, WarmupCosine
from sup_lightning.nn import BottleneckModel

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "configs" / "experiment").glob("*.yaml"))
TOY = str(ROOT / "configs" / "experiment" / "toy_relu-output_5-2.yaml")


def toy_model(sweep: dict[str, Any] | None = None, n_features: int = 5, **settings: Any) -> ToyModel:
    return ToyModel(
        n_features,
        partial(BottleneckModel, n_hidden=2),
        sweep=sweep,
        lr_scheduler=partial(WarmupCosine, total_steps=400, warmup_steps=5),
        **settings,
    )


def toy_data(sweep: dict[str, Any] | None = None, n_features: int = 5, **settings: Any) -> SyntheticFeatures:
    defaults = {"batch_size": 32, "steps_per_epoch": 20, "val_batch_size": 64, "val_batches": 2, "chunk_steps": 7}
    return SyntheticFeatures(n_features, sweep=sweep, **{**defaults, **settings})


def toy_trainer(folder: Path, *callbacks: Callback, **settings: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": any(hasattr(c, "every_n_steps") for c in callbacks),
        "plugins": [AtomicCheckpointIO()],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "log_every_n_steps": 10,
    }
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **{**defaults, **settings})


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
