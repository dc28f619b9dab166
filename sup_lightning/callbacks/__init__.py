"""Measurement during training, and the files of a run."""

from sup_lightning.callbacks.checkpoint import LastCheckpoint
from sup_lightning.callbacks.copies import CopyDivergence
from sup_lightning.callbacks.geometry import GeometryFigures
from sup_lightning.callbacks.neurons import NeuronMonitor
from sup_lightning.callbacks.progress import StepProgressBar
from sup_lightning.callbacks.run_record import RunRecord
from sup_lightning.callbacks.samples import TextSamples
from sup_lightning.callbacks.snapshots import Snapshots, WeightSnapshots, load_snapshots
from sup_lightning.callbacks.superposition import SuperpositionMonitor
from sup_lightning.callbacks.throughput import Throughput

__all__ = [
    "CopyDivergence",
    "GeometryFigures",
    "LastCheckpoint",
    "NeuronMonitor",
    "RunRecord",
    "Snapshots",
    "StepProgressBar",
    "SuperpositionMonitor",
    "TextSamples",
    "Throughput",
    "WeightSnapshots",
    "load_snapshots",
]
