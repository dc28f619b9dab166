import math

import pytest
import torch
from torch import Tensor

from sup_lightning.metrics.geometry import PolytopeShares


def polygon(n: int) -> Tensor:
    angle = 2 * math.pi * torch.arange(n) / n
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def shares(metric: PolytopeShares) -> dict[str, float]:
    return {name: float(share) for name, share in metric.compute().items() if share > 0}


def test_polytopes_add_up_over_models_and_updates() -> None:
    metric = PolytopeShares()
    for _ in range(2):  # also after a reset
        metric.update(polygon(5))
        metric.update(torch.stack([polygon(4), 0.1 * polygon(4)]).unsqueeze(0))  # two digons; nothing
        metric.update(torch.stack([polygon(7)]))
        assert set(metric.compute()) == set(PolytopeShares.NAMES)
        assert shares(metric) == pytest.approx({"pentagon": 5 / 16, "digon": 4 / 16, "other": 7 / 16})
        metric.reset()


def test_polytopes_by_sign() -> None:
    W = torch.tensor([[1.0, 0.0], [0.3, 0.91**0.5]])
    unsigned, signed = PolytopeShares(), PolytopeShares(signed=True)
    for metric in (unsigned, signed):
        metric.update(W)
    assert (shares(unsigned), shares(signed)) == ({"unnamed": 1.0}, {"single": 1.0})


def test_no_features_no_shares() -> None:
    metric = PolytopeShares()
    metric.update(torch.zeros(3, 2))
    assert all(share.isnan() for share in metric.compute().values())
