"""Pure tensor functions: quantities of superposition, and keyed random numbers."""

from sup_lightning.functional.dimensionality import (
    dimensions_per_feature,
    feature_dimensionality,
    feature_norms,
    represented_features,
)
from sup_lightning.functional.interference import density_weighted_interference, gram, interference
from sup_lightning.functional.keyed_random import keyed_normal, keyed_uniform
from sup_lightning.functional.reconstruction import (
    fraction_of_variance_unexplained,
    n_active,
    weighted_squared_error,
)
from sup_lightning.functional.selectivity import dead_fraction, dead_neurons, kurtosis, rotated_kurtosis

__all__ = [
    "dead_fraction",
    "dead_neurons",
    "density_weighted_interference",
    "dimensions_per_feature",
    "feature_dimensionality",
    "feature_norms",
    "fraction_of_variance_unexplained",
    "gram",
    "interference",
    "keyed_normal",
    "keyed_uniform",
    "kurtosis",
    "n_active",
    "represented_features",
    "rotated_kurtosis",
    "weighted_squared_error",
]
