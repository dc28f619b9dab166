from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.optim import SGD

from sup_lightning.callbacks import CopyDivergence
from sup_lightning.callbacks.copies import measure
from sup_lightning.errors import UserError
from sup_lightning.functional.copies import mean_cosine_of_others, sibling_cosines
from tests.helpers import events, toy_data, toy_model

NAMES = [
    f"copies/L2/{side}_{what}" for side in ("input", "output") for what in ("cosine", "cosine_others", "share_alike")
]


def weights(n_neurons: int, k: int, noise: float) -> Tensor:
    """Copies of random neurons whose noise makes siblings have a cosine of about 1 / (1 + noise²)."""
    generator = torch.Generator().manual_seed(0)
    neurons = torch.randn(n_neurons, 1, 400, generator=generator)
    return neurons + noise * torch.randn(n_neurons, k, 400, generator=generator)


class Copied(LightningModule):
    """Anything with `neuron_copies()`: its output weights are pulled towards one direction."""

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        self.W = torch.nn.Parameter(weights(20, k, 0.0), requires_grad=False)
        self.V = torch.nn.Parameter(weights(20, k, 0.5))

    def neuron_copies(self) -> dict[int, tuple[Tensor, Tensor]]:
        return {2: (self.W, self.V)}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return (self.V - 1).square().sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """There is nothing to validate but what the callback measures."""

    def configure_optimizers(self) -> SGD:
        return SGD([self.V], lr=0.1)


def fit(module: LightningModule, **options: Any) -> Trainer:
    arguments: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "max_epochs": 3, "logger": False}
    arguments |= {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = Trainer(**(arguments | {"log_every_n_steps": 1} | options), callbacks=[CopyDivergence()])
    rows = torch.utils.data.DataLoader([0, 1], num_workers=0)  # type: ignore[arg-type]
    trainer.fit(module, rows, rows)
    return trainer


def test_cosines_equal_the_pairwise_ones() -> None:
    W = weights(5, 3, 0.7).double()
    W[1, 2] = 0  # of a zero vector they are 0
    unit = torch.nn.functional.normalize(W.flatten(0, 1), dim=-1)
    cosines = (unit @ unit.T).view(5, 3, 5, 3)
    expected = torch.stack([cosines[i, a, i, b] for i in range(5) for a, b in ((0, 1), (0, 2), (1, 2))]).view(5, 3)
    torch.testing.assert_close(sibling_cosines(W), expected, rtol=0, atol=1e-12)
    others = torch.stack([cosines[i, :, j, :].mean() for i in range(5) for j in range(5) if i != j]).mean()
    torch.testing.assert_close(mean_cosine_of_others(W), others, rtol=0, atol=1e-12)


def test_noise_between_copies_is_seen() -> None:
    measured = {name: value.item() for name, value in measure(Copied()).items()}
    assert list(measured) == NAMES
    assert measured["copies/L2/input_cosine"] == pytest.approx(1.0, abs=1e-6)
    assert measured["copies/L2/input_share_alike"] == 1.0
    assert measured["copies/L2/output_cosine"] == pytest.approx(1 / 1.25, abs=0.02)
    assert measured["copies/L2/output_share_alike"] == 0.0
    for side in ("input", "output"):
        assert abs(measured[f"copies/L2/{side}_cosine_others"]) < 0.02


def test_the_course_goes_to_the_logger(tmp_path: Path) -> None:
    module = Copied()
    before = {name: value.item() for name, value in measure(module).items()}
    logger = TensorBoardLogger(tmp_path, name="run", version="0")
    trainer = fit(module, logger=logger)
    logger.finalize("success")
    written = events(Path(logger.log_dir))
    for name, value in measure(module).items():
        course = written.Scalars(name)
        assert [point.step for point in course] == [0, 1, 3, 5]
        assert course[0].value == pytest.approx(before[name], abs=1e-6)
        assert course[-1].value == pytest.approx(value.item(), abs=1e-6)
        assert trainer.callback_metrics[name].item() == pytest.approx(value.item(), abs=1e-6)
    assert module.W.equal(weights(20, 3, 0.0))
    rises = [point.value for point in written.Scalars("copies/L2/output_cosine")]
    assert rises == sorted(rises)
    assert rises[-1] > 0.9


def test_one_copy_has_no_siblings() -> None:
    assert measure(Copied(k=1)) == {}
    assert not any(name.startswith("copies/") for name in fit(Copied(k=1)).callback_metrics)


def test_a_module_without_copies_is_named(tmp_path: Path) -> None:
    make_trainer = partial(Trainer, default_root_dir=tmp_path, accelerator="cpu", logger=False, max_steps=1)
    trainer = make_trainer(callbacks=[CopyDivergence()], enable_checkpointing=False)
    with pytest.raises(UserError, match=r"CopyDivergence needs .* neuron_copies\(\); ToyModel has none"):
        trainer.fit(toy_model(), toy_data())
