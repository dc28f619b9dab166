import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sup_lightning.data.language import TextData
from sup_lightning.data.mixing import WindowOrder, assign_rows
from sup_lightning.data.permutation import permute
from sup_lightning.data.stream import Slot
from sup_lightning.data.text import LocalText
from sup_lightning.errors import UserError
from tests.data.corpora import write_texts

WEIGHTS = ([1.0], [1, 1], [3, 1], [0.5, 0.3, 0.2], [math.pi, 0.01, 1, 1, 7], [1e-3, 1])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_sources_are_interleaved_in_proportion(weights: list[float]) -> None:
    source, place = assign_rows(np.arange(20_000), weights)
    shares = np.array(weights) / sum(weights)
    for n in (1, 7, 100, 999, 20_000):
        counts = np.bincount(source[:n], minlength=len(weights))
        assert np.abs(counts - n * shares).max() <= len(weights)
    for each in range(len(weights)):
        assert np.array_equal(place[source == each], np.arange((source == each).sum()))


def test_late_rows_cost_and_mean_the_same() -> None:
    rows = 10**12 + np.arange(1000)
    source, place = assign_rows(rows, [3, 1])
    assert np.bincount(source).tolist() == [750, 250]
    one, one_place = assign_rows(rows[500:501], [3, 1])
    assert (one[0], one_place[0]) == (source[500], place[500])


def test_every_window_of_a_source_comes_once_in_a_pass_over_it() -> None:
    order = WindowOrder([1001, 331], [1, 2], n_ctx=10, seed=0)
    places = order.places(np.arange(3000))
    first = places[places < 1001]
    second = places[places >= 1001] - 1001
    assert abs(len(second) - 2 * len(first)) <= 3
    passes = {}
    for name, of_source, n_windows in (("first", first, 100), ("second", second, 33)):
        whole = of_source[: len(of_source) // n_windows * n_windows].reshape(-1, n_windows)
        assert (np.sort(whole, axis=1) == np.arange(n_windows) * 10).all()
        assert not np.array_equal(whole[0], whole[1])
        passes[name] = len(whole)
    assert passes == {"first": 9, "second": 60}
    assert second.max() + 10 < 331  # the last target too is the source's own


def test_without_weights_the_order_is_one_permutation_of_all_windows() -> None:
    rows = np.arange(250)
    expected = np.concatenate([permute(np.arange(100), 100, 5, epoch) for epoch in range(3)])[:250]
    assert np.array_equal(WindowOrder([1001], [1.0], n_ctx=10, seed=5).places(rows), expected * 10)


@pytest.fixture
def make(tmp_path: Path) -> Any:
    write_texts(tmp_path / "text")

    def make(weights: tuple[float | None, float | None] = (3, 1), **options: Any) -> TextData:
        sources = [LocalText(f"text/{name}", weight=w) for name, w in zip(("animals", "colours"), weights, strict=True)]
        data = TextData(sources, 16, 270, 8, val_fraction=0.2, cache_dir="cache", **options)  # type: ignore[arg-type]
        data.prepare_data()
        data.setup()
        return data

    return make


def test_batches_have_the_weights_and_do_not_cross_sources(make: Any) -> None:
    data = make()
    boundary = data.train.tokens_of_source[0]
    places = data._order.places(np.arange(2000 * 8))  # of 2,000 steps
    assert ((places + 16 < boundary) | (places >= boundary)).all()
    genres = np.bincount(data.train.genres_at(places, 16), minlength=2)
    assert genres / genres.sum() == pytest.approx([0.75, 0.25], abs=0.01)
    assert data.draw(Slot(step=3)).genres.tolist().count(1) == 2


@pytest.mark.parametrize(("world_size", "n_micro"), [(2, 1), (2, 2)])
def test_ranks_share_out_a_mixed_batch(make: Any, world_size: int, n_micro: int) -> None:
    data = make()
    for step in (0, 41):
        whole = data.draw(Slot(step))
        parts = [
            data.draw(Slot(step, 1, micro, n_micro, rank, world_size))
            for micro in range(n_micro)
            for rank in range(world_size)
        ]
        for name in ("tokens", "targets", "genres"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_other_weights_are_another_experiment(make: Any) -> None:
    mixed, natural = make(), make((None, None))
    assert mixed.key == natural.key
    assert mixed.settings() != natural.settings()
    assert not torch.equal(mixed.draw(Slot(1)).tokens, natural.draw(Slot(1)).tokens)
    mixed.trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"))
    with pytest.raises(UserError, match=r"data.weights=None, but the config has \[3, 1\]"):
        mixed.load_state_dict(natural.state_dict())


def test_a_source_shorter_than_a_window_is_named(make: Any, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / "few").mkdir(exist_ok=True)
        (tmp_path / "few" / f"{number}.txt").write_text(f"{number}")
    sources = [LocalText("text/animals", weight=1), LocalText("few", weight=1)]
    data = TextData(sources, 100, 270, 4, val_fraction=0.2, cache_dir="cache", val_windows=4)
    data.prepare_data()
    with pytest.raises(UserError, match=r"n_ctx is 100; allowed: at most \d+, as the source LocalText\(few\) has"):
        data.setup()
