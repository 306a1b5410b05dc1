"""A Gaussian process over a fixed pool of candidates, to which observations are added cheaply."""

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

from predictors.encodings.encoding import Matrix
from predictors.gaussian.fit import JITTER
from predictors.gaussian.kernel import Kernel
from predictors.gaussian.process import draw_normal, spread_of
from predictors.predictor import Vector


class PoolPosterior:
    """Posterior of p candidates as some of them are observed.

    The Cholesky factor of the observations' covariance grows by a row an observation, and with it
    what they tell of the whole pool: `O(n p)` an observation. Targets come last, since neither
    depends on them.

    Args:
        kernel: with its parameters.
        pool: features of the candidates, `p x f`.
        observed: rows of the pool that are measured.
    """

    def __init__(self, kernel: Kernel, pool: Matrix, observed: npt.NDArray[np.intp]) -> None:
        self._kernel, self._pool = kernel, pool
        self._count = 0
        self._factor = np.zeros((32, 32))
        self._told = np.zeros((32, len(pool)))  # inverse factor times covariance with the pool
        self._remaining = kernel.diagonal(pool)
        self.observe(observed)

    def __len__(self) -> int:
        """Observations so far."""
        return self._count

    def observe(self, positions: npt.NDArray[np.intp]) -> None:
        """Take in that these rows of the pool are measured; their targets come with `predict`."""
        covariances = self._kernel.covariance(self._pool[positions], self._pool)
        for position, shared in zip(positions, covariances, strict=True):
            self._append(int(position), shared)

    def _append(self, position: int, shared: Vector) -> None:
        n = self._count
        if n == len(self._told):
            self._told = np.concatenate([self._told, np.zeros_like(self._told)])
            self._factor = np.pad(self._factor, (0, n))
        told = self._told[:n, position].copy()
        deviation = np.sqrt(self._remaining[position] + self._kernel.noise + JITTER)
        self._told[n] = (shared - told @ self._told[:n]) / deviation
        self._factor[n, :n], self._factor[n, n] = told, deviation
        self._remaining = np.maximum(self._remaining - self._told[n] ** 2, 0.0)
        self._count += 1

    def predict(self, targets: Vector) -> tuple[Vector, Vector]:
        """Return mean and standard deviation (without noise) of the pool, each p, for the targets
        of the observations, n.
        """
        n, centre, scale = self._count, float(targets.mean()), spread_of(targets)
        whitened = solve_triangular(self._factor[:n, :n], (targets - centre) / scale, lower=True)
        mean = centre + scale * (whitened @ self._told[:n])
        return np.asarray(mean), scale * np.sqrt(self._remaining)

    def deviations(
        self, positions: npt.NDArray[np.intp], count: int, rng: np.random.Generator
    ) -> Matrix:
        """Draw `count` functions at k rows of the pool, less their mean and in standardised
        targets, `count x k`.
        """
        rows, told = self._pool[positions], self._told[: self._count, positions]
        return draw_normal(self._kernel.covariance(rows, rows) - told.T @ told, count, rng)
