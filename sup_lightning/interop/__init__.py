"""Trained models in, out and taken apart: TransformerLens both ways, exports, the hub, activations by name, heads.

Importing this package is quick: what is heavy is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sup_lightning.interop.edits import edited
    from sup_lightning.interop.exports import export
    from sup_lightning.interop.gate import bridge_error, check_bridge
    from sup_lightning.interop.hook_names import activations
    from sup_lightning.interop.induction_heads import examine_heads
    from sup_lightning.interop.models import load
    from sup_lightning.interop.transformer_lens import from_bridge, from_tl_state_dict, to_bridge
    from sup_lightning.snapshot_io import load_snapshot, save_snapshot

__all__ = [
    "activations",
    "bridge_error",
    "check_bridge",
    "edited",
    "examine_heads",
    "export",
    "from_bridge",
    "from_tl_state_dict",
    "load",
    "load_snapshot",
    "save_snapshot",
    "to_bridge",
]

_HOMES = {
    "activations": "sup_lightning.interop.hook_names",
    "bridge_error": "sup_lightning.interop.gate",
    "check_bridge": "sup_lightning.interop.gate",
    "edited": "sup_lightning.interop.edits",
    "examine_heads": "sup_lightning.interop.induction_heads",
    "export": "sup_lightning.interop.exports",
    "from_bridge": "sup_lightning.interop.transformer_lens",
    "from_tl_state_dict": "sup_lightning.interop.transformer_lens",
    "load": "sup_lightning.interop.models",
    "load_snapshot": "sup_lightning.snapshot_io",
    "save_snapshot": "sup_lightning.snapshot_io",
    "to_bridge": "sup_lightning.interop.transformer_lens",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sup_lightning.interop' has no attribute {name!r}")
