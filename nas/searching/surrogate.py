"""One measured quantity, guessed for a pool from what was told so far."""

import numpy as np
import numpy.typing as npt

from predictors.encodings import Matrix
from predictors.gaussian import Kernel, PoolPosterior, fit_kernel, standardised
from predictors.predictor import Vector

GROWTH = 1.1  # of the observations, before the kernel is fitted again
MOST_FITTED = 300  # observations that a kernel is fitted to


class Surrogate:
    """A Gaussian process whose kernel is fitted again only as observations grow by a share.

    Args:
        expected: the kernel's prior.
        rng: draws the observations that a kernel is fitted to where they are many.
    """

    def __init__(self, expected: Kernel, rng: np.random.Generator) -> None:
        self._expected, self._rng = expected, rng
        self._kernel: Kernel | None = None
        self._fit_at = 0
        self._pool: Matrix | None = None
        self._posterior: PoolPosterior | None = None
        self._targets = np.zeros(0)

    def learn(
        self, pool: Matrix, observed: npt.NDArray[np.intp], targets: Vector
    ) -> tuple[Vector, Vector]:
        """Return mean and deviation of the pool, each p.

        Args:
            pool: columns, `p x f`; in the same array as before, observations are only added.
            observed: positions of the n observations in the pool, the earlier ones as before.
            targets: n, at least 1.
        """
        if len(observed) >= self._fit_at:
            chosen = np.arange(len(observed))
            if len(observed) > MOST_FITTED:
                chosen = self._rng.choice(len(observed), MOST_FITTED, replace=False)
            goals = standardised(targets[chosen])
            self._kernel = fit_kernel(self._expected, pool[observed[chosen]], goals, self._kernel)
            self._fit_at = max(len(observed) + 1, int(np.ceil(GROWTH * len(observed))))
            self._posterior = None
        assert self._kernel is not None
        if self._posterior is None or self._pool is not pool:
            self._pool, self._posterior = pool, PoolPosterior(self._kernel, pool, observed)
        else:
            self._posterior.observe(observed[len(self._posterior) :])
        self._targets = targets
        return self._posterior.predict(targets)

    def deviations(self, positions: npt.NDArray[np.intp], count: int) -> Matrix:
        """Draw how far `count` functions lie from the mean at k rows of the pool that was learnt
        last, `count x k`.
        """
        assert self._posterior is not None, "nothing is learnt yet"
        return self._posterior.deviations(positions, self._targets, count, self._rng)
