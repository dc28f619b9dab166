import math

import pytest
import torch
from torch import Tensor, nn

from sup_lightning.errors import UserError
from sup_lightning.nn.activations import ACTIVATIONS
from sup_lightning.nn.transformer import MLP, Transformer
from sup_lightning.nn.widen import NoiseScheme, widen

ELEMENTWISE = ("gelu", "gelu_new", "relu", "silu")
EXACT: list[tuple[str, NoiseScheme]] = [
    *((activation, "none") for activation in ACTIVATIONS),
    *((activation, "zero_sum") for activation in ACTIVATIONS),
    *((activation, "cancelling_pairs") for activation in ELEMENTWISE),
]
TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12}
TOKENS = torch.randint(0, 50, (4, 12), generator=torch.Generator().manual_seed(0))


def trained(activation: str = "gelu", dtype: torch.dtype = torch.float64, n_layers: int = 2) -> Transformer:
    """A transformer whose MLPs matter and whose biases and LayerNorms are not those of the start."""
    net = Transformer(n_layers, 32, 2, d_vocab=50, n_ctx=12, d_mlp=48, activation=activation, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in net.layers:
            for part in layer.mlp.children():
                for name, value in part.named_parameters():
                    noise = torch.randn(value.shape, generator=generator)
                    gain = 1.0 if isinstance(part, nn.LayerNorm) and name == "weight" else 0.0
                    value.copy_(gain + (0.25 if value.ndim > 1 else 0.1) * noise)
    return net.to(dtype).eval()


def mlp_of(net: Transformer, layer: int) -> MLP:
    mlp = net.layers[layer].mlp
    assert isinstance(mlp, MLP)
    return mlp


def relative(changed: Tensor, original: Tensor) -> float:
    return ((changed - original).norm() / original.norm()).item()


@torch.no_grad()
def errors(net: Transformer, wide: Transformer, layer: int) -> tuple[float, float]:
    """Relative error of what the MLP adds, its bias aside, and of the logits."""
    x = torch.randn(200, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(net.head.weight)
    ours, wides = mlp_of(net, layer), mlp_of(wide, layer)
    return relative(wides(x) - wides.fc_out.bias, ours(x) - ours.fc_out.bias), relative(wide(TOKENS), net(TOKENS))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
@pytest.mark.parametrize(("activation", "noise"), EXACT)
def test_the_function_is_preserved(activation: str, noise: NoiseScheme, dtype: torch.dtype) -> None:
    net = trained(activation, dtype)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    wide = widen(net, 1, 10, noise, noise_scale=1.0, seed=0)
    assert wide.d_mlps == [48, 480]
    assert net.d_mlps == [48, 48]
    for error in errors(net, wide, 1):
        assert error < TOLERANCE[dtype]
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
        assert "layers.1.mlp" in name or torch.equal(wide.state_dict()[name], value)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "relu"])  # it has a kink
def test_antisymmetric_noise_changes_the_output_in_second_order(activation: str) -> None:
    net = trained(activation)
    first, second = (errors(net, widen(net, 0, 4, "antisymmetric", scale, 0), 0)[0] for scale in (0.02, 0.01))
    assert 1e-6 < second < 1e-2
    assert first / second == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_independent_noise_changes_the_output_in_first_order(activation: str) -> None:
    net = trained(activation)
    first, second = (errors(net, widen(net, 0, 4, "iid", scale, 0), 0)[0] for scale in (0.02, 0.01))
    assert 1e-4 < second < 3e-2
    assert first / second == pytest.approx(2.0, rel=0.1)


def with_output_scaled(net: Transformer, factor: float) -> Transformer:
    with torch.no_grad():
        mlp_of(net, 0).fc_out.weight.mul_(factor)
    return net


@pytest.mark.parametrize(("activation", "wrong"), [("gelu", 10.0), ("relu", 10.0), ("solu", 0.1), ("solu_ln", 10.0)])
def test_another_scale_of_the_output_weights_would_not_do(activation: str, wrong: float) -> None:
    net = trained(activation)
    wide = with_output_scaled(widen(net, 0, 10, "none", 0.0, 0), wrong)
    assert errors(net, wide, 0)[0] == pytest.approx(abs(1 - wrong), rel=1e-6)


def test_the_old_epsilon_would_not_do() -> None:
    net = trained("solu_ln")
    for layer in net.layers:
        layer.mlp.ln.eps = 1e-3
    wide = widen(net, 0, 10, "none", 0.0, 0)
    norm = mlp_of(wide, 0).ln
    assert norm is not None
    assert norm.eps == pytest.approx(1e-5, rel=1e-12)
    assert errors(net, wide, 0)[0] < 1e-12
    norm.eps = 1e-3
    assert errors(net, wide, 0)[0] > 1e-2


def copies(net: Transformer, layer: int, k: int) -> tuple[Tensor, Tensor]:
    mlp = mlp_of(net, layer)
    return mlp.fc_in.weight.detach().view(-1, k, 32), mlp.fc_out.weight.detach().T.reshape(-1, k, 32)


def test_copies_lie_side_by_side() -> None:
    net = trained()
    W, V = copies(widen(net, 0, 3, "none", 0.0, 0), 0, 3)
    for j in range(3):
        assert torch.equal(W[:, j], mlp_of(net, 0).fc_in.weight)
        torch.testing.assert_close(V[:, j], mlp_of(net, 0).fc_out.weight.T / 3)


def test_noise_has_its_scale() -> None:
    net = trained()
    W0, V0 = mlp_of(net, 0).fc_in.weight[:, None].detach(), mlp_of(net, 0).fc_out.weight.T[:, None].detach() / 10

    def size(noise: Tensor, original: Tensor) -> Tensor:
        """Of each neuron's noise, relative to its weights."""
        return (noise.square().mean(dim=(1, 2)) / original.square().mean(dim=(1, 2))).sqrt()

    for noise in ("iid", "antisymmetric"):
        W, V = copies(widen(net, 0, 10, noise, 0.3, 0), 0, 10)  # type: ignore[arg-type]
        torch.testing.assert_close(size(W - W0, W0), torch.full((48,), 0.3).double(), rtol=0.2, atol=0)
        torch.testing.assert_close(V, V0.expand_as(V))
    W, V = copies(widen(net, 0, 10, "zero_sum", 0.3, 0), 0, 10)
    assert torch.equal(W, W0.expand_as(W))
    torch.testing.assert_close(size(V - V0, V0), torch.full((48,), 0.3).double(), rtol=0.2, atol=0)
    W, V = copies(widen(net, 0, 10, "cancelling_pairs", 0.3, 0), 0, 10)
    assert torch.equal(W[:, 0::2], W[:, 1::2])
    assert torch.equal(W[:, :2], W0.expand(48, 2, 32))
    assert torch.equal(V[:, 2::2], -V[:, 3::2])
    torch.testing.assert_close(size(W[:, 2:] - W0, W0), torch.full((48,), 0.3).double(), rtol=0.25, atol=0)
    torch.testing.assert_close(size(V[:, 2:], V0), torch.full((48,), 0.3).double(), rtol=0.25, atol=0)


def test_noise_follows_its_seed() -> None:
    net = trained()
    states = [mlp_of(widen(net, 0, 4, "iid", 0.1, seed), 0).fc_in.weight for seed in (3, 3, 4)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    both = [mlp_of(widen(trained(n_layers=2), layer, 4, "iid", 1.0, 3), layer) for layer in (0, 1)]
    noise = [mlp.fc_in.weight.view(48, 4, 32).diff(dim=1).flatten() for mlp in both]
    assert abs(torch.corrcoef(torch.stack(noise))[0, 1].item()) < 4 / math.sqrt(48 * 4 * 32)


def test_a_widened_layer_can_be_widened_again() -> None:
    net = trained("solu_ln")
    twice = widen(widen(net, 0, 2, "zero_sum", 1.0, 0), 0, 3, "zero_sum", 1.0, 1)
    assert twice.d_mlps == [48 * 6, 48]
    assert max(errors(net, twice, 0)) < 1e-12


def test_the_control_is_a_copy() -> None:
    net = trained("solu_ln")
    same = widen(net, 0, 1, "none", 1.0, 0)
    assert same is not net
    for name, value in net.state_dict().items():
        assert torch.equal(same.state_dict()[name], value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": 2}, "layer is 2; allowed: 0 to n_layers - 1 = 1"),
        ({"layer": -1}, "layer is -1; allowed: 0 to n_layers - 1 = 1"),
        ({"k": 0}, "k is 0; allowed: a positive integer"),
        ({"k": 1}, "k is 1; allowed: 2 or more with noise iid, or noise none: k = 1 is the control of the same width"),
        ({"k": 3, "noise": "antisymmetric"}, "k is 3; allowed: an even number with noise antisymmetric"),
        ({"k": 5, "noise": "cancelling_pairs"}, "k is 5; allowed: an even number with noise cancelling_pairs"),
        ({"noise": "antisymetric"}, r"noise is 'antisymetric'; allowed: none, .* \(did you mean antisymmetric\?\)"),
        ({"noise_scale": 0.0}, "noise_scale is 0.0; allowed: a positive number, or noise none"),
        ({"noise_scale": math.nan}, "noise_scale is nan; allowed: a positive number, or noise none"),
    ],
)
def test_bad_settings_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        widen(trained(), **{"layer": 0, "k": 4, "noise": "iid", "noise_scale": 0.1, "seed": 0} | arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", ["solu", "solu_ln"])
def test_pairs_do_not_cancel_under_a_common_normaliser(activation: str) -> None:
    allowed = rf"none, zero_sum \(exact\), antisymmetric, iid \(approximate\) with {activation}$"
    with pytest.raises(UserError, match=f"noise is 'cancelling_pairs'; allowed: {allowed}"):
        widen(trained(activation), 0, 4, "cancelling_pairs", 1.0, 0)


def test_attention_alone_has_nothing_to_widen() -> None:
    with pytest.raises(UserError, match="attn_only is True; allowed: False"):
        widen(Transformer(1, 16, 2, 50, 12, attn_only=True), 0, 4, "iid", 0.1, 0)
