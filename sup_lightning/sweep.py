"""The instances axis: which settings vary between the models that are trained side by side."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sup_lightning.errors import did_you_mean, reject

if TYPE_CHECKING:
    import pandas as pd

Values = list[float | list[float]]


class Sweep:
    """A grid of settings, laid out along the instances axis with the seed varying fastest.

    A swept setting replaces the single value that data or model have for it. The points of one seed share their
    uniform draws, so differences between points are not blurred by sampling; different seeds share nothing.

    Args:
        seed: Number of seeds at each point, or the seeds themselves.
        feature_probability: Values of p; each a number, or one number for each feature.
        importance: Values of the importance; each a number, or one number for each feature.
        dropout: Values of the dropout rate on the hidden layer.
        first_seed: Where counting starts if `seed` is a number.

    >>> sweep = Sweep(seed=2, feature_probability=[0.1, 0.5])
    >>> sweep.n_instances, sweep.seeds
    (4, [0, 1, 0, 1])
    >>> sweep.labels[2]
    'feature_probability=0.5,seed=0'
    """

    def __init__(
        self,
        seed: int | list[int] = 1,
        feature_probability: Values | None = None,
        importance: Values | None = None,
        dropout: list[float] | None = None,
        first_seed: int = 0,
    ) -> None:
        if isinstance(seed, int):
            if seed < 1:
                reject("sweep.seed", seed, "a positive number of seeds, or a list of seeds")
            seed = list(range(first_seed, first_seed + seed))
        swept = {"feature_probability": feature_probability, "importance": importance, "dropout": dropout}
        self.axes: dict[str, list[Any]] = {name: list(values) for name, values in swept.items() if values is not None}
        self.axes["seed"] = list(seed)
        for name, values in self.axes.items():
            if not values:
                reject(f"sweep.{name}", values, "at least one value")
            if any(value in values[:place] for place, value in enumerate(values)):
                reject(f"sweep.{name}", values, "values that differ")

    @classmethod
    def of(cls, sweep: "Sweep | dict[str, Any] | None") -> "Sweep":
        """The sweep that a module or data module was given: one instance with seed 0 if it was given none."""
        if isinstance(sweep, Sweep):
            return sweep
        settings = sweep or {}
        for name in settings:
            if name not in (known := ("seed", "feature_probability", "importance", "dropout")):
                reject("sweep", name, f"the axes {', '.join(known)}{did_you_mean(name, known)}")
        return cls(**settings)

    def as_dict(self) -> dict[str, list[Any]]:
        """The axes as plain values, from which `of` makes the same sweep."""
        return dict(self.axes)

    @property
    def instances(self) -> list[dict[str, Any]]:
        """The settings of each instance, in the order of the instances axis."""
        return [dict(zip(self.axes, values, strict=True)) for values in itertools.product(*self.axes.values())]

    @property
    def n_instances(self) -> int:
        return self.n_points * self.n_seeds

    @property
    def n_seeds(self) -> int:
        return len(self.axes["seed"])

    @property
    def n_points(self) -> int:
        """Number of settings apart from the seed; instances reshape to `[n_points, n_seeds]`."""
        n = 1
        for values in self.axes.values():
            n *= len(values)
        return n // self.n_seeds

    @property
    def seeds(self) -> list[int]:
        """The seed of each instance."""
        return self.values("seed", [])

    def values(self, axis: str, default: Any) -> list[Any]:
        """The value of a setting for each instance; the default for all if it is not swept."""
        return [instance.get(axis, default) for instance in self.instances]

    @property
    def labels(self) -> list[str]:
        """A short name for each instance, for plots and tags."""
        return [self._label(instance) for instance in self.instances]

    @property
    def point_labels(self) -> list[str]:
        """A short name for each point, without the seed; empty text if nothing but the seed varies."""
        points = self.instances[:: self.n_seeds]
        return [self._label({name: value for name, value in point.items() if name != "seed"}) for point in points]

    def _label(self, settings: dict[str, Any]) -> str:
        return ",".join(f"{name}={self._short(name, value)}" for name, value in settings.items())

    def _short(self, axis: str, value: Any) -> str:
        if isinstance(value, Sequence):  # one number for each feature: named by its place on the axis
            return f"#{self.axes[axis].index(value)}"
        return f"{value:.10g}" if isinstance(value, float) else str(value)

    def table(self) -> "pd.DataFrame":
        """One row for each instance, one column for each axis."""
        import pandas as pd

        return pd.DataFrame(self.instances)
