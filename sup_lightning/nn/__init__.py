"""Plain networks, and their exact expected loss and optima: no Lightning in here."""

from sup_lightning.nn.bottleneck import BottleneckModel
from sup_lightning.nn.computation import ComputationModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.nn.optimum import best_instances, find_optimum
from sup_lightning.nn.toy import ToyNetwork
from sup_lightning.nn.transformer import Transformer

__all__ = [
    "BottleneckModel",
    "ComputationModel",
    "ExactLoss",
    "ToyNetwork",
    "Transformer",
    "best_instances",
    "find_optimum",
]
