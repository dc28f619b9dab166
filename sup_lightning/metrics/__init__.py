"""torchmetrics twins of `functional`."""

from sup_lightning.metrics.basis import AlignmentAboveRandom, ParticipationAboveRandom
from sup_lightning.metrics.dimensionality import (
    DimensionsPerFeature,
    FeatureDimensionality,
    FeatureNorms,
    RepresentedFeatures,
)
from sup_lightning.metrics.geometry import PolytopeShares
from sup_lightning.metrics.interference import DensityWeightedInterference, Interference
from sup_lightning.metrics.reconstruction import (
    FractionOfVarianceUnexplained,
    LossGivenActive,
    MeanRowLoss,
)
from sup_lightning.metrics.selectivity import DeadFraction, Kurtosis, RotatedKurtosis
from sup_lightning.metrics.top_examples import TopExamples

__all__ = [
    "AlignmentAboveRandom",
    "DeadFraction",
    "DensityWeightedInterference",
    "DimensionsPerFeature",
    "FeatureDimensionality",
    "FeatureNorms",
    "FractionOfVarianceUnexplained",
    "Interference",
    "Kurtosis",
    "LossGivenActive",
    "MeanRowLoss",
    "ParticipationAboveRandom",
    "PolytopeShares",
    "RepresentedFeatures",
    "RotatedKurtosis",
    "TopExamples",
]
