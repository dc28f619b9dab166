"""A bottleneck with logits."""

import pytest
import torch

from sup_lightning.errors import UserError
from sup_lightning.nn import ClassifierModel


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("norm", [None, 3.0])
def test_it_is_the_formula(tied: bool, norm: float | None) -> None:
    net = ClassifierModel(5, [0, 1], n_hidden=2, tied=tied, norm=norm)
    with torch.no_grad():
        net.b.normal_()
    x, keep = torch.rand(2, 7, 5), torch.rand(2, 7, 2)
    for k in range(2):
        W, W_out = net.W[k], net.W[k] if net.W_out is None else net.W_out[k]
        if norm is not None:
            W, W_out = (norm * each / each.norm(dim=1, keepdim=True) for each in (W, W_out))
        logits = torch.cat([x[k] @ W @ W_out.T, torch.zeros(7, 1)], dim=1) + net.b[k]
        torch.testing.assert_close(net(x)[k], logits, atol=1e-5, rtol=1e-5)
        dropped = torch.cat([(x[k] @ W * keep[k]) @ W_out.T, torch.zeros(7, 1)], dim=1) + net.b[k]
        torch.testing.assert_close(net(x, keep)[k], dropped, atol=1e-5, rtol=1e-5)
    if norm is not None:
        torch.testing.assert_close(net.feature_directions().norm(dim=-1), torch.full((2, 5), norm))


def test_bad_norm() -> None:
    with pytest.raises(UserError, match=r"norm is 0\.0; allowed: a positive number, or nothing"):
        ClassifierModel(5, [0], norm=0.0)
