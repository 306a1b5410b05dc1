"""Predictors of a subnet's quality."""

from collections.abc import Callable

from predictors.accuracy.gaussian_process import GaussianProcessAccuracy
from predictors.encodings import Encoding
from predictors.predictor import Predictor
from search_spaces import SearchSpace

AccuracyBuilder = Callable[[SearchSpace, int, Encoding | None], Predictor]

ACCURACY_PREDICTORS: dict[str, AccuracyBuilder] = {
    "gaussian-process": GaussianProcessAccuracy,
}
"""Name -> builder(space, seed, features); `features` are further columns, as zero-cost scores."""
