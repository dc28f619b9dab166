"""Train, watch and take apart superposition, in toy models and small language models.

Importing this package is quick: what is heavy is loaded when it is first used.

>>> import sup_lightning
>>> sup_lightning.__version__
'0.1.0'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sup_lightning.experiment import Run, fit
    from sup_lightning.sweep import Sweep

__version__ = "0.1.0"
__all__ = ["Run", "Sweep", "__version__", "fit"]

_HOMES = {"fit": "sup_lightning.experiment", "Run": "sup_lightning.experiment", "Sweep": "sup_lightning.sweep"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sup_lightning' has no attribute {name!r}")
