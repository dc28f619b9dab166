"""LightningModules."""

from sup_lightning.modules.base import SupModule
from sup_lightning.modules.exact import ExactToyModel
from sup_lightning.modules.language import LanguageModel
from sup_lightning.modules.schedule import WarmupCosine
from sup_lightning.modules.toy import ToyModel
from sup_lightning.modules.widened import WidenedLanguageModel

__all__ = ["ExactToyModel", "LanguageModel", "SupModule", "ToyModel", "WarmupCosine", "WidenedLanguageModel"]
