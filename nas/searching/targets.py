"""What models of costs and of limits are fitted to."""

import numpy as np

from predictors.predictor import Vector

MOST_EXCESS = 10.0  # over limits, in units of their median: what fails exceeds them as much


def compressed(costs: Vector, told: Vector) -> Vector:
    """Return n costs as they are up to the median of those told, and in logarithms above.

    The unit of the logarithm is the distance from the least cost told to the median, so that the
    scale has no step and no bend there, and any shift or scale of costs is one of the result.
    """
    median = float(np.median(told))
    unit = max(median - float(told.min()), 1e-9 * max(1.0, abs(median)))
    above = np.maximum(costs - median, 0.0)
    return np.asarray(np.minimum(costs, median) + unit * np.log1p(above / unit))


def excess(violations: Vector) -> Vector:
    """Return -1 where all limits are kept, n, else how far they are exceeded, on a scale of
    logarithms above 0; an infinite violation is a failed evaluation.
    """
    exceeding = violations[np.isfinite(violations) & (violations > 0)]
    unit = float(np.median(exceeding)) if len(exceeding) else 1.0
    return np.where(violations > 0, np.log1p(np.minimum(violations / unit, MOST_EXCESS)), -1.0)
