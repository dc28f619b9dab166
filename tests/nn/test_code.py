"""A code of few dimensions and its head."""

import torch

from sup_lightning.nn import CodeModel


def test_it_is_the_formula() -> None:
    net = CodeModel(6, [0, 1], n_hidden=2, n_neurons=8, n_outputs=3)
    with torch.no_grad():
        net.b_in.normal_()
        net.b.normal_()
    x, keep = torch.randn(2, 5, 6), torch.rand(2, 5, 2)
    for k in range(2):
        code = (x[k] @ net.W_in[k] + net.b_in[k]).relu() @ net.W_code[k]
        torch.testing.assert_close(net.code(x)[k], code)
        torch.testing.assert_close(net(x)[k], code @ net.W_head[k].T + net.b[k])
        torch.testing.assert_close(net(x, keep)[k], (code * keep[k]) @ net.W_head[k].T + net.b[k])
    torch.testing.assert_close(net.head(net.code(x)), net(x))
    assert net.feature_directions().shape == (2, 6, 8)


def test_an_instance_alone_is_the_same() -> None:
    both, alone = CodeModel(6, [3, 5]), CodeModel(6, [5])
    x = torch.randn(1, 4, 6)
    torch.testing.assert_close(both(x.expand(2, -1, -1))[1], alone(x)[0])
