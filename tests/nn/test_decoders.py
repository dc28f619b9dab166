"""Readers of one code: who trains what, and what sparse inference converges to."""

from functools import partial

import pytest
import torch
from scipy.optimize import nnls

from sup_lightning.errors import UserError
from sup_lightning.functional import weighted_squared_error
from sup_lightning.nn import BottleneckModel, DecoderModel
from sup_lightning.nn.decoders import UnrolledReader
from sup_lightning.nn.mlp import InstanceMLP


def test_the_relu_readout_is_the_relu_output_model() -> None:
    net, plain = DecoderModel(5, [0, 3], 2), BottleneckModel(5, [0, 3], 2)
    assert torch.equal(net.W, plain.W)
    x, importance = torch.rand(2, 16, 5), torch.rand(2, 5)
    torch.testing.assert_close(net(x), plain(x))
    torch.testing.assert_close(net.read(x)["relu"], plain(x))
    (ours,) = torch.autograd.grad(net.loss(x, x, importance).sum(), [net.W])
    (reference,) = torch.autograd.grad(plain.loss(x, x, importance).sum(), [plain.W])
    torch.testing.assert_close(ours, reference)  # the other readers leave the encoder alone


def test_an_encoder_of_its_own_is_trained_by_its_reader_alone() -> None:
    net = DecoderModel(5, [0, 1], 2, encoder="own")
    x, importance = torch.rand(2, 16, 5), torch.ones(2, 5)
    for reader in ("deep_2", "deep_3", "unrolled"):
        assert torch.equal(net.directions(reader), net.W)
        net.zero_grad()
        weighted_squared_error(net.read(x)[reader], x, importance).sum().backward()
        trained = [name for name, each in net.W_own.items() if each.grad is not None and bool(each.grad.any())]
        assert trained == [reader]
        assert net.W.grad is None or not net.W.grad.any()


def test_instances_do_not_see_each_other() -> None:
    both, alone = DecoderModel(4, [2, 5], 2), DecoderModel(4, [5], 2)
    x = torch.rand(1, 8, 4)
    for name, output in alone.read(x).items():
        torch.testing.assert_close(both.read(x.expand(2, -1, -1))[name][1:], output)


def test_unrolled_inference_converges_to_nonnegative_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    W, h = torch.randn(1, 3, 4, generator=generator), torch.randn(1, 5, 4, generator=generator)
    reader = UnrolledReader(1, 3, 2000)
    with torch.no_grad():
        reader.gain.fill_(1 / float(torch.linalg.matrix_norm(W[0], 2)) ** 2)
    expected = torch.stack([torch.from_numpy(nnls(W[0].T.double().numpy(), row.double().numpy())[0]) for row in h[0]])
    torch.testing.assert_close(reader(h, W)[0].double(), expected, atol=1e-4, rtol=0)


def test_one_step_is_the_relu_readout() -> None:
    net = DecoderModel(5, [0], 2, n_steps=1)
    unrolled = net.readers["unrolled"]
    with torch.no_grad():
        unrolled.gain.fill_(1.0)
        unrolled.threshold.fill_(0.2)
        net.readers["relu"].b.fill_(-0.2)
    found = net.read(torch.rand(1, 9, 5))
    torch.testing.assert_close(found["unrolled"], found["relu"])


def test_layers_of_an_mlp() -> None:
    mlp = InstanceMLP("x", [0, 1], [3, 8, 8, 2])
    x = torch.randn(2, 5, 3)
    first, second, output = mlp.layers(x)
    by_hand = [(x @ mlp.weights[0] + mlp.biases[0].unsqueeze(1)).relu()]
    by_hand.append((by_hand[0] @ mlp.weights[1]).relu())
    torch.testing.assert_close([first, second, output], [*by_hand, by_hand[1] @ mlp.weights[2]])
    torch.testing.assert_close(mlp(x), output)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(DecoderModel, n_layers=[1]), r"n_layers is \[1\]; allowed: different depths of at least 2"),
        (partial(DecoderModel, encoder="joint"), "encoder is 'joint'; allowed: relu or own"),
        (partial(DecoderModel, width=0), "width is 0; allowed: a positive integer"),
    ],
)
def test_bad_settings(make: partial[DecoderModel], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(4, [0])
