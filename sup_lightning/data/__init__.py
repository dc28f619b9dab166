"""Where batches come from: synthetic features and text, as functions of (seed, step)."""

from sup_lightning.data.features import FeatureDistribution, IndependentFeatures, UniformValues, ValueLaw
from sup_lightning.data.language import TextBatch, TextData
from sup_lightning.data.synthetic import SyntheticFeatures, ToyBatch, ToyChunk
from sup_lightning.data.tasks import Identity, Task
from sup_lightning.data.text import Document, HubText, LocalText, StdlibText, TextSource

__all__ = [
    "Document",
    "FeatureDistribution",
    "HubText",
    "Identity",
    "IndependentFeatures",
    "LocalText",
    "StdlibText",
    "SyntheticFeatures",
    "Task",
    "TextBatch",
    "TextData",
    "TextSource",
    "ToyBatch",
    "ToyChunk",
    "UniformValues",
    "ValueLaw",
]
