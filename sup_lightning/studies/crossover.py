"""Where one shape gives way to another: by exact losses, and in trained models."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def bracket(
    lead: Callable[[Tensor], Tensor], low: float, high: float, error: float, n: int = 6, rounds: int = 4
) -> tuple[float, float]:
    """The narrowest interval found whose ends lie for certain on either side of a zero.

    Args:
        lead: From `[n]` float64 to a quantity that rises through 0, `[n]`; NaN where it is not known.
        low: Where it is negative.
        high: Where it is positive.
        error: Of the quantity; a value within it has no certain sign, and is no end.
        n: Points of one round, ends included; a round divides the interval by n - 1.
        rounds: How often.

    Returns:
        Both ends; NaN if the signs are not certain, or do not change once.

    >>> low, high = bracket(lambda x: x - 0.3, 0.0, 1.0, error=0.0)
    >>> low < 0.3 < high, round(high - low, 4)
    (True, 0.0016)
    """
    for _ in range(rounds):
        x = torch.linspace(low, high, n, dtype=torch.float64)
        values = lead(x)
        below, above = (each.nonzero().flatten() for each in (values < -error, values > error))
        if not len(below) or not len(above) or below.max() > above.min():
            return math.nan, math.nan
        low, high = float(x[below.max()]), float(x[above.min()])
    return low, high


def trained_crossover(ratios: Sequence[float], kept: Tensor) -> float:
    """How many times rarer a feature is when it is dropped: half way between the ratios where it is and is not kept.

    Half a step beyond the last ratio if it is kept at all, and before the first if at none.

    Args:
        ratios: Density of the rare feature over that of the others, falling.
        kept: `[n_ratios]` bool.

    Returns:
        NaN if a feature that was dropped is kept again: there is no one crossover then.

    >>> round(trained_crossover([1.0, 0.5, 0.25], torch.tensor([True, True, False])), 3)
    2.828
    >>> trained_crossover([1.0, 0.5, 0.25], torch.tensor([True, False, True]))
    nan
    """
    if bool((kept[1:] & ~kept[:-1]).any()):
        return math.nan
    beyond = [ratios[0] ** 2 / ratios[1], *ratios, ratios[-1] ** 2 / ratios[-2]]
    n_kept = int(kept.sum())
    return 1 / math.sqrt(beyond[n_kept] * beyond[n_kept + 1])
