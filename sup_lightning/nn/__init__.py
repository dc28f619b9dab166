"""Plain networks: no Lightning in here."""

from sup_lightning.nn.bottleneck import BottleneckModel
from sup_lightning.nn.toy import ToyNetwork
from sup_lightning.nn.transformer import Transformer

__all__ = ["BottleneckModel", "ToyNetwork", "Transformer"]
