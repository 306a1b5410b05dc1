"""Accuracy of subnets by a line through their encodings."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import KFold

from predictors.accuracy.learned import Blocks, Guess, LearnedAccuracy, beside
from predictors.encodings import Encoding, Matrix
from predictors.predictor import Vector
from search_spaces import SearchSpace

FOLDS = 10
STRENGTHS = np.logspace(-4, 2, 25)  # shares of the mean squared singular value


class RidgeAccuracy(LearnedAccuracy):
    """Ridge regression (Hoerl and Kennard, 1970) on all encodings side by side.

    The strength is the one of least leave-one-out error, which has a closed form. Held-out guesses
    come from tenfold cross-validation, strength and all: the least error of many is too small.

    Args:
        space: what populations are of.
        seed: of the folds.
        features: further columns, `n x k`.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, features: Encoding | None = None) -> None:
        super().__init__(space, _Ridge, seed, features)


class _Ridge:
    """A line, and what lines through the rest said of every fold."""

    def __init__(self, blocks: Blocks, targets: Vector, seed: int) -> None:
        rows = beside(blocks)
        self._line = fit_line(rows, targets)
        mean, std = np.empty(len(targets)), np.empty(len(targets))
        folds = KFold(min(FOLDS, len(targets)), shuffle=True, random_state=seed)
        for rest, left_out in folds.split(rows):
            mean[left_out], std[left_out] = fit_line(rows[rest], targets[rest]).guess(
                rows[left_out]
            )
        self.held_out: Guess = mean, std

    def predict(self, blocks: Blocks) -> Guess:
        return self._line.guess(beside(blocks))


@dataclass(frozen=True)
class Line:
    """A line through `n x f` rows.

    Args:
        centre: of the rows, f.
        intercept: at the centre.
        coefficients: f.
        directions: of the rows' spread, `f x r`.
        precision: of what is known in each, r.
        noise: standard deviation of a target.
    """

    centre: Vector
    intercept: float
    coefficients: Vector
    directions: Matrix
    precision: Vector
    noise: float

    def guess(self, rows: Matrix) -> Guess:
        """Return mean and standard deviation of m rows, each m."""
        offsets = rows - self.centre
        spread = ((offsets @ self.directions) ** 2 / self.precision).sum(axis=1)
        return self.intercept + offsets @ self.coefficients, self.noise * np.sqrt(1 + spread)


def fit_line(rows: Matrix, targets: Vector) -> Line:
    """Return the ridge regression of the strength with the least leave-one-out error."""
    centre, intercept = rows.mean(axis=0), float(targets.mean())
    left, sizes, right = np.linalg.svd(rows - centre, full_matrices=False)
    kept = sizes > 1e-9 * max(float(sizes.max(initial=0.0)), 1e-300)
    left, squares, right = left[:, kept], sizes[kept] ** 2, right[kept]
    strengths = STRENGTHS * (float(squares.mean()) if len(squares) else 1.0)
    errors = [left_out_errors(left, squares, targets - intercept, s) for s in strengths]
    best = int(np.argmin([np.mean(error**2) for error in errors]))
    solved = np.sqrt(squares) / (squares + strengths[best])
    coefficients = right.T @ (solved * (left.T @ (targets - intercept)))
    noise = float(np.sqrt(np.mean(errors[best] ** 2)))
    return Line(centre, intercept, coefficients, right.T, squares + strengths[best], noise)


def left_out_errors(left: Matrix, squares: Vector, targets: Vector, strength: float) -> Vector:
    """Return the errors of n centred targets, each by a line through the others (closed form).

    Args:
        left: left singular vectors of the centred rows, `n x r`.
        squares: of their singular values, r.
    """
    shares = squares / (squares + strength)
    leverage = np.minimum((left**2) @ shares + 1 / len(targets), 1 - 1e-6)
    return np.asarray((targets - left @ (shares * (left.T @ targets))) / (1 - leverage))
