"""How much better than what is known an architecture may be, for whole pools; costs are minimised.

Means and deviations of independent normal distributions; a deviation of 0 is a cost that is known.
"""

import numpy as np
from scipy.special import ndtr

from predictors.encodings import Matrix
from predictors.predictor import Vector

LEAST_DEVIATION = 1e-12
ROOT_OF_TWO_PI = np.sqrt(2 * np.pi)


def expected_shortfall(level: float, mean: Vector, std: Vector) -> Vector:
    """Return the expectation of `max(level - cost, 0)`, n: below the best cost known, the expected
    improvement (Jones et al., Efficient global optimization, 1998).
    """
    std = np.maximum(std, LEAST_DEVIATION * max(1.0, abs(level)))
    scaled = (level - mean) / std
    density = np.exp(-0.5 * np.minimum(np.abs(scaled), 40.0) ** 2) / ROOT_OF_TWO_PI
    return np.asarray(std * (scaled * ndtr(scaled) + density))


def expected_hypervolume_improvement(
    front: Matrix, reference: Vector, mean: Matrix, std: Matrix
) -> Vector:
    """Return the expected growth of the area that dominates `reference`, n; exact for two costs.

    Between two neighbours of the front the area gained is a product of one shortfall in each cost,
    so the expectation is a sum of products (Emmerich et al., 2011; arXiv:2006.05078).

    Args:
        front: costs that no other one beats, `k x 2`; none is needed.
        reference: 2.
        mean, std: `n x 2`.
    """
    inside = front[(front < reference).all(axis=1)]
    inside = inside[np.argsort(inside[:, 0])]
    ends = [*inside[:, 0], reference[0]]
    heights = [reference[1], *inside[:, 1]]
    widths = np.array([expected_shortfall(end, mean[:, 0], std[:, 0]) for end in ends])
    drops = np.array([expected_shortfall(height, mean[:, 1], std[:, 1]) for height in heights])
    return np.asarray((np.diff(widths, axis=0, prepend=0.0) * drops).sum(axis=0))


def chebyshev(costs: Matrix, weights: Vector) -> Vector:
    """Return the augmented Chebyshev distance from 0 of `n x m` costs (Knowles, ParEGO, 2006)."""
    weighted = costs * weights
    return np.asarray(weighted.max(axis=1) + 0.05 * weighted.sum(axis=1))
