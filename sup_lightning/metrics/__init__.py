"""torchmetrics twins of `functional`."""

from sup_lightning.metrics.dimensionality import (
    DimensionsPerFeature,
    FeatureDimensionality,
    FeatureNorms,
    RepresentedFeatures,
)
from sup_lightning.metrics.interference import DensityWeightedInterference, Interference
from sup_lightning.metrics.reconstruction import (
    FractionOfVarianceUnexplained,
    LossGivenActive,
    WeightedSquaredError,
)
from sup_lightning.metrics.selectivity import DeadFraction, Kurtosis, RotatedKurtosis
from sup_lightning.metrics.top_examples import TopExamples

__all__ = [
    "DeadFraction",
    "DensityWeightedInterference",
    "DimensionsPerFeature",
    "FeatureDimensionality",
    "FeatureNorms",
    "FractionOfVarianceUnexplained",
    "Interference",
    "Kurtosis",
    "LossGivenActive",
    "RepresentedFeatures",
    "RotatedKurtosis",
    "TopExamples",
    "WeightedSquaredError",
]
