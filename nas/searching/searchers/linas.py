"""Rounds of learning: predictors of all that was told, NSGA-II on them, then measuring."""

from collections.abc import Callable

import numpy as np
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.nsga2 import NSGA2Searcher
from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.searcher import Costs, Known, SearcherSettings, Violations
from nas.searching.searchers.told import Told
from nas.searching.surrogate import Rows
from nas.searching.targets import excess
from predictors.accuracy import ACCURACY_PREDICTORS
from predictors.predictor import Predictor, Vector
from search_spaces import Population, SearchSpace

PREDICTOR = "gaussian-process"
LEAST_TOLD = 5  # before predictors are fitted
INNER_POPULATION, INNER_GENERATIONS = 64, 25

Guessing = Callable[[Population], Known]


class LinasSearcher:
    """Lightweight iterative neural architecture search (Cummings et al., arXiv:2202.12954).

    The first round spreads from the smallest architecture to the largest. Before every other one a
    predictor is fitted to each objective that only a measurement tells (and one to the excess over
    limits, once any was exceeded), NSGA-II searches on the predictions, and of all it looked at the
    new architectures of the best fronts are measured, the least crowded first.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self, space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings
    ) -> None:
        self._space, self._rng, self._settings = space, rng, settings
        self._proposed = Proposed(space, rng)
        self._given = self._proposed.fresh(settings.first(space))
        self._told = Told(space.num_dimensions, settings.num_objectives)

    def ask(self) -> Population:
        """Return up to `population` architectures of a round; none where nothing new is left."""
        size = self._settings.population
        asked, self._given = self._given[:size], self._given[size:]
        if not len(asked) and self._told.succeeded.sum() >= LEAST_TOLD:
            asked = self._most_useful(size)
        if len(asked) < size:
            asked = self._filled(asked, size)
        self._proposed.add(asked)
        return asked

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Learn the costs and violations of the round asked last."""
        self._told.add(population, costs, violations)

    def _filled(self, asked: Population, size: int) -> Population:
        """Fill a round up: from the smallest to the largest architecture, then with any."""
        drawn = self._within(self._proposed.draw(2 * size, self._rng, levels=True))
        filled = self._proposed.fresh(np.concatenate([asked, drawn]))
        if len(filled) < size:
            drawn = self._within(draw_feasible(self._proposed, size, self._rng, self._settings))
            filled = self._proposed.fresh(np.concatenate([filled, drawn]))
        return filled[:size]

    def _within(self, population: Population) -> Population:
        return np.asarray(population[self._settings.known_violations(population) == 0])

    def _most_useful(self, size: int) -> Population:
        """Return the new architectures of the best predicted fronts."""
        guess = self._guessing()
        searched = self._proposed.fresh(self._within(self._searched(guess)))
        guessed = guess(searched)
        return searched[_by_usefulness(guessed.costs, guessed.violations, size)]

    def _searched(self, guess: Guessing) -> Population:
        """Return what NSGA-II looks at on guesses, from the best told on."""
        inner = SearcherSettings(
            num_objectives=self._settings.num_objectives,
            population=INNER_POPULATION,
            start=self._told.best(INNER_POPULATION // 2),
        )
        searcher = NSGA2Searcher(self._space, self._rng, inner)
        searched = []
        for _ in range(INNER_GENERATIONS):
            searched.append(searcher.ask())
            if not len(searched[-1]):
                break
            guessed = guess(searched[-1])
            searcher.tell(searched[-1], guessed.costs, guessed.violations)
        return np.concatenate(searched)

    def _guessing(self) -> Guessing:
        """Fit predictors to what only measurements tell; return what tells or guesses all."""
        rows = self._told.succeeded
        population, costs = self._told.population[rows], self._told.costs[rows]
        is_known = np.isfinite(self._known(population).costs).all(axis=0)
        fitted = {
            int(column): self._fitted(population, costs[:, column])
            for column in np.flatnonzero(~is_known)
        }
        limits: Predictor | None = None
        if (self._told.violations > 0).any():
            limits = self._fitted(self._told.population, excess(self._told.violations))

        def guess(population: Population) -> Known:
            known = self._known(population)
            guessed, violations = known.costs.copy(), known.violations
            for column, predictor in fitted.items():
                guessed[:, column] = predictor.predict(population).mean
            if limits is not None:
                violations = violations + np.maximum(limits.predict(population).mean, 0.0)
            return Known(guessed, violations)

        return guess

    def _fitted(self, population: Population, targets: Vector) -> Predictor:
        seed = int(self._rng.integers(2**31))
        predictor = ACCURACY_PREDICTORS[PREDICTOR](self._space, seed, self._settings.features)
        predictor.fit(population, targets)
        return predictor

    def _known(self, population: Population) -> Known:
        if self._settings.known is not None:
            return self._settings.known(population)
        nothing = np.full((len(population), self._settings.num_objectives), np.nan)
        return Known(nothing, np.zeros(len(population)))


def _by_usefulness(costs: Costs, violations: Violations, count: int) -> Rows:
    """Return the best rows: what exceeds limits least, then by fronts, the least crowded first."""
    if not len(costs):
        return np.zeros(0, dtype=np.intp)
    fronts = NonDominatedSorting().do(costs, n_stop_if_ranked=len(costs))
    place, crowding = np.empty(len(costs)), np.empty(len(costs))
    for number, front in enumerate(fronts):
        place[front], crowding[front] = number, calc_crowding_distance(costs[front])
    return np.lexsort((-crowding, place, violations))[:count]
