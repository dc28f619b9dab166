"""The DataModule of synthetic token sequences: a language model's batches, as a function of (seed, step, row)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sup_lightning.data.base import SupData, describe
from sup_lightning.data.sequence_laws import SequenceLaw, SubsetMaps
from sup_lightning.data.stream import Slot, StepStream
from sup_lightning.errors import reject, require_positive
from sup_lightning.functional.keyed_random import keyed_uniform
from sup_lightning.functional.repeats import repeated_pairs

VALIDATION_SEED = 0
"""Validation sequences are the same for every run."""


class SequenceBatch(NamedTuple):
    """Synthetic sequences, B of them.

    Attributes:
        step: The optimiser step the batch is for; in validation, its number.
        tokens: `[B, n_ctx]` int64.
        targets: `[B, n_ctx]` int64, the token that follows each.
        weights: `[B]` float32, all 1.
        n_bytes: `[B]` int64: each token counts as a byte.
        predictable: `[B, n_ctx]` bool, whether the token was followed by the same target before.
    """

    step: int
    tokens: Tensor
    targets: Tensor
    weights: Tensor
    n_bytes: Tensor
    predictable: Tensor


class TokenSequences(SupData):
    """Sequences in which tokens come again, drawn as they are needed.

    Args:
        law: Of the sequences; a random map of 12 tokens of each sequence if left out.
        d_vocab: Size of the vocabulary.
        n_ctx: Tokens in a sequence.
        batch_size: Sequences in an optimiser step, over all ranks and accumulated micro-batches.
        steps_per_epoch: Optimiser steps between two validations.
        seed: Of the sequences; 0 if not given.
        val_batch_size: Sequences in a validation batch, over all ranks.
        val_batches: Number of validation batches.
    """

    item_name = "tokens"

    def __init__(
        self,
        law: SequenceLaw | None = None,
        d_vocab: int = 256,
        n_ctx: int = 32,
        batch_size: int = 64,
        steps_per_epoch: int = 100,
        seed: int | None = None,
        val_batch_size: int = 128,
        val_batches: int = 4,
    ) -> None:
        super().__init__()
        require_positive(
            d_vocab=d_vocab,
            n_ctx=n_ctx,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            val_batch_size=val_batch_size,
            val_batches=val_batches,
        )
        self.law = law or SubsetMaps()
        self.law.check(d_vocab, n_ctx + 1)
        self.d_vocab, self.n_ctx, self.batch_size, self.steps_per_epoch = d_vocab, n_ctx, batch_size, steps_per_epoch
        self.seed = 0 if seed is None else seed
        self.val_batch_size, self.val_batches = val_batch_size, val_batches
        self.items_per_step = batch_size * n_ctx

    def setup(self, stage: str | None = None) -> None:
        if self.trainer is None:
            return
        ranks, micro = self.trainer.world_size, self.trainer.accumulate_grad_batches
        if self.batch_size % (ranks * micro):
            reject("batch_size", self.batch_size, f"a multiple of {ranks} ranks x {micro} accumulated batches")
        if self.val_batch_size % ranks:
            reject("val_batch_size", self.val_batch_size, f"a multiple of the {ranks} ranks")

    def settings(self) -> dict[str, Any]:
        return {
            "law": describe(self.law),
            "d_vocab": self.d_vocab,
            "n_ctx": self.n_ctx,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }

    def train_dataloader(self) -> StepStream[SequenceBatch]:
        assert self.trainer is not None
        return StepStream(self.draw, self.trainer, self.steps_per_epoch)

    def draw(self, slot: Slot) -> SequenceBatch:
        """The training batch of a slot."""
        return self.batch("sequences", self.seed, slot.step, slot.rows(self.batch_size))

    def val_dataloader(self) -> "FixedSequences":
        return FixedSequences(self, "sequences/validation")

    def test_dataloader(self) -> "FixedSequences":
        return FixedSequences(self, "sequences/test")

    def predict_dataloader(self) -> "FixedSequences":
        return self.val_dataloader()

    def batch(self, purpose: str, seed: int, step: int, rows: range) -> SequenceBatch:
        """Some rows of a step; a row is the same however many are drawn with it."""
        n_draws = self.law.n_draws(self.d_vocab, self.n_ctx + 1)
        draws = keyed_uniform(purpose, [seed], step, (rows.stop, n_draws))[0, rows.start :]
        sequences = self.law.sample(draws, self.d_vocab, self.n_ctx + 1)
        tokens, targets = sequences[:, :-1].contiguous(), sequences[:, 1:].contiguous()
        n_bytes = torch.full((len(rows),), self.n_ctx)
        return SequenceBatch(step, tokens, targets, torch.ones(len(rows)), n_bytes, repeated_pairs(tokens, targets))


class FixedSequences:
    """The fixed validation (or test) sequences of one rank, the same in every epoch and run, shared out evenly."""

    def __init__(self, data: TokenSequences, purpose: str) -> None:
        self.data, self.purpose = data, purpose

    def __len__(self) -> int:
        return self.data.val_batches

    def __iter__(self) -> Iterator[SequenceBatch]:
        trainer = self.data.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        rows = Slot(step=0, rank=rank, world_size=world_size).rows(self.data.val_batch_size)
        for number in range(len(self)):
            yield self.data.batch(self.purpose, VALIDATION_SEED, number, rows)
