"""Plain networks: no Lightning in here."""

from sup_lightning.nn.bottleneck import BottleneckModel
from sup_lightning.nn.toy import ToyNetwork

__all__ = ["BottleneckModel", "ToyNetwork"]
