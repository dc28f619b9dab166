"""What studies of language models share: which models and text, and when a model is fit to answer."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from sup_lightning.data.language import TextData
from sup_lightning.errors import reject
from sup_lightning.experiment import Run, resolved
from sup_lightning.studies.study import CONFIGS, Answer, Study, without_folders
from sup_lightning.studies.subjects import Subject, given_subject


class LanguageStudy(Study):
    """A question about language models, asked of those that it trains, or of one that is given.

    A model that predicts no better than the interpolated bigram frequencies of its text is not fit to answer.

    Args:
        text: What the models are trained and measured on: `stdlib` or another text of `configs/data/text_<name>.yaml`,
            or a file like these.
        model: Asked in place of the models trained here: a run directory, checkpoint or export, `owner/name` of an
            export on the hub, or the name of a TransformerLens model.
    """

    def __init__(self, text: str = "stdlib", model: str | None = None) -> None:
        self.text, self.model = text, model
        self.text_settings()  # rejects a text that is not there
        if model is not None:
            self.experiments = ()

    def text_settings(self) -> dict[str, Any]:
        """The text's DataModule, as in its config."""
        named = CONFIGS / "data" / f"text_{self.text}.yaml"
        path = named if named.is_file() else Path(self.text)
        if not path.is_file():
            known = sorted(file.stem.removeprefix("text_") for file in named.parent.glob("text_*.yaml"))
            reject("text", self.text, f"{', '.join(known)}, or the path of a YAML file like these")
        return resolved(path)

    def overrides(self, experiment: str) -> dict[str, Any]:
        return {} if self.text == "stdlib" else {"data": self.text_settings()}

    def subjects(self, runs: Mapping[str, Run]) -> dict[str, Subject]:
        """The models to ask, by experiment, or the given one by its name."""
        if self.model is not None:
            return {without_folders(self.model): given_subject(self.model, text_data(self.text_settings()))}
        return {name: Subject.of_run(run) for name, run in runs.items()}

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        subjects = self.subjects(runs)
        answer = self.measure(subjects)
        return dataclasses.replace(answer, gate="; ".join(filter(None, (unfit(subjects), answer.gate))))

    @abstractmethod
    def measure(self, subjects: Mapping[str, Subject]) -> Answer:
        """Measure the models, compare, draw, and claim."""


def unfit(subjects: Mapping[str, Subject]) -> str:
    """Which models predict no better than bigram frequencies; empty if all do."""
    return "; ".join(
        f"{name}: {subject.loss:.3f} nats per token, not below the bigrams' {subject.baselines.bigram:.3f}"
        for name, subject in subjects.items()
        if not subject.loss < subject.baselines.bigram
    )


def text_data(settings: dict[str, Any]) -> TextData:
    """A text as its config describes it, not yet prepared."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(TextData, "data")
    return parser.instantiate_classes(parser.parse_object({"data": settings})).data
