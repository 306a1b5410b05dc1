"""Predictors of a subnet's quality. One a file."""

from collections.abc import Callable

from predictors.accuracy.auto import AutoAccuracy, HeldOutPredictor
from predictors.accuracy.boosting import BoostingAccuracy
from predictors.accuracy.forest import ForestAccuracy
from predictors.accuracy.gaussian_process import GaussianProcessAccuracy
from predictors.accuracy.mlp_ensemble import MlpEnsembleAccuracy
from predictors.accuracy.ridge import RidgeAccuracy
from predictors.encodings import Encoding
from search_spaces import SearchSpace

AccuracyBuilder = Callable[[SearchSpace, int, Encoding | None], HeldOutPredictor]

ACCURACY_PREDICTORS: dict[str, AccuracyBuilder] = {
    "ridge": RidgeAccuracy,
    "boosting": BoostingAccuracy,
    "forest": ForestAccuracy,
    "gaussian-process": GaussianProcessAccuracy,
    "mlp-ensemble": MlpEnsembleAccuracy,
    "auto": AutoAccuracy,
}
"""Name -> builder(space, seed, features); `features` are further columns, as zero-cost scores."""
