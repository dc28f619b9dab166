"""Targets of single features."""

import torch

from sup_lightning.data import AbsoluteValue, Identity, Square, Task


def test_targets() -> None:
    x = torch.tensor([[-0.5, 2.0], [0.0, -3.0]])
    expected: dict[Task, list[list[float]]] = {
        Identity(): x.tolist(),
        AbsoluteValue(): [[0.5, 2.0], [0.0, 3.0]],
        Square(): [[0.25, 4.0], [0.0, 9.0]],
    }
    for task, targets in expected.items():
        assert task(x).tolist() == targets
        assert task.n_outputs(2) == 2
