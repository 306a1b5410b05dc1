"""Predictors of a subnet's quality."""

from collections.abc import Callable

from predictors.accuracy.gaussian_process import GaussianProcessAccuracy
from predictors.predictor import Predictor
from search_spaces import SearchSpace

ACCURACY_PREDICTORS: dict[str, Callable[[SearchSpace, int], Predictor]] = {
    "gaussian-process": GaussianProcessAccuracy,
}
"""Name -> builder(space, seed)."""
