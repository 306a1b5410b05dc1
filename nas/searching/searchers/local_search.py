"""Local search: from a random architecture to a better neighbour, as long as there is one."""

import numpy as np

from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.searcher import Costs, SearcherSettings, Violations
from predictors.predictor import Vector
from search_spaces import Population, SearchSpace


class LocalSearcher:
    """First improvement with restarts (White et al., arXiv:2005.02960, move to the best one).

    Neighbours differ in one dimension. They are asked for in random order, `batch` at a time, and
    the search moves to the first that is better: that exceeds the limits less or, where that is
    equal, costs less. Where no neighbour is left it begins anew at a random architecture.

    Several objectives become one: every beginning draws weights, uniform on the simplex, and starts
    from what is best of all seen by the weighted Chebyshev distance to the least costs seen, in
    units of the ranges seen; at random where that one has no neighbour left.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self, space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings
    ) -> None:
        self._space, self._rng, self._settings = space, rng, settings
        self._proposed = Proposed(space, rng)
        self._first = self._proposed.fresh(settings.first(space))
        self._waiting = self._first[:0]  # what to ask next: neighbours of where the search stands
        self._seen = self._first[:0]
        self._costs = np.zeros((0, settings.num_objectives))
        self._violations = np.zeros(0)
        self._current: int | None = None  # row of what was seen
        self._weights = np.ones(settings.num_objectives)

    def ask(self) -> Population:
        """Return the next neighbours, or a new beginning; nothing where nothing new is left."""
        batch = self._settings.batch
        if len(self._first):
            asked, self._first = self._first[:batch], self._first[batch:]
        else:
            if not len(self._waiting):
                self._begin()
            asked, self._waiting = self._waiting[:batch], self._waiting[batch:]
        self._proposed.add(asked)
        return asked

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Move to the first that is better than where the search stands."""
        start = len(self._seen)
        self._seen = np.concatenate([self._seen, population])
        self._costs = np.concatenate([self._costs, costs])
        self._violations = np.concatenate([self._violations, violations])
        merits = self._merits()
        for row in range(start, len(self._seen)):
            if not np.isfinite(self._violations[row]):
                continue
            if self._current is None or self._is_better(row, self._current, merits):
                self._move(row)
                break

    def _is_better(self, row: int, other: int, merits: Vector) -> bool:
        first, second = ((self._violations[i], merits[i]) for i in (row, other))
        return bool(first < second)

    def _move(self, row: int) -> None:
        self._current = row
        neighbours = self._proposed.fresh(self._space.neighbours(self._seen[row]))
        no_worse = self._settings.known_violations(neighbours) <= self._violations[row]
        self._waiting = self._rng.permutation(neighbours[no_worse])

    def _begin(self) -> None:
        """Stand at another place, or at none and wait for a random architecture."""
        self._current = None
        seen = np.isfinite(self._violations)
        if len(self._weights) > 1 and seen.any():
            self._weights = self._rng.dirichlet(np.ones_like(self._weights))
            self._move(int(np.lexsort((self._merits(), self._violations))[0]))
        if not len(self._waiting):
            self._current = None
            self._waiting = draw_feasible(self._proposed, 1, self._rng, self._settings)

    def _merits(self) -> Vector:
        """Return one cost for the costs of each architecture seen, n; NaN where it failed."""
        if self._costs.shape[1] == 1 or np.isnan(self._costs).all():
            return self._costs[:, 0]
        least, greatest = np.nanmin(self._costs, axis=0), np.nanmax(self._costs, axis=0)
        scaled = (self._costs - least) / np.maximum(greatest - least, np.finfo(np.float64).tiny)
        # the small sum tells apart what the largest alone does not
        merits: Vector = (self._weights * scaled).max(axis=1) + 1e-3 * scaled.sum(axis=1)
        return merits
