"""The attention toy against attention over positions, computed one sequence at a time."""

import pytest
import torch

from sup_lightning.data import SkipTrigramContexts, SkipTrigrams
from sup_lightning.errors import UserError
from sup_lightning.nn import AttentionModel

N_FEATURES = 11


def inputs(n_instances: int) -> torch.Tensor:
    x, _ = SkipTrigramContexts().contexts(N_FEATURES, torch.full((N_FEATURES,), 0.1))
    return x.expand(n_instances, -1, -1)


@pytest.mark.parametrize("d_head", [1, 4])
def test_it_is_softmax_attention_over_the_positions(d_head: int) -> None:
    net = AttentionModel(N_FEATURES, [3, 5], n_heads=3, d_head=d_head)
    with torch.no_grad():
        net.b.copy_(torch.linspace(-0.1, 0.2, 12).view(2, 6))
    x = inputs(2)
    output = net(x)
    for instance in range(2):
        for row in range(0, x.shape[1], 7):
            tokens = [t for t in range(5) for _ in range(int(x[instance, row, t]))]
            current = int(x[instance, row, 5:].argmax())
            total = net.b[instance].clone()
            for head in range(3):
                query = net.W_Q[instance, head, current]
                keys, values = net.W_K[instance, head, tokens], net.W_V[instance, head, tokens]
                weights = torch.softmax(keys @ query / d_head**0.5, dim=0)
                total = total + weights @ values @ net.W_O[instance, head]
            assert torch.allclose(output[instance, row], total.relu(), atol=1e-5)


def test_parts_add_up() -> None:
    net, x = AttentionModel(N_FEATURES, [0, 1], n_heads=2, activation="linear"), inputs(2)
    assert torch.allclose(net.attention(x).sum(-1), torch.ones(()))
    assert torch.allclose(net.readout(net.head_outputs(x).sum(2)), net(x), atol=1e-6)
    assert torch.allclose(net(x, keep=torch.ones(2, x.shape[1], net.n_hidden)), net(x), atol=1e-6)
    assert torch.allclose(net(x, keep=torch.zeros(2, x.shape[1], net.n_hidden)), net.b[:, None])  # nothing but the bias
    assert net.feature_directions().shape == (2, N_FEATURES, net.n_hidden)


def test_an_instance_is_a_model_of_its_own() -> None:
    both, alone = AttentionModel(N_FEATURES, [4, 9]), AttentionModel(N_FEATURES, [9])
    assert torch.equal(both.W_Q[1], alone.W_Q[0])
    assert torch.allclose(both(inputs(2))[1], alone(inputs(1))[0], atol=1e-6)
    both(inputs(2))[1].sum().backward()
    assert all(float(parameter.grad[0].abs().max()) == 0 for parameter in both.parameters())


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="n_features is 6; allowed: more than the 6 destinations"):
        AttentionModel(6, [0])
    with pytest.raises(UserError, match="n_heads is 0"):
        AttentionModel(N_FEATURES, [0], n_heads=0)


# The fewest heads, by hand-made tables of attention strengths and writes (see SkipTrigrams).

ONE_SOURCE = slice(0, 3 * 6)
"""Rows of `inputs` with no token, with the first source, with the second, and no random token."""


def planted(strengths: torch.Tensor, writes: torch.Tensor, b: torch.Tensor, activation: str) -> AttentionModel:
    """Heads that attend to a lone source by `strengths[head, destination]`, and write `writes[head, source, label]`."""
    net = AttentionModel(N_FEATURES, [0], n_heads=len(strengths), d_head=8, activation=activation)  # type: ignore[arg-type]
    scores = torch.zeros(len(strengths), 6, 5)  # random tokens are as good as blanks
    scores[..., :2] = torch.logit(strengths.clamp(1e-9, 1 - 1e-7)).unsqueeze(-1) + torch.tensor(5.0).log()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.W_K[0, :, :, :5] = torch.eye(5) * 8**0.5
        net.W_Q[0, :, :, :5] = scores
        net.W_V[0, :, :, :5] = torch.eye(5)
        net.W_O[0, :, :2] = writes
        net.b[0] = b
    return net


def error(net: AttentionModel, coherent: bool = False) -> float:
    x = inputs(1)[:, ONE_SOURCE]
    target = SkipTrigrams(coherent=coherent)(x[0].mT).mT
    return float((net(x)[0] - target).detach().square().sum(-1).max())


def test_one_head_copies_trigrams_that_agree() -> None:
    writes = torch.eye(6)[:2].unsqueeze(0)
    assert error(planted(torch.ones(1, 6), writes, torch.zeros(6), "linear"), coherent=True) < 1e-6


def test_a_linear_readout_takes_a_head_for_each_trigram_of_a_source() -> None:
    labels = SkipTrigrams().labels
    writes = torch.eye(6)[labels].movedim(1, 0)  # [head = destination, source, label]
    assert error(planted(torch.eye(6), writes, torch.zeros(6), "linear")) < 1e-6
    without_one = planted(torch.eye(6)[:5], writes[:5], torch.zeros(6), "linear")
    assert error(without_one) > 0.99
    targets = torch.eye(6)[labels[0]]  # of one source: outputs of five heads lie in five dimensions
    assert int(torch.linalg.matrix_rank(targets)) == 6


def test_a_relu_takes_two_heads() -> None:
    angles = torch.arange(6).add(0.5) * torch.pi / 12
    arc = torch.stack([angles.cos(), angles.sin()])  # [head, destination]
    gap = float(1 - torch.tensor(torch.pi / 12).cos())
    inverse = SkipTrigrams().labels.argsort(dim=1)  # the destination of each label
    writes = arc[:, inverse] / gap
    assert error(planted(arc, writes, torch.full((6,), 1 - 1 / gap), "relu")) < 1e-4


def test_a_softmax_takes_one_head() -> None:
    labels = torch.arange(6.0)
    logits = labels * (2 * labels.unsqueeze(1) - labels)  # of strengths x = 0 … 5
    assert torch.equal(logits.argmax(dim=1), torch.arange(6))
