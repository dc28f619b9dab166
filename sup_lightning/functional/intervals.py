"""Intervals over training seeds, and over the documents of a text."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def seed_interval(values: Tensor, level: float = 0.95, n_resamples: int = 1000) -> tuple[Tensor, Tensor, Tensor]:
    """Median over seeds, with a percentile-bootstrap interval that resamples seeds.

    NaN values are left out. Where even the whole range of the seeds covers the median less often than `level`, there is
    no interval and both ends are NaN: it covers with probability 1 - 2^(1 - n_seeds), so 95 % takes 6 seeds.

    Args:
        values: `[..., n_seeds]`.
        level: Coverage aimed at.
        n_resamples: Bootstrap samples; the same ones in every call, so that a repeated call agrees.

    Returns:
        Median, low and high end, each `[...]`.

    >>> median, low, high = seed_interval(torch.arange(9.0))
    >>> median.item(), bool(low < 4 < high)
    (4.0, True)
    """
    array = values.detach().double().cpu().numpy()
    n_seeds = array.shape[-1]
    median = _nanmedian(array)
    if 2 * 0.5**n_seeds > 1 - level:
        ends = np.full((2, *median.shape), np.nan)
    else:
        draws = np.random.default_rng(0).integers(0, n_seeds, size=(n_resamples, n_seeds))
        medians = _nanmedian(array[..., draws])
        known = np.where(np.isnan(medians), median[..., None], medians)  # a resample may have drawn NaN alone
        ends = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    middle, low, high = (torch.from_numpy(np.asarray(part)).float() for part in (median, ends[0], ends[1]))
    return middle, low, high


def bootstrap_interval(
    statistic: Callable[[Tensor], Tensor | float], values: Tensor, level: float = 0.95, n_resamples: int = 1000
) -> tuple[float, float, float]:
    """Any statistic of all seeds, with a percentile-bootstrap interval that resamples seeds.

    Args:
        statistic: From values `[..., n_seeds]` to one number.
        values: `[..., n_seeds]`; what belongs to one seed is resampled together.
        level: Coverage aimed at.
        n_resamples: Bootstrap samples; the same ones in every call.

    Returns:
        The statistic, low and high end; the ends are NaN below 6 seeds, as in `seed_interval`, and where the statistic
        is undefined (NaN) for more than 1 - level of the resamples.

    >>> bootstrap_interval(lambda x: x.mean(), torch.ones(3, 8))
    (1.0, 1.0, 1.0)
    """
    n_seeds = values.shape[-1]
    effect = float(statistic(values))
    if 2 * 0.5**n_seeds > 1 - level:
        return effect, float("nan"), float("nan")
    draws = torch.from_numpy(np.random.default_rng(0).integers(0, n_seeds, size=(n_resamples, n_seeds)))
    resampled = np.array([float(statistic(values[..., draw])) for draw in draws.to(values.device)])
    if np.isnan(resampled).mean() > 1 - level:
        return effect, float("nan"), float("nan")
    low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return effect, float(low), float(high)


def document_interval(
    statistic: Callable[[Tensor], float], documents: Tensor, level: float = 0.95, n_resamples: int = 200
) -> tuple[float, float, float]:
    """Any statistic of tokens, with a percentile-bootstrap interval that resamples whole documents.

    Tokens of one document are alike: taken one by one they would make an interval far too narrow.

    Args:
        statistic: From the weight of each token, `[n_tokens]` float64, to one number.
        documents: The document of each token, `[n_tokens]`.
        level: Coverage aimed at.
        n_resamples: Bootstrap samples; the same ones in every call.

    Returns:
        The statistic with all weights 1, low and high end; the ends are NaN below 6 documents, and where the statistic
        is undefined (NaN) for more than 1 - level of the resamples.

    >>> values = torch.tensor([0.0, 0.0, 1.0, 1.0])
    >>> document_interval(lambda weight: float(weight @ values.double() / weight.sum()), torch.tensor([0, 0, 1, 1]))
    (0.5, nan, nan)
    """
    _, place = documents.unique(return_inverse=True)
    n_documents = int(place.max()) + 1
    effect = float(statistic(torch.ones(len(place), dtype=torch.float64)))
    if 2 * 0.5**n_documents > 1 - level:
        return effect, float("nan"), float("nan")
    random = np.random.default_rng(0)
    drawn = random.multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=n_resamples)
    resampled = [float(statistic(torch.from_numpy(weights)[place].double())) for weights in drawn]
    if np.isnan(resampled).mean() > 1 - level:
        return effect, float("nan"), float("nan")
    low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return effect, float(low), float(high)


def of_best_seed(losses: Tensor, values: Tensor) -> Tensor:
    """What belongs to the seed with the lowest loss.

    With `losses[..., seeds]` and the same seeds of `values` it is a statistic of resampled seeds.

    Args:
        losses: `[..., n_seeds]`; NaN counts as the worst.
        values: `[..., n_seeds, *shape]`.

    Returns:
        `[..., *shape]`.

    >>> of_best_seed(torch.tensor([[3.0, 1.0], [0.5, 2.0]]), torch.tensor([[10, 20], [30, 40]]))
    tensor([20, 30])
    """
    axis = losses.ndim - 1
    best = losses.nan_to_num(nan=torch.inf).argmin(dim=-1, keepdim=True)
    rest = values.shape[losses.ndim :]
    index = best.view(*best.shape, *[1] * len(rest)).expand(*best.shape, *rest)
    return values.gather(axis, index).squeeze(axis)


def proportion_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float, float]:
    """A share of independent trials with its Wilson interval, which stays honest at 0 and at 1.

    >>> share, low, high = proportion_interval(32, 32)
    >>> share, round(low, 3), high
    (1.0, 0.893, 1.0)
    """
    from scipy.stats import binomtest

    ends = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return successes / trials, float(ends.low), float(ends.high)


def _nanmedian(array: np.ndarray) -> np.ndarray:
    """Median over the last axis without NaN; NaN if nothing is left."""
    empty = np.isnan(array).all(axis=-1)
    filled = np.where(empty[..., None], 0.0, array)
    return np.where(empty, np.nan, np.nanmedian(filled, axis=-1))
