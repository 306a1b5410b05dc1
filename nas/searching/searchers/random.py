"""Random search without replacement: what every searcher must beat."""

import numpy as np

from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.proposed import ENUMERABLE, Proposed
from nas.searching.searchers.searcher import Costs, SearcherSettings, Violations
from search_spaces import Population, SearchSpace


class RandomSearcher:
    """Distinct networks in random order (Li and Talwalkar, arXiv:1902.07638).

    In a small space every network is as likely as any other. In a large one every dimension is
    uniform over its options, so networks that many architectures stand for come early.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self, space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings
    ) -> None:
        self._rng, self._settings, self._size = rng, settings, settings.population
        self._proposed = Proposed(space, rng)
        first = settings.first(space)
        if space.num_architectures <= ENUMERABLE:
            networks = rng.permutation(space.unique(space.all_architectures()))
            first = np.concatenate([first, networks])
        self._waiting = settings.within(self._proposed.fresh(first))

    def ask(self) -> Population:
        """Return as many architectures as a generation; fewer, or none, where few are left."""
        population, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        if len(population) < self._size:
            drawn = draw_feasible(self._proposed, 2 * self._size, self._rng, self._settings)
            drawn = self._settings.within(drawn)
            population = self._proposed.fresh(np.concatenate([population, drawn]))[: self._size]
        self._proposed.add(population)
        return population

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Learn nothing."""
