"""Measurements that stream past: against the whole held at once, in any batches, and from two ranks."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from sup_lightning.functional import chunking, class_statistics, histograms, similarity
from sup_lightning.functional.keyed_random import keyed_hash
from sup_lightning.metrics import (
    ActivationHistogram,
    ClassCovariances,
    ClassSums,
    CoFiring,
    Covariance,
    CrossMoments,
    ExamplesByStrength,
    NeuronMoments,
    PositionMeans,
    TopExamples,
)
from sup_lightning.metrics.top_examples import OUTSIDE

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(12, 5, 6, generator=GENERATOR).pow(3) + torch.arange(6.0)
Y = X[..., :4] * 0.5 + torch.randn(12, 5, 4, generator=GENERATOR)
CLASSES = torch.randint(-1, 3, (12, 5), generator=GENERATOR)
TOKENS = torch.arange(60).view(12, 5)
NUMBERS = torch.tensor([30, 2, 7, 11, 5, 0, 19, 8, 4, 23, 1, 9])
FLAT, FLAT_Y = X.flatten(0, 1).double(), Y.flatten(0, 1).double()


def of_parts(metric: Any, *values: Tensor, size: int = 5) -> Any:
    for parts in zip(*(each.split(size) for each in values), strict=True):
        metric.update(*parts)
    metric.update(*(each[:0] for each in values))  # a batch that only fills up
    return metric.compute()


def test_moments() -> None:
    from scipy import stats

    found = of_parts(NeuronMoments(6), X)
    x = FLAT.numpy()
    for name, expected in {
        "mean": x.mean(0),
        "variance": x.var(0),
        "skewness": stats.skew(x),
        "kurtosis": stats.kurtosis(x, fisher=False),
    }.items():
        np.testing.assert_allclose(getattr(found, name).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("products", [False, True])
def test_class_sums(products: bool) -> None:
    found = of_parts(ClassSums(3, 6, products=products), X, CLASSES)
    label = CLASSES.flatten()
    for k in range(3):
        assert found.n[k] == (label == k).sum()
        torch.testing.assert_close(found.first[k], FLAT[label == k].sum(0), rtol=1e-12, atol=1e-12)
    kept = FLAT[label >= 0]
    expected = kept.T @ kept if products else kept.square().sum(0)
    torch.testing.assert_close(found.second, expected, rtol=1e-12, atol=1e-12)


def test_variance_explained_by_the_class() -> None:
    found = of_parts(ClassSums(3, 6), X, CLASSES)
    label = CLASSES.flatten()
    kept, label = FLAT[label >= 0], label[label >= 0]
    predicted = torch.stack([kept[label == k].mean(0) for k in range(3)])[label]
    expected = 1 - (kept - predicted).square().sum(0) / (kept - kept.mean(0)).square().sum(0)
    torch.testing.assert_close(class_statistics.explained_by_class(*found), expected, rtol=1e-10, atol=1e-12)


def test_closed_form_probes() -> None:
    from scipy import stats
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    two = CLASSES.clamp(max=1)
    label, kept = two.flatten()[two.flatten() >= 0].numpy(), FLAT[two.flatten() >= 0].numpy()
    sums = of_parts(ClassSums(2, 6, products=True), X, two)
    squares = of_parts(ClassSums(2, 6), X, two)
    expected = stats.ttest_ind(kept[label == 1], kept[label == 0]).statistic
    np.testing.assert_allclose(class_statistics.t_statistic(*squares).numpy(), expected, rtol=1e-9)
    difference = kept[label == 1].mean(0) - kept[label == 0].mean(0)
    np.testing.assert_allclose(class_statistics.mean_difference(sums.n, sums.first).numpy(), difference, rtol=1e-9)
    direction, bias = class_statistics.linear_discriminant(*sums, shrinkage=0.0)
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(kept, label)
    scores = kept @ direction.numpy() + bias.numpy()
    # scikit-learn divides the pooled covariance by n, this by n - 2.
    scale = (len(kept) - 2) / len(kept)
    np.testing.assert_allclose(direction.numpy(), reference.coef_[0] * scale, rtol=1e-8)
    assert np.corrcoef(scores, reference.decision_function(kept))[0, 1] == pytest.approx(1, abs=1e-9)


def test_covariances_and_likeness() -> None:
    expected = torch.cov(FLAT.T, correction=0)
    torch.testing.assert_close(of_parts(Covariance(6), X), expected, rtol=1e-10, atol=1e-10)
    metric = CrossMoments(6, 4)
    of_parts(metric, X, Y)
    metric.reset()
    between = of_parts(metric, X, Y)
    torch.testing.assert_close(between.xx, expected, rtol=1e-10, atol=1e-10)
    both = np.corrcoef(FLAT.numpy(), FLAT_Y.numpy(), rowvar=False)
    found = similarity.pearson(between.xy, between.xx.diagonal(), between.yy.diagonal())
    np.testing.assert_allclose(found.numpy(), both[:6, 6:], atol=1e-10)
    x, y = FLAT - FLAT.mean(0), FLAT_Y - FLAT_Y.mean(0)
    cka = (x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())
    assert similarity.linear_cka(*between).item() == pytest.approx(cka.item(), rel=1e-10)


def test_neurons_that_moved_are_matched() -> None:
    order = torch.tensor([2, 0, 1, 3])
    correlation = torch.eye(4)[order] * 0.9 + 0.01
    assert similarity.same_index_share(correlation) == 0.25
    torch.testing.assert_close(similarity.matched_correlation(correlation), torch.full((4,), 0.91))
    assert similarity.pearson(torch.ones(1, 1), torch.zeros(1), torch.ones(1)).isnan().all()


def test_firing_together() -> None:
    fires = (FLAT > 1.0).double()
    expected = (fires[:, 0] * fires[:, 1]).mean() / (fires[:, 0].mean() * fires[:, 1].mean())
    assert of_parts(CoFiring(6, threshold=1.0), X)[0, 1].item() == pytest.approx(expected.item(), rel=1e-12)
    assert of_parts(CoFiring(1), torch.zeros(4, 1)).isnan().all()


def test_histograms_give_quantiles_and_auc() -> None:
    from sklearn.metrics import roc_auc_score

    edges = torch.linspace(-4, 12, 2001)
    counts = of_parts(ActivationHistogram(6, edges, scale=torch.full((6,), 2.0)), X)
    assert counts.sum(dim=1).tolist() == [60] * 6
    upper = FLAT.sort(dim=0).values[53]  # below and at which 54 of 60 lie
    torch.testing.assert_close(
        2 * histograms.quantile_of_counts(counts, edges, 0.9), upper.float(), atol=0.02, rtol=0, check_dtype=False
    )
    positive = CLASSES.flatten() == 1
    one, other = (of_parts(ActivationHistogram(6, edges), FLAT[mask]) for mask in (positive, ~positive))
    expected = [roc_auc_score(positive.numpy(), FLAT[:, k].numpy()) for k in range(6)]
    np.testing.assert_allclose(histograms.auc_of_counts(other, one).numpy(), expected, atol=0.02)
    assert histograms.auc_of_counts(torch.zeros(3), torch.ones(3)).isnan()


def test_position_means() -> None:
    torch.testing.assert_close(of_parts(PositionMeans(5, 6), X), X.double().mean(0), rtol=1e-12, atol=1e-12)


def test_equally_strong_windows_are_ordered_by_number() -> None:
    flat = torch.ones(4, 3, 2)
    numbers = torch.tensor([7, 3, 9, 1])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        metric = TopExamples(2, k=3, before=0, after=0)
        found = of_parts(metric, flat[order], TOKENS[:4, :3][order], numbers[order], size=1)
        assert found.windows.tolist() == [[1, 1], [3, 3], [7, 7]]


def strata(size: int, order: Tensor | None = None) -> Any:
    edges = torch.stack([X.flatten(0, 1).quantile(q, dim=0) for q in (0.5, 0.9)])
    metric = ExamplesByStrength(edges, n_each=4, before=1, after=1)
    order = torch.arange(12) if order is None else order
    return of_parts(metric, X[order], TOKENS[order], NUMBERS[order], size=size)


def test_examples_of_every_strength() -> None:
    found = strata(5)
    assert found.activations.shape == (12, 6)
    for stratum, (low, high) in enumerate([(0.0, 0.5), (0.5, 0.9), (0.9, 1.0)]):
        inside = found.activations[4 * stratum : 4 * stratum + 4]
        ends = [X.flatten(0, 1).quantile(q, dim=0) for q in (low, high)]
        assert ((inside >= ends[0] - 1e-6) & (inside <= ends[1] + 1e-6)).all()
    row_of = {int(number): row for row, number in enumerate(NUMBERS)}
    for k in range(12):
        for neuron in range(6):
            row, position = row_of[int(found.windows[k, neuron])], int(found.positions[k, neuron])
            assert found.activations[k, neuron] == X[row, position, neuron]
            assert found.tokens[k, neuron, 1] == TOKENS[row, position]


def test_the_draw_depends_on_no_order() -> None:
    expected = strata(5)
    for size, order in ((1, None), (12, None), (3, torch.randperm(12, generator=GENERATOR))):
        for one, other in zip(strata(size, order), expected, strict=True):
            assert torch.equal(one, other)


def test_every_token_of_a_stratum_is_as_likely() -> None:
    """1000 tokens, half of them drawn: the mean of their places is that of all within four standard errors."""
    x, windows = torch.zeros(100, 10, 1), torch.arange(100)
    metric = ExamplesByStrength(torch.full((1, 1), -1.0), n_each=500, before=0, after=0)
    metric.update(x, torch.zeros(100, 10, dtype=torch.int64), windows)
    found = metric.compute()
    drawn = (found.windows * 10 + found.positions)[500:, 0].double()
    assert drawn.unique().numel() == 500
    assert abs(drawn.mean() - 499.5) < 4 * 288.7 / 500**0.5 * 0.5**0.5


def test_an_empty_stratum_stays_empty() -> None:
    metric = ExamplesByStrength(torch.full((1, 1), 5.0), n_each=2, before=0, after=0)
    metric.update(torch.zeros(1, 3, 1), torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    assert metric.compute().windows[2:].tolist() == [[-1], [-1]]


def brute_force_strata(n_each: int) -> list[list[tuple[int, int]]]:
    """Window and position of each kept token, `[n_strata · n_each][n_neurons]`, by sorting all tokens."""
    edges = torch.stack([X.flatten(0, 1).quantile(q, dim=0) for q in (0.5, 0.9)])
    priority = keyed_hash("examples by strength", 0, (NUMBERS[:, None] << 20) + torch.arange(5))
    columns = []
    for neuron in range(6):
        stratum_of = (X[..., neuron, None] >= edges[:, neuron]).sum(dim=-1)
        column = []
        for stratum in range(3):
            places = (stratum_of == stratum).nonzero().tolist()
            inside = [(int(priority[row, at]), int(NUMBERS[row]), at) for row, at in places]
            kept = [place[1:] for place in sorted(inside)[:n_each]]
            column += kept + [(OUTSIDE, OUTSIDE)] * (n_each - len(kept))
        columns.append(column)
    return [list(row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("chunk", [2**22, 40])
def test_the_draw_is_that_of_a_sort(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, "CHUNK", chunk)
    found = strata(5)
    places = torch.stack([found.windows, found.positions], dim=-1).tolist()
    assert [[tuple(place) for place in row] for row in places] == brute_force_strata(4)


def test_strongest_examples_are_those_of_a_sort_with_ties() -> None:
    x = X.round().clamp(-1, 3)  # few distinct values: ties within windows and between them
    for order, size in ((torch.arange(12), 12), (torch.arange(12), 5), (torch.arange(11, -1, -1), 1)):
        found = of_parts(TopExamples(6, k=4, before=0, after=0), x[order], TOKENS[order], NUMBERS[order], size=size)
        for neuron in range(6):
            rows = []
            for row in range(12):
                values = x[row, :, neuron].tolist()
                rows.append((-max(values), int(NUMBERS[row]), values.index(max(values))))
            kept = (-found.activations, found.windows, found.positions)
            assert list(zip(*(each[:, neuron].tolist() for each in kept), strict=True)) == sorted(rows)[:4]


@pytest.mark.parametrize("name", ["strongest", "strata"])
def test_tokens_can_be_left_out(name: str) -> None:
    masked = X.clone()
    masked[:, :2], masked[3] = -torch.inf, -torch.inf
    metric = TopExamples(6, k=12) if name == "strongest" else ExamplesByStrength(torch.zeros(1, 6), n_each=40)
    found = of_parts(metric, masked, TOKENS, NUMBERS)
    empty = found.windows == OUTSIDE
    assert not (found.windows == NUMBERS[3]).any()
    assert (found.positions[~empty] >= 2).all()
    assert torch.equal(empty, found.activations == -torch.inf)
    assert torch.equal(empty, (found.tokens == OUTSIDE).all(dim=-1))
    assert (~empty).sum() == 6 * 11 * (1 if name == "strongest" else 3)


def test_one_neuron_and_one_example_keep_their_axes() -> None:
    found = of_parts(TopExamples(1, k=1, before=0, after=0), X[..., :1], TOKENS, NUMBERS)
    assert [each.shape for each in found] == [(1, 1), (1, 1), (1, 1), (1, 1, 1)]


def test_covariances_of_classes() -> None:
    found = of_parts(ClassCovariances(4, 6), X, CLASSES).numpy()
    for k in range(3):
        np.testing.assert_allclose(found[k], np.cov(FLAT[k == CLASSES.flatten()].T, bias=True), rtol=1e-10, atol=1e-10)
    assert np.isnan(found[3]).all()


def test_a_dead_neuron_has_a_histogram() -> None:
    counts = of_parts(ActivationHistogram(2, torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0])), torch.zeros(7, 2))
    assert counts.tolist() == [[0, 7, 0], [0, 7, 0]]


def metrics_of(rows: Tensor) -> list[Any]:
    """All measurements of some windows."""
    edges = torch.stack([X.flatten(0, 1).quantile(q, dim=0) for q in (0.5, 0.9)])
    pairs: list[tuple[Any, tuple[Tensor, ...]]] = [
        (NeuronMoments(6), (X,)),
        (ClassSums(3, 6, products=True), (X, CLASSES)),
        (ClassCovariances(3, 6), (X, CLASSES)),
        (CrossMoments(6, 4), (X, Y)),
        (CoFiring(6), (X,)),
        (ActivationHistogram(6, torch.linspace(-4, 12, 9)), (X,)),
        (PositionMeans(5, 6), (X,)),
        (TopExamples(6, k=4), (X, TOKENS, NUMBERS)),
        (ExamplesByStrength(edges, n_each=2), (X, TOKENS, NUMBERS)),
    ]
    for metric, values in pairs:
        metric.update(*(each[rows] for each in values))
    return [metric for metric, _ in pairs]


def test_merged_metrics_measure_what_one_does() -> None:
    alone = [metric.compute() for metric in metrics_of(torch.arange(12))]
    for metric, other, whole in zip(metrics_of(torch.arange(5)), metrics_of(torch.arange(5, 12)), alone, strict=True):
        metric.merge_state(other)
        torch.testing.assert_close(metric.compute(), whole, rtol=1e-12, atol=1e-12)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [metric.compute() for metric in metrics_of(torch.arange(12))]
    monkeypatch.setattr(chunking, "CHUNK", 50)
    for metric, expected in zip(metrics_of(torch.arange(12)), whole, strict=True):
        torch.testing.assert_close(metric.compute(), expected, rtol=1e-12, atol=1e-12)


def _rank(rank: int, file: str) -> None:
    alone = [metric.compute() for metric in metrics_of(torch.arange(12))]
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    together = [metric.compute() for metric in metrics_of(torch.arange(rank, 12, 2))]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    torch.distributed.destroy_process_group()


def test_two_ranks_measure_what_one_does(tmp_path: Any) -> None:
    start_processes(_rank, (str(tmp_path / "store"),), nprocs=2, start_method="fork")
