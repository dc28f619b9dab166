"""Where batches come from: synthetic features, synthetic sequences and text, as functions of (seed, step)."""

from sup_lightning.data.composed_tasks import Composed, GroupSums
from sup_lightning.data.features import (
    AnticorrelatedSets,
    CoactiveSets,
    CorrelatedSets,
    ExactlyKActive,
    FeatureDistribution,
    IndependentFeatures,
)
from sup_lightning.data.label_tasks import SampledLabel, SoftLabel
from sup_lightning.data.language import TextData
from sup_lightning.data.level_tasks import LevelOneHot
from sup_lightning.data.pair_tasks import PairTask
from sup_lightning.data.rings import RingBumps
from sup_lightning.data.sequence_laws import RepeatedBlocks, SequenceLaw, SubsetMaps
from sup_lightning.data.shards import verify_shards
from sup_lightning.data.skip_trigrams import SkipTrigramContexts, SkipTrigrams
from sup_lightning.data.streaming import StreamedText
from sup_lightning.data.summary_tasks import FeaturesAndLargest
from sup_lightning.data.synthetic import SyntheticFeatures, ToyBatch, ToyChunk
from sup_lightning.data.table_tasks import TableLookup
from sup_lightning.data.tasks import AbsoluteValue, Identity, Square, Task
from sup_lightning.data.text import Document, HubText, LocalText, StdlibText, TextSource
from sup_lightning.data.token_sequences import SequenceBatch, TokenSequences
from sup_lightning.data.two_bases import TwoBases
from sup_lightning.data.values import ConstantValue, DiscreteValues, SignedValues, UniformValues, ValueLaw
from sup_lightning.data.windows import TextBatch

__all__ = [
    "AbsoluteValue",
    "AnticorrelatedSets",
    "CoactiveSets",
    "Composed",
    "ConstantValue",
    "CorrelatedSets",
    "DiscreteValues",
    "Document",
    "ExactlyKActive",
    "FeatureDistribution",
    "FeaturesAndLargest",
    "GroupSums",
    "HubText",
    "Identity",
    "IndependentFeatures",
    "LevelOneHot",
    "LocalText",
    "PairTask",
    "RepeatedBlocks",
    "RingBumps",
    "SampledLabel",
    "SequenceBatch",
    "SequenceLaw",
    "SignedValues",
    "SkipTrigramContexts",
    "SkipTrigrams",
    "SoftLabel",
    "Square",
    "StdlibText",
    "StreamedText",
    "SubsetMaps",
    "SyntheticFeatures",
    "TableLookup",
    "Task",
    "TextBatch",
    "TextData",
    "TextSource",
    "TokenSequences",
    "ToyBatch",
    "ToyChunk",
    "TwoBases",
    "UniformValues",
    "ValueLaw",
    "verify_shards",
]
