"""Plain networks, and their exact expected loss and optima: no Lightning in here."""

from sup_lightning.nn.attention import AttentionModel
from sup_lightning.nn.autoencoder import NarrowAutoencoder
from sup_lightning.nn.bottleneck import BottleneckModel
from sup_lightning.nn.classifier import ClassifierModel
from sup_lightning.nn.code import CodeModel
from sup_lightning.nn.computation import ComputationModel
from sup_lightning.nn.decoders import DecoderModel
from sup_lightning.nn.deep import DeepComputationModel
from sup_lightning.nn.exact_loss import ExactLoss
from sup_lightning.nn.objectives import BinaryCrossEntropy, CrossEntropy, Objective, PowerError, SquaredError
from sup_lightning.nn.optimum import best_instances, find_optimum
from sup_lightning.nn.toy import ToyNetwork
from sup_lightning.nn.transformer import Transformer

__all__ = [
    "AttentionModel",
    "BinaryCrossEntropy",
    "BottleneckModel",
    "ClassifierModel",
    "CodeModel",
    "ComputationModel",
    "CrossEntropy",
    "DecoderModel",
    "DeepComputationModel",
    "ExactLoss",
    "NarrowAutoencoder",
    "Objective",
    "PowerError",
    "SquaredError",
    "ToyNetwork",
    "Transformer",
    "best_instances",
    "find_optimum",
]
