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

__all__ = [
    "DensityWeightedInterference",
    "DimensionsPerFeature",
    "FeatureDimensionality",
    "FeatureNorms",
    "FractionOfVarianceUnexplained",
    "Interference",
    "LossGivenActive",
    "RepresentedFeatures",
    "WeightedSquaredError",
]
