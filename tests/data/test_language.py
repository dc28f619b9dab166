import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sup_lightning.data.language import TextBatch, TextData
from sup_lightning.data.stream import Slot
from sup_lightning.data.text import LocalText
from sup_lightning.errors import UserError

TEXT = f"{Path(json.__file__).parent}/*.py"  # real text that is on every machine


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def make(cache_dir: str, **options: Any) -> TextData:
    arguments: dict[str, Any] = {
        "n_ctx": 32,
        "d_vocab": 300,
        "batch_size": 12,
        "val_fraction": 0.3,
        "cache_dir": cache_dir,
    }
    data = TextData([LocalText(TEXT)], **(arguments | options))
    data.prepare_data()
    data.setup()
    return data


def trainer(world_size: int = 1, rank: int = 0, n_micro: int = 1) -> Any:
    return SimpleNamespace(world_size=world_size, global_rank=rank, accumulate_grad_batches=n_micro)


@pytest.mark.parametrize(("world_size", "n_micro"), [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_each_token_is_a_target_once_per_pass(cache_dir: str, world_size: int, n_micro: int) -> None:
    data = make(cache_dir)
    n_windows = data.train.n_windows(32)
    rows = []
    for step in range(2 * n_windows // 12 + 1):
        for micro in range(n_micro):
            for rank in range(world_size):
                batch = data.draw(Slot(step, 1, micro, n_micro, rank, world_size))
                assert batch.step == step
                assert batch.targets.shape == (12 // world_size // n_micro, 32)
                assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
                rows.extend(batch.targets.tolist())
    everything = sorted(data.train.windows(np.arange(n_windows), 32)[:, 1:].tolist())
    first, second = rows[:n_windows], rows[n_windows : 2 * n_windows]
    assert sorted(first) == everything
    assert sorted(second) == everything
    assert first != second


def test_ranks_and_micro_batches_share_out_the_same_batch(cache_dir: str) -> None:
    data = make(cache_dir)
    whole = data.draw(Slot(step=7))
    parts = [data.draw(Slot(7, 1, micro, 2, rank, 3)) for micro in range(2) for rank in range(3)]
    for name in ("tokens", "targets", "weights", "genres", "n_bytes"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_the_order_follows_the_seed_alone(cache_dir: str) -> None:
    def tokens(**options: Any) -> torch.Tensor:
        return make(cache_dir, **options).draw(Slot(step=3)).tokens

    assert torch.equal(tokens(), tokens(seed=0))
    assert torch.equal(tokens(), tokens(steps_per_epoch=7, val_windows=3))
    assert not torch.equal(tokens(), tokens(seed=1))


def test_a_batch_may_be_larger_than_the_corpus(cache_dir: str) -> None:
    data = make(cache_dir)
    n_windows = data.train.n_windows(32)
    data.batch_size = 3 * n_windows
    _, counts = np.unique(data.draw(Slot(step=0)).targets.numpy(), axis=0, return_counts=True)
    assert counts.sum() == 3 * n_windows
    assert (counts % 3 == 0).all()


def test_bytes_and_genres_of_a_batch(cache_dir: str) -> None:
    data = make(cache_dir)
    batch = data.draw(Slot(step=0))
    for targets, n_bytes in zip(batch.targets.tolist(), batch.n_bytes.tolist(), strict=True):
        pieces = [str(data.tokenizer.id_to_token(token)) for token in targets]
        assert n_bytes == sum(len(piece) for piece in pieces if piece != "<|endoftext|>")
    assert {data.genres[genre] for genre in batch.genres} == {"json"}


def real_rows(batches: list[TextBatch]) -> list[list[int]]:
    return [row for batch in batches for row in batch.targets[batch.weights > 0].tolist()]


@pytest.mark.parametrize(("val_windows", "world_size"), [(1000, 2), (25, 3), (2, 3)])
def test_validation_is_the_same_for_any_number_of_ranks(cache_dir: str, val_windows: int, world_size: int) -> None:
    data = make(cache_dir, val_windows=val_windows)
    alone = list(data.val_dataloader())
    expected = min(val_windows, data.val.n_windows(32))
    assert len(real_rows(alone)) == expected
    shares = []
    for rank in range(world_size):
        data.trainer = trainer(world_size, rank)
        loader = data.val_dataloader()
        shares.append(list(loader))
        assert len(shares[-1]) == len(loader)
        assert len({batch.tokens.shape for batch in shares[-1]}) == 1
    assert len({len(share) for share in shares}) == 1
    assert [row for share in shares for row in real_rows(share)] == real_rows(alone)


def test_validation_windows_are_spread_and_testing_takes_all(cache_dir: str) -> None:
    data = make(cache_dir, val_windows=10)
    total = data.val.n_windows(32)
    assert np.array_equal(data.validation_index(10), np.arange(10) * total // 10)
    assert len(real_rows(list(data.test_dataloader()))) == total
    assert real_rows(list(data.predict_dataloader())) == real_rows(list(data.val_dataloader()))


def test_what_a_step_holds(cache_dir: str) -> None:
    data = make(cache_dir)
    assert (data.items_per_step, data.item_name) == (12 * 32, "tokens")
    assert (data.n_ctx, data.d_vocab) == (32, 300)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_ctx": 0}, "n_ctx is 0; allowed: a positive integer"),
        ({"batch_size": -1}, "batch_size is -1; allowed: a positive integer"),
        ({"val_fraction": 1.0}, r"val_fraction is 1.0; allowed: a number in \(0, 1\)"),
        ({"n_ctx": 1_000_000}, "n_ctx is 1000000; allowed: at most .* as the training text has .* tokens"),
        ({"d_vocab": 100}, "d_vocab is 100; allowed: 257"),
        ({"tokenizer": "missing/tokenizer.json"}, "tokenizer is 'missing/tokenizer.json', which cannot be loaded"),
    ],
)
def test_bad_settings_are_named(cache_dir: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(cache_dir, **options)


def test_a_source_is_needed() -> None:
    with pytest.raises(UserError, match=r"sources is .*; allowed: at least one source of text"):
        TextData([])


def test_a_batch_that_does_not_divide_is_named(cache_dir: str) -> None:
    data = make(cache_dir)
    data.trainer = trainer(world_size=2, n_micro=4)
    with pytest.raises(UserError, match="batch_size is 12; allowed: a multiple of 2 ranks x 4 accumulated batches"):
        data.train_dataloader()


def test_a_cache_that_is_not_shared_is_named(cache_dir: str, tmp_path: Path) -> None:
    data = TextData([LocalText(TEXT)], val_fraction=0.3, cache_dir=str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="which other processes do not see"):
        data.setup()
