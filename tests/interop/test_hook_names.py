from typing import Any

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.interop.hook_names import activations, canonical, places
from sup_lightning.interop.transformer_lens import to_bridge
from sup_lightning.nn.activations import ACTIVATIONS
from tests.interop.networks import TOKENS, WIDE, noisy

MODELS: list[dict[str, Any]] = [
    *({"activation": name} for name in ACTIVATIONS),
    {"attn_only": True},
    {"positions": "rotary"},
    WIDE,
]


@torch.no_grad()
@pytest.mark.parametrize("options", MODELS, ids=str)
def test_every_name_gives_what_transformer_lens_gives(options: dict[str, Any]) -> None:
    model = noisy(**options).double()  # rounding in float32 reaches 1e-4 in the wide layer
    ours, theirs = activations(model, TOKENS, list(places(model))), to_bridge(model).run_with_cache(TOKENS)[1]
    assert len(ours) == len(places(model))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-9, atol=1e-9, msg=lambda text, name=name: name + text)


def test_the_older_name_of_solu_before_its_layernorm() -> None:
    model, old = noisy(activation="solu_ln"), "blocks.1.mlp.hook_mid"
    assert canonical(old) == "blocks.1.mlp.ln.hook_in"
    both = activations(model, TOKENS, [old, canonical(old)])
    assert torch.equal(both[old], both[canonical(old)])


def test_asking_changes_nothing() -> None:
    model = noisy(dropout=0.5).train()
    name = "blocks.0.mlp.hook_post"
    one, other = (activations(model, TOKENS, name)[name] for _ in range(2))
    assert torch.equal(one, other)  # no dropout
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("options", "name", "said"),
    [
        ({}, "blocks.0.mlp.hook_pst", r"\(did you mean blocks\.0\.mlp\.hook_post\?\)"),
        ({}, "blocks.2.mlp.hook_post", "activation is 'blocks.2.mlp.hook_post'; allowed: the 46 names of"),
        ({"attn_only": True}, "blocks.0.mlp.hook_post", "activation is 'blocks.0.mlp.hook_post'"),
        ({}, "blocks.0.mlp.hook_mid", "activation is 'blocks.0.mlp.hook_mid'"),
    ],
)
def test_an_activation_that_the_model_has_not(options: dict[str, Any], name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        activations(noisy(**options), TOKENS, name)
