"""Learning as jumps between energy levels (Elhage et al. 2022, "Discrete Energy Level Jumps").

A feature's dimensionality stays on a level for long, then moves to another one quickly, and the loss falls as it does.
Time is log10 of the optimiser step throughout, as training is seen on a logarithmic axis (step 0 counts as step 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10

import numpy as np
import torch
from torch import Tensor

from sup_lightning.errors import reject, require_positive


@dataclass(frozen=True)
class EnergyJump:
    """One feature's move from one level to another.

    Attributes:
        instance: Index along the instance axes, empty for a single model.
        feature: Which feature.
        start: Last snapshot's step on the old level.
        end: First snapshot's step on the new level.
        before: D_i at the start.
        after: D_i at the end.
        loss_drop: Share of the instance's loss that goes away from start to end.
        typical_drop: Median of that share over windows of the same length in log step that overlap no jump of the
            instance; NaN if there is none.
        typical_spread: Spread of these (1.4826 median absolute deviation, the standard deviation of a Gaussian).
    """

    instance: tuple[int, ...]
    feature: int
    start: int
    end: int
    before: float
    after: float
    loss_drop: float
    typical_drop: float
    typical_spread: float

    @property
    def with_loss_drop(self) -> bool:
        """Whether the loss falls by more than twice what is typical, and 3 spreads more; False if that is unknown."""
        typical, spread = self.typical_drop, self.typical_spread
        return self.loss_drop > 0 and self.loss_drop > 2 * typical and self.loss_drop > typical + 3 * spread


def log_spaced_steps(max_step: int, per_decade: int = 20) -> list[int]:
    """Steps 0 and 10^(k / per_decade) up to max_step, which is included; ascending, without repeats.

    >>> log_spaced_steps(30, per_decade=3)
    [0, 1, 2, 5, 10, 22, 30]
    """
    require_positive(max_step=max_step, per_decade=per_decade)
    exponents = range(int(per_decade * log10(max_step)) + 1)
    steps = {round(10 ** (k / per_decade)) for k in exponents}
    return sorted({step for step in steps if step <= max_step} | {0, max_step})


def energy_jumps(
    D: Tensor,
    losses: Tensor,
    steps: Sequence[int],
    least_move: float = 0.1,
    max_duration: float = 0.3,
    level_duration: float = 0.2,
    level_tolerance: float = 0.04,
) -> list[EnergyJump]:
    """The jumps of each feature's dimensionality, with the loss that they bring.

    A jump goes from a snapshot that ends a level to one that begins a level, at most `max_duration` decades later, if
    D_i differs by more than `least_move` between them. A level is `level_duration` decades within which D_i varies by
    less than `level_tolerance`, and which lie within the record and hold 2 snapshots or more. Of windows that overlap,
    the one with the largest move counts, and the shortest of equals. D_i that drifts at a constant rate makes no jump:
    it is too steep to be level, or too flat to move far enough.

    Args:
        D: Feature dimensionality `[n_times, ..., n_features]`; the axes between are instances.
        losses: `[n_times, ...]`, positive.
        steps: The optimiser step of each time, ascending.
        least_move: Least change of D_i.
        max_duration: Longest jump, in decades.
        level_duration: Shortest level, in decades.
        level_tolerance: Largest range of D_i on a level.

    Returns:
        Jumps ordered by instance, feature and step.
    """
    n_times = len(steps)
    if any(late <= early for early, late in pairwise(steps)):
        reject("steps", list(steps), "ascending steps")
    if D.ndim < 2 or len(D) != n_times or losses.shape != D.shape[:-1]:
        reject(
            "shapes of D and losses", (list(D.shape), list(losses.shape)), f"[{n_times}, ..., n] and [{n_times}, ...]"
        )
    time = [log10(max(step, 1)) for step in steps]
    instances, n_features = D.shape[1:-1], D.shape[-1]
    series = D.detach().cpu().double().reshape(n_times, -1)
    windows: list[list[tuple[int, int]]] = [[] for _ in range(series.shape[1])]
    ends_level, begins_level = _levels(series, time, level_duration, level_tolerance)
    for start in range(n_times):
        for end in range(start + 1, n_times):
            if time[end] - time[start] > max_duration + 1e-9:
                break
            moved = (series[end] - series[start]).abs() > least_move
            for column in (moved & ends_level[start] & begins_level[end]).nonzero().flatten().tolist():
                windows[column].append((start, end))
    loss_of = losses.detach().cpu().double().reshape(n_times, -1)
    jumps = []
    for k in range(loss_of.shape[1]):
        columns = range(k * n_features, (k + 1) * n_features)
        found = [(c, *window) for c in columns for window in _largest(windows[c], series[:, c].tolist())]
        taken = [(start, end) for _, start, end in found]
        instance = tuple(int(axis) for axis in torch.unravel_index(torch.tensor(k), instances)) if instances else ()
        for column, start, end in found:
            drop, typical, spread = _drops(loss_of[:, k].tolist(), time, (start, end), taken)
            before, after = float(series[start, column]), float(series[end, column])
            place = (instance, column - columns.start, steps[start], steps[end])
            jumps.append(EnergyJump(*place, before, after, drop, typical, spread))
    return jumps


def _levels(series: Tensor, time: list[float], duration: float, tolerance: float) -> tuple[Tensor, Tensor]:
    """Whether each snapshot ends a level, and whether it begins one, `[n_times, n_series]` bool each."""
    ends, begins = torch.zeros_like(series, dtype=torch.bool), torch.zeros_like(series, dtype=torch.bool)
    for first in range(len(time)):
        last = next((t for t in range(first + 1, len(time)) if time[t] - time[first] >= duration - 1e-9), None)
        if last is not None:
            part = series[first : last + 1]
            level = part.amax(dim=0) - part.amin(dim=0) < tolerance
            ends[last] |= level
            begins[first] |= level
    return ends, begins


def _largest(windows: list[tuple[int, int]], values: list[float]) -> list[tuple[int, int]]:
    """Of each run of overlapping windows (in order of their starts), the one with the largest move."""
    runs: list[list[tuple[int, int]]] = []
    for window in windows:
        if runs and window[0] < max(end for _, end in runs[-1]):
            runs[-1].append(window)
        else:
            runs.append([window])

    def rank(window: tuple[int, int]) -> tuple[float, int]:
        start, end = window
        return round(abs(values[end] - values[start]), 6), start - end

    return [max(run, key=rank) for run in runs]


def _drops(
    loss: list[float], time: list[float], window: tuple[int, int], taken: list[tuple[int, int]]
) -> tuple[float, float, float]:
    """Relative loss drop in a window; median and spread of those in equally long windows that overlap none taken."""
    length = time[window[1]] - time[window[0]]
    free = []
    for start, begin in enumerate(time):
        finish = begin + length
        clear = all(finish <= time[a] + 1e-9 or begin >= time[b] - 1e-9 for a, b in taken)
        if clear and finish <= time[-1] + 1e-9:
            free.append(1 - float(np.interp(finish, time, loss)) / loss[start])
    here = 1 - loss[window[1]] / loss[window[0]]
    if not free:
        return here, float("nan"), float("nan")
    drops = np.array(free)
    median = np.median(drops)
    spread = 1.4826 * np.median(np.abs(drops - median))
    return here, float(median), float(spread)
