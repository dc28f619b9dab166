"""Measurement during training, and the files of a run."""

from sup_lightning.callbacks.checkpoint import LastCheckpoint
from sup_lightning.callbacks.geometry import GeometryFigures
from sup_lightning.callbacks.progress import StepProgressBar
from sup_lightning.callbacks.run_record import RunRecord
from sup_lightning.callbacks.superposition import SuperpositionMonitor

__all__ = ["GeometryFigures", "LastCheckpoint", "RunRecord", "StepProgressBar", "SuperpositionMonitor"]
