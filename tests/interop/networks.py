"""Small transformers that the interop tests share."""

from typing import Any

import torch

from sup_lightning.nn.transformer import Transformer

TOKENS = torch.randint(0, 300, (2, 24), generator=torch.Generator().manual_seed(0))

WIDE = {"activation": "solu_ln", "d_mlp": [64, 640], "mid_ln_eps": [1e-2, 1e-4]}
"""Layers of different widths and epsilons."""


def noisy(**options: Any) -> Transformer:
    """A transformer whose every parameter matters, biases and LayerNorms too; logits of standard deviation 2 to 4."""
    arguments: dict[str, Any] = {"n_layers": 2, "d_model": 64, "n_heads": 4, "d_vocab": 300, "n_ctx": 32}
    model = Transformer(**(arguments | options)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.25)
    return model
