import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch.optim import AdamW

from sup_lightning.callbacks import LastCheckpoint
from sup_lightning.callbacks.checkpoint import LAST
from sup_lightning.data.stream import Slot
from sup_lightning.data.streaming import StreamedText
from sup_lightning.data.text import LocalText, TextSource, is_held_out
from sup_lightning.errors import UserError
from sup_lightning.modules import LanguageModel
from tests.data.corpora import write_texts
from tests.helpers import toy_trainer


@pytest.fixture(autouse=True)
def _texts(tmp_path: Path) -> None:
    write_texts(tmp_path / "text")


def make(weights: tuple[float | None, float | None] = (None, None), **options: Any) -> StreamedText:
    sources: list[TextSource] = [
        LocalText(f"text/{name}", weight=weight) for name, weight in zip(("animals", "colours"), weights, strict=True)
    ]
    settings: dict[str, Any] = {"n_ctx": 16, "d_vocab": 270, "batch_size": 8, "steps_per_epoch": 5, "val_windows": 8}
    data = StreamedText(sources, val_fraction=0.2, cache_dir="cache", **(settings | options))
    data.prepare_data()
    data.setup()
    return data


def simulated(data: StreamedText, rank: int = 0, world_size: int = 1, step: int = 0) -> StreamedText:
    """As if on one of several ranks, whose states are put together by the test."""
    state = SimpleNamespace(fn="fit")
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=world_size, global_rank=rank, global_step=step, state=state, accumulate_grad_batches=1
    )
    data._of_all_ranks = lambda positions: [[list(p) for p in positions]]  # type: ignore[method-assign]
    return data


@pytest.mark.parametrize("weights", [(None, None), (3.0, 1.0)])
@pytest.mark.parametrize("n_micro", [1, 2])
def test_two_ranks_resume_where_each_was(weights: tuple[float | None, float | None], n_micro: int) -> None:
    def draw(data: StreamedText, rank: int, steps: range) -> list[list[int]]:
        batches = [data.draw(Slot(t, 1, micro, n_micro, rank, 2)) for t in steps for micro in range(n_micro)]
        return [row for batch in batches for row in batch.targets.tolist()]

    expected = [draw(make(weights), rank, range(40)) for rank in range(2)]
    assert expected[0] != expected[1]
    states = []
    for rank in range(2):
        first = simulated(make(weights), rank, 2)
        assert draw(first, rank, range(17)) == expected[rank][: 17 * 4]
        first.trainer.global_step = 17  # type: ignore[union-attr, misc]
        states.append(first.state_dict())
    gathered = {"step": 17, "positions": [state["stream"]["positions"][0] for state in states]}
    for rank in range(2):
        resumed = simulated(make(weights), rank, 2, step=17)
        resumed.load_state_dict({**states[0], "stream": gathered})
        assert resumed.state_dict()["stream"]["positions"] == [gathered["positions"][rank]]  # not lost before a draw
        assert draw(resumed, rank, range(17, 40)) == expected[rank][17 * 4 :]


def test_a_step_that_was_cut_short_is_drawn_again() -> None:
    data = simulated(make())
    data.draw(Slot(0))
    whole = data.draw(Slot(1))
    data.trainer.global_step = 1  # type: ignore[union-attr, misc]  # the optimiser has not stepped
    resumed = simulated(make(), step=1)
    resumed.load_state_dict(data.state_dict())
    half = resumed.draw(Slot(1, micro=1, n_micro=2))  # nor is the first micro-batch repeated, if that is the place
    assert torch.equal(half.targets, whole.targets[4:])


def test_weights_interleave_the_sources() -> None:
    data = make((3.0, 1.0))
    genres = torch.cat([data.draw(Slot(step)).genres for step in range(100)])
    assert (genres == data.genres.index("animals")).float().mean() == pytest.approx(0.75, abs=0.01)
    unweighted = make()
    assert set(unweighted.draw(Slot(0)).genres.tolist()) == {data.genres.index("animals")}


def test_validation_is_on_the_first_held_out_documents_and_trains_on_none() -> None:
    data = make(val_documents=3)
    held_out = {
        genre: [d.text for d in LocalText(f"text/{genre}").documents() if is_held_out(d.text, 0.2)][:3]
        for genre in ("animals", "colours")
    }
    text = data.tokenizer.decode(np.asarray(data.val.tokens).tolist(), skip_special_tokens=False)
    assert text == "<|endoftext|>".join([*held_out["animals"], *held_out["colours"], ""])
    assert data.genres == ["animals", "colours"]
    batches = list(data.val_dataloader())
    assert torch.cat([batch.genres[batch.weights > 0] for batch in batches]).bincount().tolist() == [4, 4]


class Batches(Callback):
    """Keeps the targets that a run is trained on, on disk, and may kill it."""

    def __init__(self, file: str, kill_after: int | None = None) -> None:
        self.file, self.kill_after = file, kill_after

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        with open(self.file, "a") as file:
            file.write(f"{batch.step} {batch.targets.tolist()}\n")
        if trainer.global_step == self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)


def fit(name: str, kill_after: int | None = None, resume: bool = False, **options: Any) -> list[str]:
    model = LanguageModel(1, 16, 2, 16, 270, optimizer=partial(AdamW, lr=1e-2))
    callbacks = (LastCheckpoint(every_n_steps=3), Batches(f"{name}.txt", kill_after))
    trainer = toy_trainer(Path(name), *callbacks, max_steps=13, **options)
    trainer.fit(model, make(), ckpt_path=Path(name) / LAST if resume else None)
    return Path(f"{name}.txt").read_text().splitlines()


def in_a_killed_process(run: Callable[[], Any]) -> None:
    child = os.fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


@pytest.mark.parametrize("n_micro", [1, 2])
def test_a_killed_run_goes_on_bit_for_bit(n_micro: int) -> None:
    options = {"accumulate_grad_batches": n_micro}
    expected = fit("whole", **options)
    assert len(expected) == 13 * n_micro
    in_a_killed_process(lambda: fit("killed", kill_after=8, **options))
    seen = Path("killed.txt").read_text().splitlines()
    Path("killed.txt").unlink()
    assert seen == expected[: len(seen)]
    assert fit("killed", resume=True, **options) == expected[6 * n_micro :]  # the checkpoint is of step 6


def test_two_processes_get_their_own_places_back() -> None:
    """The checkpoint is written by rank zero, with the places of both."""
    options: dict[str, Any] = {"devices": 2, "strategy": "ddp_fork"}
    expected = sorted(fit("whole", **options))
    trainer = toy_trainer(Path("stopped"), LastCheckpoint(every_n_steps=6), max_steps=6, **options)
    trainer.fit(LanguageModel(1, 16, 2, 16, 270, optimizer=partial(AdamW, lr=1e-2)), make())
    state = torch.load(Path("stopped") / LAST, weights_only=True)["StreamedText"]["stream"]
    assert state["step"] == 6
    assert state["positions"][0] != state["positions"][1]
    resumed = sorted(fit("stopped", resume=True, **options))
    assert resumed == [row for row in expected if int(row.split()[0]) >= 6]


def test_another_number_of_ranks_is_named() -> None:
    data = simulated(make(), world_size=2)
    data.draw(Slot(0, rank=0, world_size=2))
    state = data.state_dict()
    other = simulated(make(), rank=0, world_size=2)
    message = "the checkpoint's text was streamed by 1 ranks, but now there are 2"
    with pytest.raises(UserError, match=message):
        other.load_state_dict(state)


def test_a_run_that_starts_elsewhere_is_named() -> None:
    with pytest.raises(UserError, match="the text is streamed from step 0, but training is at step 5"):
        make().draw(Slot(5))


def test_nothing_held_out_is_named() -> None:
    data = StreamedText([LocalText("text/animals")], val_fraction=1e-9, d_vocab=270, cache_dir="cache")
    data.prepare_data()
    with pytest.raises(UserError, match=r"val_fraction is 1e-09; allowed: one that .* LocalText\(text/animals\)"):
        data.setup()
    with pytest.raises(UserError, match="val_documents is 0"):
        StreamedText([LocalText("text/animals")], val_documents=0)


def test_a_tokenizer_that_other_processes_do_not_see_is_named() -> None:
    with pytest.raises(UserError, match="which other processes do not see"):
        StreamedText([LocalText("text/animals")], cache_dir="elsewhere").setup()
