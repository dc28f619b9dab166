"""Train, watch and take apart superposition, in toy models and small language models.

Importing this package is quick: what is heavy is loaded when it is first used.

>>> import sup_lightning
>>> sup_lightning.__version__
'0.1.0'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sup_lightning.data import StreamedText, SyntheticFeatures, TextData
    from sup_lightning.experiment import Run, fit
    from sup_lightning.modules import LanguageModel, ToyModel, WidenedLanguageModel
    from sup_lightning.nn import BottleneckModel, Transformer
    from sup_lightning.sweep import Sweep

__version__ = "0.1.0"
__all__ = [
    "BottleneckModel",
    "LanguageModel",
    "Run",
    "StreamedText",
    "Sweep",
    "SyntheticFeatures",
    "TextData",
    "ToyModel",
    "Transformer",
    "WidenedLanguageModel",
    "__version__",
    "fit",
]

_HOMES = {
    "BottleneckModel": "sup_lightning.nn",
    "LanguageModel": "sup_lightning.modules",
    "Run": "sup_lightning.experiment",
    "StreamedText": "sup_lightning.data",
    "Sweep": "sup_lightning.sweep",
    "SyntheticFeatures": "sup_lightning.data",
    "TextData": "sup_lightning.data",
    "ToyModel": "sup_lightning.modules",
    "Transformer": "sup_lightning.nn",
    "WidenedLanguageModel": "sup_lightning.modules",
    "fit": "sup_lightning.experiment",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sup_lightning' has no attribute {name!r}")
