"""One measured quantity, guessed for a pool from what was told so far."""

import numpy as np
import numpy.typing as npt

from predictors.encodings import Matrix
from predictors.gaussian import Kernel, PoolPosterior, fit_kernel, standardised
from predictors.gaussian.process import spread_of
from predictors.predictor import Vector

GROWTH = 1.1  # of the observations, before the kernel is fitted again
MOST_FITTED = 300  # observations that a kernel is fitted to
MOST_KEPT = 600  # observations that a posterior holds when the kernel is fitted

Rows = npt.NDArray[np.intp]


class Surrogate:
    """A Gaussian process whose kernel is fitted again only as observations grow by a share.

    Where observations are many, the posterior holds the lowest and as many others, which are drawn
    anew with every fit.

    Args:
        expected: the kernel's prior.
        rng: draws observations where they are too many.
    """

    def __init__(self, expected: Kernel, rng: np.random.Generator) -> None:
        self._kernel, self._rng = expected, rng
        self._expected = expected
        self._fit_at = self._fitted_at = 0
        self._kept: Rows = np.zeros(0, dtype=np.intp)
        self._pool: Matrix | None = None
        self._posterior: PoolPosterior | None = None
        self._targets: Vector = np.zeros(0)

    def learn(self, pool: Matrix, observed: Rows, targets: Vector) -> tuple[Vector, Vector]:
        """Return mean and deviation of what a measurement of the pool would tell, each p: a search
        is judged by measurements, and what columns do not tell of a network is its own for good.

        Args:
            pool: columns, `p x f`; in the same array as before, observations are only added.
            observed: positions of the n observations in the pool, the earlier ones as before.
            targets: n, at least 1.
        """
        if len(observed) >= self._fit_at:
            self._fit(pool, observed, targets)
        kept = np.concatenate([self._kept, np.arange(self._fitted_at, len(observed))])
        if self._posterior is None or self._pool is not pool:
            self._pool = pool
            self._posterior = PoolPosterior(self._kernel, pool, observed[kept])
        else:
            self._posterior.observe(observed[kept[len(self._posterior) :]])
        self._targets = targets[kept]
        mean, std = self._posterior.predict(self._targets)
        noise = self._kernel.noise * spread_of(self._targets) ** 2
        return mean, np.sqrt(std**2 + noise)

    def deviations(self, positions: Rows, count: int) -> Matrix:
        """Draw how far `count` functions lie from the mean at k rows of the pool that was learnt
        last, `count x k`.
        """
        assert self._posterior is not None, "nothing is learnt yet"
        return self._posterior.deviations(positions, self._targets, count, self._rng)

    def _fit(self, pool: Matrix, observed: Rows, targets: Vector) -> None:
        self._kept = self._lowest_and_others(targets, MOST_KEPT)
        fitted = self._lowest_and_others(targets, MOST_FITTED)
        goals = standardised(targets[fitted])
        self._kernel = fit_kernel(self._expected, pool[observed[fitted]], goals)
        self._fitted_at = len(observed)
        self._fit_at = max(len(observed) + 1, int(np.ceil(GROWTH * len(observed))))
        self._posterior = None

    def _lowest_and_others(self, targets: Vector, count: int) -> Rows:
        """Return at most `count` positions, ascending: half of them the lowest, half by chance."""
        if len(targets) <= count:
            return np.arange(len(targets))
        order = np.argsort(targets, kind="stable")
        others = self._rng.permutation(order[count // 2 :])[: count - count // 2]
        return np.sort(np.concatenate([order[: count // 2], others]))
