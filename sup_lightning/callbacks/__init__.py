"""Measurement during training, and the files of a run."""

from sup_lightning.callbacks.checkpoint import LastCheckpoint
from sup_lightning.callbacks.copies import CopyDivergence
from sup_lightning.callbacks.genres import GenreLoss
from sup_lightning.callbacks.geometry import GeometryFigures
from sup_lightning.callbacks.induction import InductionScore
from sup_lightning.callbacks.neurons import NeuronMonitor
from sup_lightning.callbacks.progress import StepProgressBar
from sup_lightning.callbacks.run_record import RunRecord
from sup_lightning.callbacks.samples import TextSamples
from sup_lightning.callbacks.snapshots import Snapshots, WeightSnapshots, load_snapshots
from sup_lightning.callbacks.superposition import SuperpositionMonitor
from sup_lightning.callbacks.throughput import Throughput
from sup_lightning.callbacks.weight_checkpoints import WeightCheckpoints, weight_checkpoints

__all__ = [
    "CopyDivergence",
    "GenreLoss",
    "GeometryFigures",
    "InductionScore",
    "LastCheckpoint",
    "NeuronMonitor",
    "RunRecord",
    "Snapshots",
    "StepProgressBar",
    "SuperpositionMonitor",
    "TextSamples",
    "Throughput",
    "WeightCheckpoints",
    "WeightSnapshots",
    "load_snapshots",
    "weight_checkpoints",
]
