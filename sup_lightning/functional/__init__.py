"""Pure tensor functions: quantities of superposition, their exact expectations, and keyed random numbers."""

from sup_lightning.functional.adversarial import attack_directions, attack_strength, attacked_loss, vulnerability
from sup_lightning.functional.basis import (
    alignment,
    alignment_above_random,
    kurtosis_above_random,
    participation,
    participation_above_random,
    rotation_spread,
)
from sup_lightning.functional.correlation import rank_correlation
from sup_lightning.functional.dimensionality import (
    dimensions_per_feature,
    feature_dimensionality,
    feature_norms,
    represented_features,
)
from sup_lightning.functional.dropout import dropout_expected_loss, dropout_masks
from sup_lightning.functional.dynamics import energy_jumps, log_spaced_steps
from sup_lightning.functional.expected_loss import bottleneck_expected_loss, expected_loss, independent_supports
from sup_lightning.functional.geometry import Polytope, describe, find_polytopes, plateau
from sup_lightning.functional.heads import ablation_effects, effective_number, squared_writes
from sup_lightning.functional.information import clusters, merge_distances, mutual_information
from sup_lightning.functional.interference import (
    density_weighted_interference,
    gram,
    interference,
    interference_between,
)
from sup_lightning.functional.intervals import bootstrap_interval, of_best_seed, proportion_interval, seed_interval
from sup_lightning.functional.keyed_random import keyed_normal, keyed_uniform
from sup_lightning.functional.motifs import neuron_census
from sup_lightning.functional.naive import absolute_value_variance, naive_loss, naive_n_exact
from sup_lightning.functional.reconstruction import fraction_of_variance_unexplained, n_active, weighted_squared_error
from sup_lightning.functional.recovery import max_cosine
from sup_lightning.functional.selectivity import dead_fraction, dead_neurons, kurtosis, rotated_kurtosis

__all__ = [
    "Polytope",
    "ablation_effects",
    "absolute_value_variance",
    "alignment",
    "alignment_above_random",
    "attack_directions",
    "attack_strength",
    "attacked_loss",
    "bootstrap_interval",
    "bottleneck_expected_loss",
    "clusters",
    "dead_fraction",
    "dead_neurons",
    "density_weighted_interference",
    "describe",
    "dimensions_per_feature",
    "dropout_expected_loss",
    "dropout_masks",
    "effective_number",
    "energy_jumps",
    "expected_loss",
    "feature_dimensionality",
    "feature_norms",
    "find_polytopes",
    "fraction_of_variance_unexplained",
    "gram",
    "independent_supports",
    "interference",
    "interference_between",
    "keyed_normal",
    "keyed_uniform",
    "kurtosis",
    "kurtosis_above_random",
    "log_spaced_steps",
    "max_cosine",
    "merge_distances",
    "mutual_information",
    "n_active",
    "naive_loss",
    "naive_n_exact",
    "neuron_census",
    "of_best_seed",
    "participation",
    "participation_above_random",
    "plateau",
    "proportion_interval",
    "rank_correlation",
    "represented_features",
    "rotated_kurtosis",
    "rotation_spread",
    "seed_interval",
    "squared_writes",
    "vulnerability",
    "weighted_squared_error",
]
