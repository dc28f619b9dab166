import pytest
import torch
from torch import Tensor

from sup_lightning.nn import linear_cross_entropy, transformer
from sup_lightning.nn.estimate import STATE_BYTES, estimate
from sup_lightning.nn.transformer import Transformer

N_CTX, BATCH = 32, 4


def model(**options: object) -> Transformer:
    sizes = {"n_layers": 2, "d_model": 32, "n_heads": 4, "d_vocab": 300, "n_ctx": N_CTX, "d_mlp": 512}
    return Transformer(**sizes | options)  # type: ignore[arg-type]


def saved_bytes(net: Transformer) -> int:
    """Bytes of activations that autograd keeps up to the unembedding, each storage once; parameters do not count."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    storages: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in own and x.dtype == torch.float32:
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        kept = net.hidden(torch.zeros(BATCH, N_CTX, dtype=torch.int64))  # alive, so that no storage is used twice
    assert kept.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_new", "silu", "solu", "solu_ln"])
def test_kept_activations_are_as_estimated(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_cross_entropy, "CPU_LOGITS", 0)
    net, n_tokens = model(activation=activation), BATCH * N_CTX
    held = 2 * 4 * 512 * n_tokens
    kept = estimate(net, n_tokens).activation_bytes - held
    assert saved_bytes(net) == pytest.approx(kept, rel=0.08)


def test_recomputed_activations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_cross_entropy, "CPU_LOGITS", 0)
    monkeypatch.setattr(transformer, "CPU_NEURONS", 512 * 8)
    few, many = (estimate(model(recompute_mlp=True, d_mlp=512), n).activation_bytes for n in (1_000, 2_000))
    of_residual = 4 * 1_000 * (2 * (4 * 32 + 4 * 32) + 2 * 32)
    assert many - few == pytest.approx(of_residual)


def test_counts() -> None:
    net = model(d_mlp=[128, 512])
    counted = estimate(net, 1)
    assert counted.n_parameters == sum(p.numel() for p in net.parameters())
    assert counted.n_mlp_parameters == (128 + 512) * (2 * 32 + 1) + 2 * 32
    products = 2 * 4 * 32 * 32 + 2 * 32 * (128 + 512) + 32 * 300
    assert counted.flops_per_token == 6 * products + 6 * 2 * 32 * N_CTX
    assert counted.state_bytes == STATE_BYTES * counted.n_parameters
    assert estimate(model(d_mlp=[128, 512], tied=True), 1).flops_per_token == counted.flops_per_token
    assert "MFLOP a token" in str(counted)
