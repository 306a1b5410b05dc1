"""Local search: from a random architecture to a better neighbour, as long as there is one."""

import numpy as np
import numpy.typing as npt

from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.searcher import Costs, SearcherSettings, Violations
from predictors.predictor import Vector
from search_spaces import Population, SearchSpace


class LocalSearcher:
    """First improvement with restarts (White et al., arXiv:2005.02960, move to the best one).

    Neighbours differ in one dimension. They are looked at in random order, and the search moves to
    the first that is better: that exceeds the limits less or, where that is equal, costs less. What
    was seen before costs nothing; the rest is asked for, `batch` at a time. Where no neighbour is
    left the search begins anew at a random architecture.

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
        self._neighbours = self._first[:0]  # of where the search stands, not yet looked at
        self._seen = self._first[:0]
        self._row_of: dict[int, int] = {}  # among what was seen, by the network's number
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
            asked = self._next()
            if not len(asked) and len(self._weights) > 1:
                self._begin_at_the_best()
                asked = self._next()
            if not len(asked):
                self._current = None
                asked = draw_feasible(self._proposed, 1, self._rng, self._settings)
        self._proposed.add(asked)
        return asked

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Move to the first that is better than where the search stands."""
        rows = range(len(self._seen), len(self._seen) + len(population))
        self._seen = np.concatenate([self._seen, population])
        self._costs = np.concatenate([self._costs, costs])
        self._violations = np.concatenate([self._violations, violations])
        self._row_of.update(zip(self._proposed.numbers(population), rows, strict=True))
        better = np.flatnonzero(self._is_better(np.array(rows)))
        if len(better):
            self._move(rows[better[0]])

    def _next(self) -> Population:
        """Look at neighbours up to the next new ones, moving over better ones seen before."""
        while len(self._neighbours):
            numbers = self._proposed.numbers(self._neighbours)
            rows = np.array([self._row_of.get(number, -1) for number in numbers])
            is_new = rows < 0
            is_better = ~is_new & self._is_better(rows)
            self._neighbours = self._neighbours[is_new | is_better]
            num_new = int(np.argmin(np.append(is_new[is_new | is_better], False)))
            if num_new:
                asked = self._neighbours[: min(num_new, self._settings.batch)]
                self._neighbours = self._neighbours[len(asked) :]
                return self._proposed.fresh(asked)
            if is_better.any():
                self._move(int(rows[np.argmax(is_better)]))
        return self._neighbours

    def _is_better(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Tell which of what was seen is better than where the search stands; nothing failed is."""
        merits, violations = self._merits(), self._violations
        if self._current is None:
            return np.isfinite(violations[rows])
        less = violations[rows] < violations[self._current]
        equal = violations[rows] == violations[self._current]
        return np.asarray(less | (equal & (merits[rows] < merits[self._current])))

    def _move(self, row: int) -> None:
        self._current = row
        neighbours = self._space.neighbours(self._seen[row])
        no_worse = self._settings.known_violations(neighbours) <= self._violations[row]
        self._neighbours = self._rng.permutation(neighbours[no_worse])

    def _begin_at_the_best(self) -> None:
        self._weights = self._rng.dirichlet(np.ones_like(self._weights))
        if np.isfinite(self._violations).any():
            self._move(int(np.lexsort((self._merits(), self._violations))[0]))

    def _merits(self) -> Vector:
        """Return one cost for the costs of each architecture seen, n; NaN where it failed."""
        if self._costs.shape[1] == 1 or np.isnan(self._costs).all():
            return self._costs[:, 0]
        least, greatest = np.nanmin(self._costs, axis=0), np.nanmax(self._costs, axis=0)
        scaled = (self._costs - least) / np.maximum(greatest - least, np.finfo(np.float64).tiny)
        # the small sum tells apart what the largest alone does not
        merits: Vector = (self._weights * scaled).max(axis=1) + 1e-3 * scaled.sum(axis=1)
        return merits
