"""What is guessed of a pool, and how much each of it may improve on what is known."""

from dataclasses import dataclass

import numpy as np

from nas.searching.acquisition import (
    chebyshev,
    expected_hypervolume_improvement,
    expected_shortfall,
)
from nas.searching.pareto import non_dominated
from predictors.encodings import Matrix
from predictors.predictor import Vector

BOLDNESS = 0.25  # of the deviation, that counts where a whole front is sought
REACH = (0.5, 2.0)  # how far beyond the median a front may go, in units of what is below it
SCENARIOS = 64  # draws of three and more costs


@dataclass(frozen=True)
class Guess:
    """Costs of p candidates, minimised.

    Args:
        mean: `p x m`.
        std: `p x m`; 0 where a cost is known.
        keeps_limits: probability, p.
        known: costs of the k architectures that were told and keep all limits, `k x m`.
    """

    mean: Matrix
    std: Matrix
    keeps_limits: Vector
    known: Matrix

    def scores(self, rng: np.random.Generator) -> Vector:
        """Return the expected improvement, p; where nothing keeps the limits yet, the probability
        that a candidate does.
        """
        if not len(self.known):
            return self.keeps_limits
        match self.mean.shape[1]:
            case 1:
                least = float(self.known.min())
                improvement = expected_shortfall(least, self.mean[:, 0], self.std[:, 0])
            case 2:
                front = self.known[non_dominated(self.known)]
                improvement = expected_hypervolume_improvement(
                    front, self._reference(rng), self.mean, BOLDNESS * self.std
                )
            case _:
                improvement = self._expected_chebyshev(rng)
        # hard limits: an evaluation that exceeds one is lost, so doubt counts twice
        return improvement * self.keeps_limits**2

    def optimism(self) -> Vector:
        """Return the sum of what costs may be, p, in units of their spread: an order for candidates
        of which none is expected to improve anything.
        """
        spread = np.maximum(self.mean.std(axis=0), 1e-12)
        return np.asarray(((self.mean - self.std) / spread).sum(axis=1))

    def drawn(self, deviations: Matrix, asked: Matrix) -> "Guess":
        """Return the guess where costs are a draw, `p x m`, and `asked` (`k x m`) are told."""
        known = np.concatenate([self.known, asked])
        return Guess(self.mean + deviations, np.zeros_like(self.std), self.keeps_limits, known)

    def rows(self, chosen: np.ndarray) -> "Guess":
        """Return the guess of some candidates."""
        return Guess(self.mean[chosen], self.std[chosen], self.keeps_limits[chosen], self.known)

    def _reference(self, rng: np.random.Generator) -> Vector:
        """Draw costs beyond which nothing counts, m, in units of the distance from the least to the
        pool's median.

        The least of one cost is no part of a front that anybody wants where it is bought with far
        too much of another (a network of nothing is fast), but nobody said where that begins.
        """
        middle = np.median(self.mean, axis=0)
        reach = np.log1p(rng.uniform(*REACH))  # costs above the median are in logarithms
        return np.asarray(middle + reach * (middle - self._least()))

    def _least(self) -> Vector:
        return np.asarray(np.minimum(self.mean.min(axis=0), self.known.min(axis=0)))

    def _expected_chebyshev(self, rng: np.random.Generator) -> Vector:
        low = self._least()
        unit = np.maximum(np.median(self.mean, axis=0) - low, 1e-12)
        weights = rng.dirichlet(np.ones(len(low)))
        least = chebyshev((self.known - low) / unit, weights).min()
        total = np.zeros(len(self.mean))
        for _ in range(SCENARIOS):
            costs = self.mean + self.std * rng.standard_normal(self.mean.shape)
            total += np.maximum(least - chebyshev((costs - low) / unit, weights), 0.0)
        return total / SCENARIOS
