import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sup_lightning.data.language import TextBatch, TextData
from sup_lightning.data.stream import Slot
from sup_lightning.data.text import LocalText, TextSource
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
        "min_documents_per_genre": 1,
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


def test_a_batch_larger_than_the_corpus_is_named(cache_dir: str) -> None:
    n_windows = make(cache_dir).train.n_windows(32)
    make(cache_dir, batch_size=n_windows)
    with pytest.raises(UserError, match=f"batch_size is {n_windows + 1}; allowed: at most {n_windows}, as the"):
        make(cache_dir, batch_size=n_windows + 1)


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


def genres_corpus(folder: Path, **n_documents: int) -> list[TextSource]:
    for genre, n in n_documents.items():
        (folder / genre).mkdir()
        for number in range(n):
            (folder / genre / f"{number}.txt").write_text(f"{genre} {number}. " * 60)
    return [LocalText(str(folder / genre)) for genre in n_documents]


def many_genres(folder: Path, **options: Any) -> TextData:
    arguments: dict[str, Any] = {"n_ctx": 16, "d_vocab": 300, "batch_size": 4, "val_fraction": 0.2}
    sources = genres_corpus(folder, long=200, short=20)
    data = TextData(sources, cache_dir=str(folder / "cache"), **(arguments | options))
    data.prepare_data()
    data.setup()
    return data


def test_each_genre_has_validation_windows(tmp_path: Path) -> None:
    data = many_genres(tmp_path)
    total = data.val.n_windows(16)
    of_window = data.val.window_genres(np.arange(total), 16)
    share = (of_window == 1).mean()
    for n_windows in (8, 20, 100, total, 10 * total):
        index = data.validation_index(n_windows)
        assert len(index) == len(set(index)) == min(n_windows, total)
        counts = np.bincount(of_window[index], minlength=2)
        assert counts[1] == pytest.approx(max(4, len(index) * share), abs=1)
    with pytest.raises(UserError, match="val_windows is 1; allowed: 2 or more, one for each genre"):
        data.validation_index(1)


def test_a_genre_with_too_few_documents_is_named(tmp_path: Path) -> None:
    message = "genre 'short' has 20 documents; allowed: min_documents_per_genre=21 or more; add documents, cut long"
    with pytest.raises(UserError, match=message):
        many_genres(tmp_path, min_documents_per_genre=21)
    with pytest.raises(UserError, match="min_documents_per_genre is -1; allowed: 0 or more"):
        TextData([LocalText(TEXT)], min_documents_per_genre=-1)
    with pytest.raises(UserError, match=r"genre 'json' has \d documents; allowed: min_documents_per_genre=20 or more"):
        make(str(tmp_path / "cache"), min_documents_per_genre=20)


def test_a_genre_that_is_all_on_one_side_is_named(tmp_path: Path) -> None:
    message = "val_fraction is 0.005, which puts none of the 200 documents of genre 'long' into the val split; allowed"
    with pytest.raises(UserError, match=message):
        many_genres(tmp_path, val_fraction=0.005)


def test_a_genre_without_a_validation_window_is_named(tmp_path: Path) -> None:
    sources = [*genres_corpus(tmp_path, long=100, short=0), LocalText(str(tmp_path / "short"), document_bytes=2)]
    (tmp_path / "short" / "letters.txt").write_text("abcdefghijklmnopqrstuvwxyz" * 2)
    data = TextData(sources, 200, 300, 4, val_fraction=0.2, cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    with pytest.raises(UserError, match="genre 'short' has no validation window of n_ctx=200; allowed: more or longer"):
        data.setup()
