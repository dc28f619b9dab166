"""Two real processes: disjoint data, reduced metrics, and the weights that one process gets."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from sup_lightning.callbacks import LastCheckpoint
from sup_lightning.callbacks.checkpoint import LAST
from sup_lightning.data.stream import Slot
from tests.helpers import toy_data, toy_model, toy_trainer, weights

SWEEP = {"seed": 2, "feature_probability": [0.1, 0.4]}
TWO = {"devices": 2, "strategy": "ddp_fork"}


class RanksAgree(Callback):
    """Fails the run if the weights of the ranks differ in one bit."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for value in pl_module.state_dict().values():
            first, second = torch.empty_like(value), torch.empty_like(value)
            torch.distributed.all_gather([first, second], value)
            assert torch.equal(first, second)


def run(folder: Path, *callbacks: Callback, ckpt_path: Path | None = None, steps: int = 210, **settings: Any) -> Any:
    model = toy_model(SWEEP, dropout=0.1)
    trainer = toy_trainer(folder, *callbacks, max_steps=steps, **settings)
    trainer.fit(model, toy_data(SWEEP, steps_per_epoch=70), ckpt_path=ckpt_path)
    return model, trainer


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], atol: float) -> bool:
    return all(torch.allclose(a[name], b[name], rtol=0, atol=atol) for name in a)


def test_two_processes_are_one(tmp_path: Path) -> None:
    one, of_one = run(tmp_path)
    assert of_one.global_step == 210
    two, of_two = run(tmp_path, RanksAgree(), **TWO)
    assert close(weights(one), weights(two), 1e-6)
    for name in ("val/loss", "val/loss_best", "val/fvu"):
        torch.testing.assert_close(of_two.callback_metrics[name], of_one.callback_metrics[name], rtol=1e-4, atol=1e-7)


def test_resume_on_another_number_of_ranks(tmp_path: Path) -> None:
    reference, _ = run(tmp_path / "reference", steps=100)
    run(tmp_path / "moved", LastCheckpoint(), steps=55, **TWO)
    moved, _ = run(tmp_path / "moved", LastCheckpoint(), ckpt_path=tmp_path / "moved" / LAST, steps=100)
    assert close(weights(reference), weights(moved), 1e-6)


def test_ranks_and_micro_batches_share_out_the_rows() -> None:
    rows = [
        row
        for rank in range(3)
        for micro in range(2)
        for row in Slot(step=4, micro=micro, n_micro=2, rank=rank, world_size=3).rows(24)
    ]
    assert sorted(rows) == list(range(24))


def test_a_rank_draws_its_rows_of_the_global_batch() -> None:
    data = toy_data(SWEEP)
    whole = next(iter(data.draw(Slot(step=5))))
    parts = [next(iter(data.draw(Slot(step=5, rank=rank, world_size=2)))) for rank in range(2)]
    assert torch.equal(torch.cat([part.features for part in parts], dim=1), whole.features)


def test_rows_that_do_not_divide(tmp_path: Path) -> None:
    # A forked rank's exception arrives wrapped in one of torch's.
    with pytest.raises(Exception, match=r"UserError: data.batch_size is 33; allowed: a multiple of the 2 ranks"):
        toy_trainer(tmp_path, max_steps=2, **TWO).fit(toy_model(), toy_data(batch_size=33))
