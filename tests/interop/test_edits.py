"""Activations that are changed on the way, against weights that are changed to the same effect."""

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.interop.edits import edited
from sup_lightning.interop.hook_names import activations
from sup_lightning.nn.transformer import Transformer

NET = Transformer(2, 16, 4, 20, 10, seed=3).eval()
TOKENS = torch.randint(0, 20, (3, 10), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "path", "rows"),
    [
        ("blocks.1.attn.hook_v", "layers.1.attn.v", slice(4, 8)),
        ("blocks.0.attn.hook_q", "layers.0.attn.q", slice(4, 8)),
        ("blocks.0.mlp.hook_pre", "layers.0.mlp.fc_in", slice(4, 8)),
    ],
)
def test_a_zeroed_activation_is_a_zeroed_weight(name: str, path: str, rows: slice) -> None:
    def zero(x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2).clone()
        flat[..., rows] = 0
        return flat.view_as(x)

    changed = Transformer(2, 16, 4, 20, 10, seed=3).eval()
    with torch.no_grad():
        changed.get_submodule(path).weight[rows] = 0  # type: ignore[index, operator]
        with edited(NET, {name: zero}):
            found = NET(TOKENS)
        assert torch.equal(found, changed(TOKENS))
    assert not torch.equal(found, NET(TOKENS))


def test_an_input_is_changed_and_then_no_more() -> None:
    before = NET(TOKENS)
    stream = activations(NET, TOKENS, "blocks.1.hook_resid_pre")["blocks.1.hook_resid_pre"]
    with edited(NET, {"blocks.1.hook_resid_pre": lambda x: 2 * x}):
        inside = NET(TOKENS)
    torch.testing.assert_close(inside, NET.head(NET.ln_out(NET.layers[1](2 * stream))))
    assert torch.equal(NET(TOKENS), before)


def test_edits_end_also_where_one_fails() -> None:
    before = NET(TOKENS)
    with pytest.raises(UserError, match=r"did you mean blocks\.0\.attn\.hook_z"):  # noqa: SIM117
        with edited(NET, {"blocks.0.attn.hook_v": torch.zeros_like, "blocks.0.attn.hook_x": torch.zeros_like}):
            pass
    assert torch.equal(NET(TOKENS), before)


def test_what_the_forward_pass_does_not_go_through_is_refused() -> None:
    for name in ("blocks.0.attn.hook_pattern", "blocks.0.ln1.hook_scale"):
        with pytest.raises(UserError, match="allowed: one that the forward pass goes through"):  # noqa: SIM117
            with edited(NET, {name: torch.zeros_like}):
                pass
