"""Where batches come from: synthetic features and text, as functions of (seed, step)."""

from sup_lightning.data.features import FeatureDistribution, IndependentFeatures, UniformValues, ValueLaw
from sup_lightning.data.synthetic import SyntheticFeatures, ToyBatch, ToyChunk
from sup_lightning.data.tasks import Identity, Task

__all__ = [
    "FeatureDistribution",
    "Identity",
    "IndependentFeatures",
    "SyntheticFeatures",
    "Task",
    "ToyBatch",
    "ToyChunk",
    "UniformValues",
    "ValueLaw",
]
