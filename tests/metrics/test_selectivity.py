from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from sup_lightning.functional import selectivity
from sup_lightning.metrics.selectivity import DeadFraction, Kurtosis, RotatedKurtosis
from sup_lightning.metrics.top_examples import OUTSIDE, TopExamples

ACTIVATIONS = torch.randn(12, 5, 20, generator=torch.Generator().manual_seed(0)).pow(3) - 3.0
TOKENS = torch.arange(12 * 5).view(12, 5)


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        (Kurtosis(20), selectivity.kurtosis),
        (RotatedKurtosis(20, seed=3), lambda x: selectivity.rotated_kurtosis(x, seed=3)),
        (DeadFraction(20, threshold=10.0), lambda x: selectivity.dead_fraction(x, threshold=10.0)),
    ],
)
def test_batches_add_up(metric: Any, reference: Any) -> None:
    for _ in range(2):  # also after a reset
        for part in ACTIVATIONS.split(5):
            metric.update(part)
        metric.update(ACTIVATIONS[:0])  # a batch that only fills up
        torch.testing.assert_close(metric.compute(), reference(ACTIVATIONS), rtol=1e-6, atol=1e-6)
        metric.reset()


def brute_force_examples(k: int) -> tuple[Tensor, Tensor]:
    values, place = ACTIVATIONS.max(dim=1)
    best, window = values.topk(k, dim=0)
    contexts = torch.full((k, 20, 4), OUTSIDE)
    for rank in range(k):
        for neuron in range(20):
            w = int(window[rank, neuron])
            for offset in range(-2, 2):
                at = int(place[w, neuron]) + offset
                if 0 <= at < 5:
                    contexts[rank, neuron, offset + 2] = TOKENS[w, at]
    return best, contexts


def test_top_examples_equal_a_sort() -> None:
    metric = TopExamples(20, k=4, before=2, after=1)
    for parts in zip(ACTIVATIONS.split(5), TOKENS.split(5), torch.arange(12).split(5), strict=True):
        metric.update(*parts)
    expected, contexts = brute_force_examples(4)
    found = metric.compute()
    assert torch.equal(found.activations, expected)
    assert torch.equal(found.tokens, contexts)


def test_few_windows_leave_places_empty() -> None:
    metric = TopExamples(20, k=4)
    metric.update(ACTIVATIONS[:3], TOKENS[:3], torch.arange(3))
    found = metric.compute()
    assert torch.isfinite(found.activations).all(dim=1).tolist() == [True, True, True, False]
    assert (found.tokens[3] == OUTSIDE).all()


def _rank(rank: int, file: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    share, tokens = ACTIVATIONS[rank::2], TOKENS[rank::2]
    metrics = [Kurtosis(20), RotatedKurtosis(20), DeadFraction(20, 10.0)]
    for metric in metrics:
        metric.update(share)
    top = TopExamples(20, k=4, before=2, after=1)
    top.update(share, tokens, torch.arange(12)[rank::2])
    expected = [selectivity.kurtosis(ACTIVATIONS), selectivity.rotated_kurtosis(ACTIVATIONS)]
    expected.append(selectivity.dead_fraction(ACTIVATIONS, 10.0))
    for metric, value in zip(metrics, expected, strict=True):
        torch.testing.assert_close(metric.compute(), value, rtol=1e-6, atol=1e-6)
    best, contexts = brute_force_examples(4)
    assert torch.equal(top.compute().activations, best)
    assert torch.equal(top.compute().tokens, contexts)
    torch.distributed.destroy_process_group()


def test_two_ranks_add_up(tmp_path: Any) -> None:
    start_processes(_rank, (str(tmp_path / "store"),), nprocs=2, start_method="fork")
