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
        self._count = n = len(observed)
        shared = kernel.covariance(pool[observed], pool)
        covariance = shared[:, observed] + (kernel.noise + JITTER) * np.eye(n)
        self._factor = np.linalg.cholesky(covariance)
        # the inverse factor times the covariance with the pool
        self._told = solve_triangular(self._factor, shared, lower=True)
        self._remaining = np.maximum(kernel.diagonal(pool) - (self._told**2).sum(axis=0), 0.0)

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
            self._told = np.pad(self._told, ((0, n + 1), (0, 0)))
            self._factor = np.pad(self._factor, (0, n + 1))
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
        self,
        positions: npt.NDArray[np.intp],
        targets: Vector,
        count: int,
        rng: np.random.Generator,
    ) -> Matrix:
        """Draw how far `count` functions lie from their mean at k rows of the pool, `count x k`."""
        rows, told = self._pool[positions], self._told[: self._count, positions]
        covariance = self._kernel.covariance(rows, rows) - told.T @ told
        return spread_of(targets) * draw_normal(covariance, count, rng)
