"""Effects of heads, against their definition written out."""

import pytest
import torch

from sup_lightning.functional.heads import ablation_effects, effective_number, squared_writes


def test_effects_are_distances_to_patched_outputs() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, replaced = torch.randn(2, 4, 7, 3, 5, generator=generator)

    def readout(total: torch.Tensor) -> torch.Tensor:
        return (total + 0.1).relu()

    effects = ablation_effects(outputs, replaced, readout)
    assert effects.shape == (4, 7, 3)
    for head in range(3):
        patched = outputs.clone()
        patched[:, :, head] = replaced[:, :, head]
        moved = readout(patched.sum(2)) - readout(outputs.sum(2))
        assert torch.allclose(effects[..., head], moved.square().sum(-1), atol=1e-4)


def test_effective_number() -> None:
    assert float(effective_number(torch.ones(5))) == pytest.approx(5)
    shares = torch.tensor([[0.7, 0.3], [7.0, 3.0]])
    assert effective_number(shares).tolist() == pytest.approx([0.7**-0.7 * 0.3**-0.3] * 2)
    assert effective_number(shares, dim=0).tolist() == pytest.approx([(1 / 11) ** (-1 / 11) * 1.1 ** (10 / 11)] * 2)
    assert torch.isnan(effective_number(torch.zeros(3)))


def test_squared_writes() -> None:
    total = torch.tensor([[0.5, -2.0, 0.3], [0.0, 0.0, 4.0]])
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    right, above, below = squared_writes(total, target)
    assert right.tolist() == pytest.approx([0.25, 16])
    assert above.tolist() == pytest.approx([0.09, 0])
    assert below.tolist() == pytest.approx([4, 0])
