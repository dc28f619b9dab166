"""Nothing is lost: a run that is killed anywhere and resumed ends in the same weights, bit for bit."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from sup_lightning import checkpoint_io
from sup_lightning.callbacks import LastCheckpoint
from sup_lightning.callbacks.checkpoint import LAST
from sup_lightning.data import LocalText, TextData
from sup_lightning.errors import UserError
from sup_lightning.modules import LanguageModel, WarmupCosine
from tests.helpers import same_weights, toy_data, toy_model, toy_trainer, weights

SWEEP = {"seed": 2, "dropout": [0.0, 0.2]}
STEPS = 50  # epochs of 20, chunks of 7, a checkpoint every 6


def toy_run(folder: Path, *callbacks: Callback, ckpt_path: Path | None = None, steps: int = STEPS) -> dict[str, Any]:
    model = toy_model(SWEEP)
    trainer = toy_trainer(folder, LastCheckpoint(every_n_steps=6), *callbacks, max_steps=steps)
    trainer.fit(model, toy_data(SWEEP), ckpt_path=ckpt_path)
    return weights(model)


def language_run(folder: Path, *callbacks: Callback, ckpt_path: Path | None = None, steps: int = 20) -> dict[str, Any]:
    text = folder.parent / "text"
    if not text.exists():
        text.mkdir()
        rng = random.Random(0)
        for number in range(30):
            words = (rng.choice(["alpha", "beta", "gamma", "delta", "omega"]) for _ in range(400))
            (text / f"{number}.txt").write_text(" ".join(words))
    data = TextData([LocalText([str(text)])], n_ctx=16, d_vocab=300, batch_size=8, steps_per_epoch=8, val_windows=8,
                    min_documents_per_genre=2, cache_dir=str(folder.parent / "cache"))  # fmt: skip
    model = LanguageModel(
        n_layers=1, d_model=16, n_heads=2, n_ctx=16, d_vocab=300, dropout=0.1,
        lr_scheduler=lambda optimizer: WarmupCosine(optimizer, total_steps=20, warmup_steps=3),
    )  # fmt: skip
    trainer = toy_trainer(
        folder, LastCheckpoint(every_n_steps=3), *callbacks, max_steps=steps, accumulate_grad_batches=2
    )
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return weights(model)


def in_a_process_that_is_killed(run: Callable[[], Any]) -> None:
    """Run in a forked process and require that it died of SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DieWithinStep(Callback):
    """Killed after the backward pass of a step, before the optimiser's: also in the middle of a chunk."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            die()


class DieInValidation(Callback):
    """Killed in the middle of the measurements at the end of an epoch."""

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step >= 40:
            die()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return toy_run(tmp_path_factory.mktemp("uninterrupted"))


@pytest.mark.parametrize("step", sorted(random.Random(0).sample(range(7, STEPS), 5)))
def test_killed_at_a_random_step(tmp_path: Path, uninterrupted: dict[str, torch.Tensor], step: int) -> None:
    in_a_process_that_is_killed(lambda: toy_run(tmp_path, DieWithinStep(step)))
    assert same_weights(toy_run(tmp_path, ckpt_path=tmp_path / LAST), uninterrupted)


def test_killed_while_measuring(tmp_path: Path, uninterrupted: dict[str, torch.Tensor]) -> None:
    in_a_process_that_is_killed(lambda: toy_run(tmp_path, DieInValidation()))
    assert same_weights(toy_run(tmp_path, ckpt_path=tmp_path / LAST), uninterrupted)


def test_killed_while_writing_a_checkpoint(
    tmp_path: Path, uninterrupted: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def half(checkpoint: dict[str, Any], file: Any) -> None:
        save(checkpoint, file)
        if checkpoint["global_step"] == 24:
            file.truncate(file.tell() // 2)
            file.flush()
            die()

    def run() -> None:
        monkeypatch.setattr(checkpoint_io.torch, "save", half)
        toy_run(tmp_path)

    in_a_process_that_is_killed(run)
    assert torch.load(tmp_path / LAST)["global_step"] == 20  # the one before, whole
    assert list((tmp_path / LAST).parent.glob(".*.partial"))
    assert same_weights(toy_run(tmp_path, ckpt_path=tmp_path / LAST), uninterrupted)
    assert not list((tmp_path / LAST).parent.glob(".*.partial"))  # swept up by the next save


@pytest.mark.parametrize("step", [5, 13])
def test_a_killed_language_run(tmp_path: Path, step: int) -> None:
    reference = language_run(tmp_path / "reference")
    in_a_process_that_is_killed(lambda: language_run(tmp_path / "killed", DieWithinStep(step)))
    resumed = language_run(tmp_path / "killed", ckpt_path=tmp_path / "killed" / LAST)
    assert same_weights(resumed, reference)


def test_resume_at_the_end_of_an_epoch_repeats_nothing(tmp_path: Path) -> None:
    ends: list[tuple[int, int]] = []

    class Ends(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            ends.append((trainer.current_epoch, trainer.global_step))

    toy_run(tmp_path, Ends(), steps=40)
    toy_run(tmp_path, Ends(), steps=60, ckpt_path=tmp_path / LAST)
    assert ends == [(0, 20), (1, 40), (2, 60)]


def test_ctrl_c_saves_and_stops(tmp_path: Path, uninterrupted: dict[str, torch.Tensor]) -> None:
    class Interrupt(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
            if trainer.global_step == 31:
                os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        toy_run(tmp_path, Interrupt())
    signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored, as the process is about to end
    assert torch.load(tmp_path / LAST)["global_step"] >= 32
    assert same_weights(toy_run(tmp_path, ckpt_path=tmp_path / LAST), uninterrupted)


def test_ctrl_c_in_the_last_step_of_an_epoch_measures_it_first(tmp_path: Path) -> None:
    class Interrupt(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
            if trainer.global_step == 19:
                os.kill(os.getpid(), signal.SIGINT)

    validated: list[int] = []

    class Validated(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if not trainer.sanity_checking:
                validated.append(trainer.global_step)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        toy_run(tmp_path, Interrupt(), Validated())
    signal.signal(signal.SIGINT, handler)
    assert torch.load(tmp_path / LAST)["global_step"] == 20
    toy_run(tmp_path, Validated(), ckpt_path=tmp_path / LAST)
    assert validated == [20, 40]


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None], ids=["empty", "text", "cut"])
def test_a_corrupt_checkpoint_is_named(tmp_path: Path, damage: bytes | None) -> None:
    toy_run(tmp_path, steps=7)
    path = tmp_path / LAST
    path.write_bytes(path.read_bytes()[:-500] if damage is None else damage)
    with pytest.raises(UserError, match=r"ckpt_path is '.*last.ckpt', which is not a readable checkpoint \("):
        toy_run(tmp_path, ckpt_path=path)
