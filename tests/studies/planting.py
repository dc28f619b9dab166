"""Runs whose weights are made by hand, so that the truth is known and a study's verdict can be held to it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sup_lightning.callbacks.superposition import TABLE, measure
from sup_lightning.experiment import Run, options_of, untrained
from sup_lightning.modules import ToyModel
from sup_lightning.studies.runner import Settings, options_for
from sup_lightning.studies.study import Answer, Size, Study


@cache
def _pristine(options: tuple[str, ...]) -> Run:
    """Half a second of parsing, once for all tests of a process that ask for the same options."""
    return untrained(options)


def _built(options: tuple[str, ...]) -> Run:
    """Model and data of these options that a test may change; the trainer is that of all others."""
    built = _pristine(options)
    return replace(built, model=deepcopy(built.model), data=deepcopy(built.data))


FEW_ROWS: dict[str, Any] = {"val_batch_size": 4096, "val_batches": 4}
OWN_ROWS: dict[str, Any] = {"val_batch_size": 64, "val_batches": 1}
"""For a study that measures on rows of its own."""


def planted(
    study: Study, folder: Path, plant: Callable[[str, ToyModel], None], size: Size = Size.QUICK, **overrides: Any
) -> dict[str, Run]:
    """The runs that a study asks for, untrained but for `plant(experiment, module)`, and validated as trained ones are.

    Args:
        study: Whose experiments.
        folder: Where the tables of measurements go.
        plant: Writes weights into the module, in place.
        size: Which configs.
        overrides: Options of all experiments, nested as in the config.
    """
    overrides["data"] = FEW_ROWS | overrides.get("data", {})
    runs = {}
    for experiment in study.experiments:
        options = options_for(study, experiment, Settings(size))
        changed = options_of("", **overrides)[1:]
        built = _built((*options, *changed, "--trainer.enable_progress_bar=false"))
        with torch.no_grad():
            plant(experiment, built.model)
        built.trainer.validate(built.model, built.data, verbose=False)
        rows = built.model.sweep.table()
        rows.insert(0, "instance", range(len(rows)))
        rows.insert(0, "step", 1)
        values = built.model.instance_values | measure(built.model.feature_directions(), built.data.feature_probability)
        measured = pd.DataFrame({name: value.detach().numpy() for name, value in values.items()})
        directory = folder / experiment
        directory.mkdir(parents=True)
        pd.concat([rows, measured], axis=1).to_csv(directory / TABLE, index=False)
        runs[experiment] = Run(built.model, built.data, built.trainer, directory, {})
    return runs


def answer(study: Study, runs: dict[str, Run]) -> Answer:
    """What the study says of these runs."""
    with torch.no_grad():
        return study.answer(runs)
