"""A Gaussian process given observations: mean, spread, samples and leave-one-out."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from predictors.encodings.encoding import Matrix
from predictors.gaussian.fit import JITTER
from predictors.gaussian.kernel import Kernel
from predictors.predictor import Vector

CHUNK = 4096  # rows at a time: keeps the covariance with the observations small


@dataclass(frozen=True)
class GaussianProcess:
    """What n observations tell of any rows (Rasmussen and Williams, 2006, algorithm 2.1).

    Args:
        kernel: whose targets have mean 0 and variance 1.
        rows: observed, `n x f`.
        factor: lower Cholesky factor of their covariance with noise, `n x n`.
        solved: the inverse of that covariance times the targets, n.
        centre, scale: of the targets as they came.
    """

    kernel: Kernel
    rows: Matrix
    factor: Matrix
    solved: Vector
    centre: float
    scale: float

    def predict(self, rows: Matrix) -> tuple[Vector, Vector]:
        """Return mean and standard deviation (without noise) of m rows, each m."""
        mean, std = np.empty(len(rows)), np.empty(len(rows))
        for start in range(0, len(rows), CHUNK):
            chunk = slice(start, start + CHUNK)
            shared = self.kernel.covariance(rows[chunk], self.rows)
            told = solve_triangular(self.factor, shared.T, lower=True)
            variance = self.kernel.diagonal(rows[chunk]) - (told**2).sum(axis=0)
            mean[chunk] = shared @ self.solved
            std[chunk] = np.sqrt(np.maximum(variance, 0.0))
        return self.centre + self.scale * mean, self.scale * std

    def joint(self, rows: Matrix) -> tuple[Vector, Matrix]:
        """Return mean, m, and covariance, `m x m`, of m rows together."""
        shared = self.kernel.covariance(rows, self.rows)
        told = solve_triangular(self.factor, shared.T, lower=True)
        covariance = self.kernel.covariance(rows, rows) - told.T @ told
        return self.centre + self.scale * (shared @ self.solved), self.scale**2 * covariance

    def sample(self, rows: Matrix, count: int, rng: np.random.Generator) -> Matrix:
        """Draw `count` functions at m rows, `count x m`."""
        mean, covariance = self.joint(rows)
        return mean + draw_normal(covariance, count, rng)

    def leave_one_out(self) -> tuple[Vector, Vector]:
        """Return mean and standard deviation (with noise) of every observation given all others,
        each n, in closed form (eqs. 5.10 to 5.12).
        """
        inverse = cho_solve((self.factor, True), np.eye(len(self.rows)))
        variance = 1 / np.diag(inverse)
        targets = self.factor @ (self.factor.T @ self.solved)
        mean = targets - self.solved * variance
        return self.centre + self.scale * mean, self.scale * np.sqrt(variance)


def condition(kernel: Kernel, rows: Matrix, targets: Vector) -> GaussianProcess:
    """Return the process given `n x f` rows and their n targets; n is at least 1."""
    centre, scale = float(targets.mean()), spread_of(targets)
    covariance = kernel.covariance(rows, rows)
    covariance[np.diag_indices(len(rows))] += kernel.noise + JITTER
    factor = cholesky(covariance, lower=True)
    solved = cho_solve((factor, True), (targets - centre) / scale)
    return GaussianProcess(kernel, rows, factor, solved, centre, scale)


def standardised(targets: Vector) -> Vector:
    """Return targets of mean 0 and variance 1; of nothing but zeros where all are the same."""
    return np.asarray((targets - targets.mean()) / spread_of(targets))


def spread_of(targets: Vector) -> float:
    """Return the standard deviation; 1 where all targets are the same."""
    spread = float(targets.std())
    return spread if spread > 1e-12 * max(1.0, float(np.abs(targets).max())) else 1.0


def draw_normal(covariance: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """Draw from a normal distribution of mean 0 and covariance `m x m`: `count x m`."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.asarray(rng.standard_normal((count, len(covariance))) @ root.T)
