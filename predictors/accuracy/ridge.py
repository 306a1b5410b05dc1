"""Accuracy of subnets by a line through their encodings."""

from dataclasses import dataclass

import numpy as np

from predictors.accuracy.learned import Blocks, Guess, LearnedAccuracy, beside
from predictors.encodings import Encoding, Matrix
from predictors.predictor import Vector
from search_spaces import SearchSpace

STRENGTHS = np.logspace(-4, 2, 25)  # shares of the mean squared singular value


class RidgeAccuracy(LearnedAccuracy):
    """Ridge regression (Hoerl and Kennard, 1970) on all encodings side by side.

    The strength is the one of least leave-one-out error, which has a closed form, as have the
    guesses of subnets left out.

    Args:
        space: what populations are of.
        seed: has no effect.
        features: further columns, `n x k`.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, features: Encoding | None = None) -> None:
        super().__init__(space, _fit, seed, features)


@dataclass(frozen=True)
class _Line:
    """Coefficients f, the directions (`f x r`) of spread, and the strength in each."""

    centre: Vector
    intercept: float
    coefficients: Vector
    directions: Matrix
    precision: Vector  # r
    noise: float  # standard deviation of a held-out guess before the design's share
    held_out: Guess

    def predict(self, blocks: Blocks) -> Guess:
        rows = beside(blocks) - self.centre
        spread = ((rows @ self.directions) ** 2 / self.precision).sum(axis=1)
        mean = self.intercept + rows @ self.coefficients
        return mean, self.noise * np.sqrt(1 + spread)


def _fit(blocks: Blocks, targets: Vector, seed: int) -> _Line:
    rows = beside(blocks)
    centre, intercept = rows.mean(axis=0), float(targets.mean())
    left, sizes, right = np.linalg.svd(rows - centre, full_matrices=False)
    kept = sizes > 1e-9 * max(float(sizes.max(initial=0.0)), 1e-300)
    left, squares, right = left[:, kept], sizes[kept] ** 2, right[kept]
    strengths = STRENGTHS * (float(squares.mean()) if len(squares) else 1.0)
    errors = [_left_out(left, squares, targets - intercept, s)[0] for s in strengths]
    best = strengths[int(np.argmin([np.mean(error**2) for error in errors]))]
    error, leverage = _left_out(left, squares, targets - intercept, best)
    shares = squares / (squares + best)
    coefficients = right.T @ (shares / np.sqrt(squares) * (left.T @ (targets - intercept)))
    noise = float(np.sqrt(np.mean(error**2 * (1 - leverage))))
    held_out = targets - error, noise / np.sqrt(1 - leverage)
    return _Line(centre, intercept, coefficients, right.T, squares + best, noise, held_out)


def _left_out(left: Matrix, squares: Vector, targets: Vector, strength: float) -> Guess:
    """Return leave-one-out errors and leverages of n centred targets, the mean left out too."""
    leverage = (left**2) @ (squares / (squares + strength)) + 1 / len(targets)
    leverage = np.minimum(leverage, 1 - 1e-6)
    fitted = left @ (squares / (squares + strength) * (left.T @ targets))
    return (targets - fitted) / (1 - leverage), leverage
