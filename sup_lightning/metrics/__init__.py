"""torchmetrics twins of `functional`."""

from sup_lightning.metrics.basis import AlignmentAboveRandom, ParticipationAboveRandom
from sup_lightning.metrics.class_sums import ClassSums, PositionMeans
from sup_lightning.metrics.covariance import ClassCovariances, Covariance, CrossMoments
from sup_lightning.metrics.dimensionality import (
    DimensionsPerFeature,
    FeatureDimensionality,
    FeatureNorms,
    RepresentedFeatures,
)
from sup_lightning.metrics.firing import ActivationHistogram, CoFiring
from sup_lightning.metrics.geometry import PolytopeShares
from sup_lightning.metrics.interference import DensityWeightedInterference, Interference
from sup_lightning.metrics.reconstruction import (
    FractionOfVarianceUnexplained,
    LossGivenActive,
    MeanRowLoss,
)
from sup_lightning.metrics.selectivity import DeadFraction, Kurtosis, NeuronMoments, RotatedKurtosis
from sup_lightning.metrics.top_examples import ExamplesByStrength, TopExamples

__all__ = [
    "ActivationHistogram",
    "AlignmentAboveRandom",
    "ClassCovariances",
    "ClassSums",
    "CoFiring",
    "Covariance",
    "CrossMoments",
    "DeadFraction",
    "DensityWeightedInterference",
    "DimensionsPerFeature",
    "ExamplesByStrength",
    "FeatureDimensionality",
    "FeatureNorms",
    "FractionOfVarianceUnexplained",
    "Interference",
    "Kurtosis",
    "LossGivenActive",
    "MeanRowLoss",
    "NeuronMoments",
    "ParticipationAboveRandom",
    "PolytopeShares",
    "PositionMeans",
    "RepresentedFeatures",
    "RotatedKurtosis",
    "TopExamples",
]
