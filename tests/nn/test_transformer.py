import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import erf
from torch import Tensor

from sup_lightning.errors import UserError
from sup_lightning.nn import linear_cross_entropy, transformer
from sup_lightning.nn.activations import ACTIVATIONS, get_activation
from sup_lightning.nn.compiling import missing_toolchain
from sup_lightning.nn.transformer import MLP, Rotary, Transformer


def tiny(**options: object) -> Transformer:
    return Transformer(**{"n_layers": 2, "d_model": 16, "n_heads": 2, "d_vocab": 50, "n_ctx": 12} | options)  # type: ignore[arg-type]


TOKENS = torch.randint(0, 50, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("gelu", lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2)))),
        ("gelu_new", lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        ("relu", lambda x: np.maximum(x, 0)),
        ("silu", lambda x: x / (1 + np.exp(-x))),
        ("solu", lambda x: x * np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    ],
)
def test_activation_equals_its_formula(name: str, reference: object) -> None:
    x = torch.randn(7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(reference(x.numpy()))  # type: ignore[operator]
    torch.testing.assert_close(get_activation(name)(x), expected, rtol=1e-12, atol=1e-12)


def test_solu_keeps_the_dtype_and_sums_the_softmax_in_float32() -> None:
    x = torch.zeros(1, 4096, dtype=torch.bfloat16)
    x[0, 0] = 1.0
    out = get_activation("solu")(x)
    assert out.dtype == torch.bfloat16
    assert out[0, 0].item() == pytest.approx(math.e / (math.e + 4095), rel=4e-3)


def test_parameter_names() -> None:
    names = dict(tiny(n_layers=1, activation="solu_ln").named_parameters())
    assert list(names) == [
        "tok_embed.weight",
        "pos.weight",
        *(f"layers.0.ln1.{part}" for part in ("weight", "bias")),
        *(f"layers.0.attn.{map_}.{part}" for map_ in "qkvo" for part in ("weight", "bias")),
        *(f"layers.0.ln2.{part}" for part in ("weight", "bias")),
        *(f"layers.0.mlp.{map_}.{part}" for map_ in ("fc_in", "ln", "fc_out") for part in ("weight", "bias")),
        *(f"ln_out.{part}" for part in ("weight", "bias")),
        "head.weight",
    ]
    assert not any("mlp" in name or "ln2" in name for name, _ in tiny(attn_only=True).named_parameters())
    assert "pos.weight" not in tiny(positions="rotary").state_dict()


def test_twins_share_every_common_parameter() -> None:
    states = [tiny(activation=activation, seed=5).state_dict() for activation in ACTIVATIONS]
    for state in states[1:]:
        for name in states[0]:
            assert torch.equal(states[0][name], state[name])
    assert not torch.equal(states[0]["head.weight"], tiny(seed=6).state_dict()["head.weight"])


def test_initial_scales() -> None:
    state = tiny(d_model=64, n_heads=4, d_mlp=1024, d_vocab=500, n_ctx=256).state_dict()
    depth = math.sqrt(2 * 2)
    expected = {
        "tok_embed.weight": 0.02,
        "pos.weight": 0.01,
        "layers.0.attn.q.weight": 0.02,
        "layers.1.attn.o.weight": 0.02 / depth,
        "layers.0.mlp.fc_in.weight": 0.02,
        "layers.1.mlp.fc_out.weight": 0.02 / depth * math.sqrt(4 * 64 / 1024),
        "head.weight": 0.02,
    }
    for name, std in expected.items():
        assert state[name].std().item() == pytest.approx(std, rel=0.05), name
    assert state["layers.0.ln1.weight"].eq(1).all()
    assert state["ln_out.weight"].eq(1).all()
    assert all(value.eq(0).all() for name, value in state.items() if name.endswith("bias"))


def test_sinusoidal_start() -> None:
    state = tiny(d_model=64, n_heads=4, d_vocab=500, n_ctx=32, init="sinusoidal").state_dict()
    for name, value in state.items():
        if value.ndim > 1 and name != "pos.weight":
            assert value.std().item() == pytest.approx(0.1, rel=0.05), name
    t, pair = np.arange(32)[:, None], np.arange(32)[None, :]
    wave = 0.1 * np.exp(1j * t / 200.0 ** (2 * pair / 64))
    np.testing.assert_allclose(state["pos.weight"][:, 0::2].numpy(), wave.imag, atol=1e-6)
    np.testing.assert_allclose(state["pos.weight"][:, 1::2].numpy(), wave.real, atol=1e-6)
    assert tiny(d_model=5, n_heads=1, init="sinusoidal").state_dict()["pos.weight"].shape == (12, 5)


def test_what_an_mlp_adds_at_the_start_does_not_grow_with_its_width() -> None:
    x = F.layer_norm(torch.randn(200, 32, generator=torch.Generator().manual_seed(0)), (32,))
    norms = []
    for d_mlp in (4 * 32, 100 * 32):
        mlp = tiny(d_model=32, d_mlp=d_mlp).layers[0].mlp
        assert isinstance(mlp, MLP)
        norms.append(mlp(x).norm().item())
    assert norms[1] / norms[0] == pytest.approx(1.0, abs=0.2)  # 5.0 with GPT-2's standard deviation


@pytest.mark.parametrize("options", [{}, {"positions": "rotary"}, {"attn_only": True}, {"tied": True}])
def test_a_position_sees_only_the_past(options: dict[str, object]) -> None:
    model = tiny(**options).eval()
    changed = TOKENS.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 50
    before, after = model(TOKENS), model(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert (before[:, 7:] - after[:, 7:]).abs().amax(-1).gt(0).all()


def test_rotary_scores_depend_on_distance_alone() -> None:
    rotary = Rotary(n_ctx=20, d_head=8)
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    scores = rotary(q.expand(20, 8)) @ rotary(k.expand(20, 8)).T
    for distance in range(-5, 6):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)


def test_rotary_equals_complex_rotation() -> None:
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    pairs = x.numpy().astype(np.float64).reshape(6, 4, 2)
    angle = np.arange(6)[:, None] * 10000.0 ** (-np.arange(4) / 4)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angle)
    expected = np.stack([turned.real, turned.imag], -1).reshape(6, 8)
    np.testing.assert_allclose(Rotary(6, 8)(x).numpy(), expected, atol=1e-6)


def test_tied_unembedding_is_one_parameter() -> None:
    model = tiny(tied=True)
    assert model.head.weight is model.tok_embed.weight
    assert sum(p.numel() for p in tiny().parameters()) - sum(p.numel() for p in model.parameters()) == 50 * 16


def gradients_of(model: Transformer, plain: bool) -> tuple[Tensor, list[Tensor]]:
    """Loss and all gradients, from the fast path or from logits and PyTorch's own cross-entropy."""
    targets = TOKENS.roll(1, dims=1)
    torch.manual_seed(0)
    loss = F.cross_entropy(model(TOKENS).mT, targets) if plain else model.loss(TOKENS, targets)
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("tied", [False, True])
def test_loss_and_gradients_are_those_of_the_logits(tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_cross_entropy, "CPU_LOGITS", 50 * 7)  # seven rows of logits, which do not divide 36
    plain, gradients = gradients_of(tiny(dropout=0.1, tied=tied).double(), plain=True)
    fast, fast_gradients = gradients_of(tiny(dropout=0.1, tied=tied).double(), plain=False)
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
    for one, other in zip(gradients, fast_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)
    _, gradients = gradients_of(tiny(tied=tied), plain=True)
    _, fast_gradients = gradients_of(tiny(tied=tied), plain=False)
    for one, other in zip(gradients, fast_gradients, strict=True):
        assert (one - other).abs().max() < 1e-6 * max(1, float(one.abs().max()))


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "solu", "solu_ln"])
def test_recomputed_neurons_change_no_gradient(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "CPU_NEURONS", 64 * 5)  # five tokens at a time
    kept, gradients = gradients_of(tiny(activation=activation), plain=False)
    again, gradients_again = gradients_of(tiny(activation=activation, recompute_mlp=True), plain=False)
    torch.testing.assert_close(again, kept, rtol=1e-6, atol=1e-6)
    for one, other in zip(gradients, gradients_again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_recomputed_neurons_are_seen_by_hooks() -> None:
    model, seen = tiny(recompute_mlp=True), []
    model.layers[0].mlp.hook_post.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model.loss(TOKENS, TOKENS).backward()
    assert seen == [(*TOKENS.shape, 64)]


@pytest.mark.parametrize("activation", ["gelu", "solu_ln"])
def test_evaluation_in_parts_shows_hooks_the_same(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "CPU_NEURONS", 64 * 5)  # five tokens at a time
    seen: list[torch.Tensor] = []
    logits = []
    for recompute in (False, True):
        model = tiny(activation=activation, recompute_mlp=recompute).eval()
        model.layers[0].mlp.hook_post.register_forward_hook(lambda module, inputs, output: seen.append(output))
        with torch.no_grad():
            logits.append(model(TOKENS))
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler looks at it
@pytest.mark.skipif(missing_toolchain("cpu") is not None, reason="no C++ compiler")
@pytest.mark.parametrize("activation", ["gelu_new", "solu_ln"])
def test_compiled_training_agrees(activation: str) -> None:
    loss, gradients = gradients_of(tiny(activation=activation), plain=False)
    model = tiny(activation=activation)
    model.compile_for_training()
    compiled, compiled_gradients = gradients_of(model, plain=False)
    torch.testing.assert_close(compiled, loss, rtol=1e-6, atol=1e-6)
    for one, other in zip(gradients, compiled_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_token_losses_are_those_of_the_logits() -> None:
    model, targets = tiny().eval(), TOKENS.roll(1, dims=1)
    logits = model(TOKENS).detach().double().numpy()
    log_z = np.log(np.exp(logits).sum(-1))
    expected = log_z - np.take_along_axis(logits, targets.numpy()[..., None], -1)[..., 0]
    np.testing.assert_allclose(model.token_losses(TOKENS, targets).numpy(), expected, atol=1e-5)
    assert float(model.loss(TOKENS, targets).detach()) == pytest.approx(expected.mean(), abs=1e-5)


def test_loss_of_an_impossible_target_is_finite() -> None:
    hidden, weight = torch.tensor([[1.0]], requires_grad=True), torch.tensor([[0.0], [300.0]])
    loss = linear_cross_entropy.linear_cross_entropy(hidden, weight, torch.tensor([0]))
    assert float(loss.detach()) == 300
    loss.backward()
    assert hidden.grad is not None
    assert float(hidden.grad) == 300


def test_dropout_acts_in_training_alone() -> None:
    model = tiny(dropout=0.5)
    torch.manual_seed(0)
    first, second = model(TOKENS), model(TOKENS)
    torch.manual_seed(0)
    assert torch.equal(model(TOKENS), first)
    assert not torch.equal(first, second)
    assert torch.equal(model.eval()(TOKENS), tiny().eval()(TOKENS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 0}, "n_layers is 0; allowed: a positive integer"),
        ({"d_mlp": -4}, "d_mlp is -4; allowed: a positive integer"),
        ({"n_heads": 3}, "n_heads is 3; allowed: a divisor of d_model = 16, or give d_head"),
        ({"activation": "gleu"}, r"activation is 'gleu'; allowed: gelu, .* \(did you mean gelu\?\)"),
        ({"activation": "swish", "attn_only": True}, "activation is 'swish'; allowed: gelu"),
        ({"positions": "alibi"}, "positions is 'alibi'; allowed: learned, rotary"),
        ({"positions": "rotary", "d_head": 5}, "d_head is 5; allowed: an even number with rotary positions"),
        ({"init": "he"}, "init is 'he'; allowed: by_width, published, sinusoidal"),
        ({"init": "sinusoidal", "positions": "rotary"}, "init is 'sinusoidal'; allowed: by_width or published with ro"),
        ({"dropout": 1.0}, r"dropout is 1.0; allowed: a number in \[0, 1\)"),
        ({"mid_ln_eps": 0.0}, "mid_ln_eps is 0.0; allowed: a positive number"),
    ],
)
def test_bad_settings_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(**options)


def test_a_sequence_longer_than_the_context_is_named() -> None:
    with pytest.raises(UserError, match="the sequence has 13 tokens; allowed: at most n_ctx = 12"):
        tiny()(torch.zeros(1, 13, dtype=torch.int64))
