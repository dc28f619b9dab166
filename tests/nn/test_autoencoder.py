"""The narrow autoencoder: who trains what."""

import torch

from sup_lightning.data.summary_tasks import FeaturesAndLargest
from sup_lightning.nn import NarrowAutoencoder


def test_the_head_does_not_train_the_code() -> None:
    net = NarrowAutoencoder(4, [0, 1], n_head_outputs=1)
    assert net.n_outputs == FeaturesAndLargest().n_outputs(4) == 5
    output = net(torch.rand(2, 16, 4))
    assert output.shape == (2, 16, 5)
    output[..., 4].square().sum().backward()
    assert all(each.grad is None or not each.grad.any() for each in net.encoder.parameters())
    assert net.head is not None
    assert any(bool(each.grad.any()) for each in net.head.parameters() if each.grad is not None)


def test_one_layer_is_linear() -> None:
    net = NarrowAutoencoder(4, [0], n_hidden=2, encoder_layers=1)
    torch.testing.assert_close(net.feature_directions(), net.encoder.weights[0])


def test_features_and_largest() -> None:
    x = torch.tensor([[0.1, 0.0], [0.7, 0.0], [0.2, 0.3]])  # [n_features, batch]
    torch.testing.assert_close(FeaturesAndLargest()(x), torch.cat([x, torch.tensor([[0.7, 0.3]])]))
