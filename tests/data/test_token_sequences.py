"""Synthetic sequences against their laws, and as batches that depend on seed, step and row alone."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from sup_lightning.data import RepeatedBlocks, SequenceLaw, SubsetMaps, TokenSequences
from sup_lightning.data.stream import Slot
from sup_lightning.errors import UserError
from sup_lightning.modules import LanguageModel

MANY = 4000


def sampled(law: SequenceLaw, d_vocab: int = 30, n_tokens: int = 40, n_rows: int = MANY) -> Tensor:
    draws = torch.rand(n_rows, law.n_draws(d_vocab, n_tokens), generator=torch.Generator().manual_seed(0))
    return law.sample(draws, d_vocab, n_tokens)


def test_a_pure_map_is_one_to_one_on_few_tokens() -> None:
    rows = sampled(SubsetMaps(n_active=5, map_probability=1.0, back_probability=0.0), n_rows=200)
    for row in rows.tolist():
        assert len(set(row)) <= 5
        pairs = set(pairwise(row))
        for side in (0, 1):  # one image for each token, and one token for each image
            assert len({pair[side] for pair in pairs}) == len(pairs)


def test_tokens_and_images_are_all_as_likely() -> None:
    rows = sampled(SubsetMaps(n_active=5, map_probability=1.0, back_probability=0.0))
    n = len(rows)
    share = torch.bincount(rows[:, 0], minlength=30) / n
    assert float((share - 1 / 30).abs().max()) < 4.5 * (1 / 30 / n) ** 0.5
    fixed = float((rows[:, 1] == rows[:, 0]).float().mean())  # f(x) = x for one image in five
    assert fixed == pytest.approx(0.2, abs=4 * (0.16 / n) ** 0.5)


@pytest.mark.parametrize("back", [0.0, 0.25])
def test_probabilities_of_the_map_and_of_the_token_before(back: float) -> None:
    """Of three tokens a, b, c: how often c is a, by the rule or because f(b) or a random token is."""
    map_, n_active = 0.7, 20
    rows = sampled(SubsetMaps(n_active, map_, back), n_tokens=3)
    stays = map_ * (map_ + (1 - map_) / n_active) + (1 - map_) / n_active  # of c = a, given b = a and no rule
    chance = 1 / n_active
    expected = back + (1 - back) * ((1 - chance) * chance + chance * stays)
    tolerance = 4 * (expected * (1 - expected) / len(rows)) ** 0.5
    assert float((rows[:, 2] == rows[:, 0]).float().mean()) == pytest.approx(expected, abs=tolerance)
    still = rows[rows[:, 1] == rows[:, 0]]
    expected = back + (1 - back) * stays
    tolerance = 4 * (expected * (1 - expected) / len(still)) ** 0.5
    assert float((still[:, 2] == still[:, 1]).float().mean()) == pytest.approx(expected, abs=tolerance)


def test_blocks_repeat_at_their_period() -> None:
    rows = sampled(RepeatedBlocks([4, 7]), n_rows=500)
    periods = [next(p for p in (4, 7) if torch.equal(row[p:], row[:-p])) for row in rows]
    assert 0.4 < periods.count(4) / 500 < 0.6
    for row, period in zip(rows, periods, strict=True):
        assert len(row[:period].unique()) == period


def make(**options: Any) -> TokenSequences:
    return TokenSequences(**({"d_vocab": 40, "n_ctx": 12, "batch_size": 12} | options))


def test_ranks_and_micro_batches_share_out_the_same_batch() -> None:
    data = make(seed=3)
    whole = data.draw(Slot(step=7))
    parts = [data.draw(Slot(7, 1, micro, 2, rank, 3)) for micro in range(2) for rank in range(3)]
    for name in ("tokens", "targets", "weights", "n_bytes", "predictable"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert whole.step == 7
    assert torch.equal(whole.tokens[:, 1:], whole.targets[:, :-1])
    assert whole.n_bytes.tolist() == [12] * 12


def test_a_row_is_the_same_in_any_batch() -> None:
    assert torch.equal(make(batch_size=6).draw(Slot(2)).tokens, make(batch_size=24).draw(Slot(2)).tokens[:6])


def test_seeds_and_steps_differ_and_validation_does_not() -> None:
    first = make(seed=0).draw(Slot(0)).tokens
    assert not torch.equal(first, make(seed=1).draw(Slot(0)).tokens)
    assert not torch.equal(first, make(seed=0).draw(Slot(1)).tokens)
    validation = [[batch.tokens for batch in make(seed=seed).val_dataloader()] for seed in (0, 1)]
    assert all(torch.equal(one, other) for one, other in zip(*validation, strict=True))
    assert not torch.equal(validation[0][0], validation[0][1])
    assert not torch.equal(validation[0][0], next(iter(make().test_dataloader())).tokens)


def test_validation_rows_are_shared_out_among_ranks() -> None:
    whole = next(iter(make(val_batch_size=8).val_dataloader())).tokens
    parts = []
    for rank in range(2):
        data = make(val_batch_size=8)
        data.trainer = SimpleNamespace(world_size=2, global_rank=rank)  # type: ignore[assignment]
        parts.append(next(iter(data.val_dataloader())).tokens)
    assert torch.equal(torch.cat(parts), whole)


def test_a_language_model_trains_on_it(tmp_path: Path) -> None:
    data = make(steps_per_epoch=3, val_batches=1)
    model = LanguageModel(1, 8, 2, data.n_ctx, data.d_vocab, attn_only=True, init="sinusoidal")
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(model, data)
    losses = [model.net.token_losses(batch.tokens, batch.targets).mean() for batch in data.val_dataloader()]
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(float(losses[0]), rel=1e-6)
    checkpoint = data.state_dict()
    assert checkpoint["settings"]["law"] == "SubsetMaps(back_probability=0.05, map_probability=0.8, n_active=12)"


@pytest.mark.parametrize(
    ("make_wrong", "message"),
    [
        (lambda: SubsetMaps(n_active=0), "n_active is 0; allowed: a positive integer"),
        (lambda: SubsetMaps(map_probability=1.5), r"map_probability is 1.5; allowed: a number in \[0, 1\]"),
        (lambda: SubsetMaps(back_probability=-0.1), "back_probability is -0.1; allowed"),
        (lambda: RepeatedBlocks([]), r"periods is \[\]; allowed: at least one"),
        (lambda: RepeatedBlocks([0]), "periods is 0; allowed: a positive integer"),
        (lambda: make(d_vocab=8), "n_active is 12; allowed: at most d_vocab = 8"),
        (lambda: make(law=RepeatedBlocks([13])), r"periods is \[13\]; allowed: at most 12"),
        (lambda: make(val_batches=0), "val_batches is 0; allowed: a positive integer"),
    ],
)
def test_wrong_sizes_are_named(make_wrong: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_wrong()


@pytest.mark.parametrize(
    ("options", "ranks", "message"),
    [
        ({}, 5, "batch_size is 12; allowed: a multiple of 5 ranks x 1 accumulated batches"),
        ({"val_batch_size": 7}, 3, "val_batch_size is 7; allowed: a multiple of the 3 ranks"),
    ],
)
def test_batches_that_ranks_cannot_share_are_named(options: dict[str, Any], ranks: int, message: str) -> None:
    data = make(**options)
    data.trainer = SimpleNamespace(world_size=ranks, global_rank=0, accumulate_grad_batches=1)  # type: ignore[assignment]
    with pytest.raises(UserError, match=message):
        data.setup("fit")
