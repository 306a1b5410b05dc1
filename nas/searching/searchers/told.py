"""All that a searcher was told."""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from nas.searching.pareto import non_dominated
from nas.searching.searchers.searcher import Costs, Violations
from search_spaces import Population


class Told:
    """Architectures with their costs and violations, in the order of telling.

    Args:
        num_dimensions, num_objectives: widths of populations and costs.
    """

    def __init__(self, num_dimensions: int, num_objectives: int) -> None:
        self.population: Population = np.zeros((0, num_dimensions), dtype=np.int16)
        self.costs: Costs = np.zeros((0, num_objectives))
        self.violations: Violations = np.zeros(0)

    def add(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Take in `n x d` architectures, their `n x m` costs and n violations."""
        self.population = np.concatenate([self.population, population])
        self.costs = np.concatenate([self.costs, costs])
        self.violations = np.concatenate([self.violations, violations])

    @property
    def succeeded(self) -> npt.NDArray[np.bool_]:
        """Which evaluations did not fail, n."""
        return np.asarray(np.isfinite(self.costs).all(axis=1))

    def best(self, count: int) -> Population:
        """Return the best: what keeps the limits first, then what no other beats, then by the sum
        of the ranks of all costs.
        """
        rows = np.flatnonzero(self.succeeded)
        if not len(rows):
            return self.population[:0]
        costs = self.costs[rows]
        is_beaten = np.ones(len(rows))
        is_beaten[non_dominated(costs)] = 0
        ranks = rankdata(costs, axis=0).sum(axis=1)
        order = np.lexsort((ranks, is_beaten, self.violations[rows]))
        return self.population[rows[order[:count]]]
