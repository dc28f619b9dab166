"""What a study is: a question, the experiments that it trains, and a function from their runs to an answer."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from matplotlib.figure import Figure

from sup_lightning.errors import reject
from sup_lightning.experiment import Run
from sup_lightning.studies.verdict import Claim, Outcome, verdict

CONFIGS = Path(__file__).parents[2] / "configs"


class Size(StrEnum):
    """How much is trained: minutes on two cores, or the size at which the answer is meant to hold up."""

    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True)
class Comparison:
    """One published number beside the exact and the measured one.

    Attributes:
        quantity: What the number is, with its setting.
        published: As the source has it.
        exact: By closed form or oracle; empty if it cannot be computed.
        measured: On the trained models.
        source: Where the published number stands.
        contradicted: Whether the exact computation excludes the published number.
    """

    quantity: str
    published: str
    exact: str
    measured: str
    source: str = "Elhage et al. 2022"
    contradicted: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure and the sentence that says what it shows."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Answer:
    """All that a study found.

    Attributes:
        claims: What decides the verdict.
        pictures: File stem to picture; the first answers the question at a glance.
        tables: File stem to the numbers behind it.
        comparisons: Published numbers beside ours.
        gate: Why the trained models are not fit to answer the question; the verdict is then inconclusive.
    """

    claims: list[Claim]
    pictures: dict[str, Picture]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    gate: str = ""

    @property
    def verdict(self) -> Outcome:
        return Outcome.INCONCLUSIVE if self.gate else verdict(self.claims)


class Study(ABC):
    """One question about superposition.

    Constructor arguments of a subclass are options of `sup study <id>`; it keeps them under the same names.

    Class attributes:
        id: Its name on the command line.
        title: A few words.
        question: In one or two sentences.
        hypothesis: What was expected, and the thresholds.
        revised: What of hypothesis, measurement or training was changed after numbers were seen, and why.
        caveat: How the toy differs from a real model, and what would change the verdict.
        experiments: Stems of the configs in `configs/experiment`; `configs/quick` holds what the quick size changes.
            `stem@k` is the same config trained with the k-th seed after the first; `stem@word`, one that `overrides`
            tells from the others.
        minutes: About how long the quick and the full size train on two cores.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    hypothesis: ClassVar[str]
    revised: ClassVar[str] = ""
    caveat: ClassVar[str]
    experiments: tuple[str, ...]
    minutes: ClassVar[tuple[float, float]]

    def overrides(self, experiment: str) -> dict[str, Any]:
        """What the study's options change in an experiment, nested as in the config."""
        return {}

    def overlays(self, experiment: str, size: Size) -> list[Path]:
        """Configs on top of the experiment's own."""
        quick = CONFIGS / "quick" / config_of(experiment).name
        return [quick] if size == Size.QUICK and quick.is_file() else []

    @abstractmethod
    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """Measure the finished runs (one for each experiment), compare with the control, draw, and claim."""


def config_of(experiment: str) -> Path:
    """The config of an experiment of a study.

    >>> config_of("lm_gelu-1l@2").name
    'lm_gelu-1l.yaml'
    """
    return CONFIGS / "experiment" / f"{experiment.partition('@')[0]}.yaml"


def seed_of(experiment: str, first: int) -> int:
    """The training seed of an experiment of a study, whose first seed is given.

    >>> seed_of("lm_gelu-1l", 5), seed_of("lm_gelu-1l@2", 5), seed_of("lm_gelu-1l@other-order", 5)
    (5, 7, 5)
    """
    variant = experiment.partition("@")[2]
    return first + (int(variant) if variant.isdigit() else 0)


def without_folders(value: object) -> str:
    """An option's value as an answer shows it: of an absolute path the last two names, as a run has.

    The folders above these are those of one machine.

    >>> without_folders("/home/ada/runs/lm_gelu-1l/version_0"), without_folders("owner/gelu-1l"), without_folders(0.2)
    ('lm_gelu-1l/version_0', 'owner/gelu-1l', '0.2')
    """
    text = str(value)
    return "/".join(Path(text).parts[1:][-2:]) if Path(text).is_absolute() else text


def check_id(id: str, known: Mapping[str, Any]) -> str:
    """The study's id as it is written in the list; a user may write it in lower case."""
    found = id.upper() if re.fullmatch(r"[a-zA-Z]\d+[a-zA-Z]?", id) else id
    matches = [each for each in known if each.upper() == found.upper()]
    if not matches:
        reject("study", id, f"one of {', '.join(known)}")
    return matches[0]
