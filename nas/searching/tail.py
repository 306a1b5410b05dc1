"""Costs whose upper tail is compressed."""

import numpy as np

from predictors.predictor import Vector


def compressed(costs: Vector, told: Vector) -> Vector:
    """Return n costs as they are up to the median of those told, and in logarithms above.

    The unit of the logarithm is the distance from the least cost told to the median, so that the
    scale has no step and no bend there, and any shift or scale of costs is one of the result.
    """
    median = float(np.median(told))
    unit = max(median - float(told.min()), 1e-9 * max(1.0, abs(median)))
    above = np.maximum(costs - median, 0.0)
    return np.asarray(np.minimum(costs, median) + unit * np.log1p(above / unit))
