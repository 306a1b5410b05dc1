"""Evolution of a population: regularised by age, or constrained as once-for-all's."""

import math
from dataclasses import dataclass

import numpy as np

from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.ranking import best_first
from nas.searching.searchers.searcher import Costs, SearcherSettings, Violations
from search_spaces import Population, SearchSpace

MAX_ROUNDS = 20  # of breeding, before random architectures fill an answer up
MARGIN = 1.2  # more than are missing, as a second round costs as much as the first
LEAST_USABLE, MOST_USABLE = 0.1, 1.0  # shares of the bred that are counted on


@dataclass(frozen=True)
class EvolutionRules:
    """What makes one evolution another.

    Args:
        ages: the oldest leave the pool of parents; else the worst do.
        parents: size of that pool, as a share of the population.
        tournament: the share of the parents that compete to have a child; at least one does.
        crossover: share of the children that have two parents; the others are mutated.
        mutation: probability of a dimension to change; at least one does.
        generations: whether a whole population is asked for at a time, not a batch.
    """

    ages: bool
    parents: float
    tournament: float
    crossover: float
    mutation: float
    generations: bool


REGULARISED = EvolutionRules(
    ages=True, parents=1.0, tournament=0.5, crossover=0.0, mutation=0.0, generations=False
)
CONSTRAINED = EvolutionRules(
    ages=False, parents=0.25, tournament=0.0, crossover=0.5, mutation=0.1, generations=True
)


class Evolution:
    """A random population first, then children of the pool of parents.

    Of several objectives, the better one of two is on the earlier front, or in the less crowded
    place of the same. Limits that are known beforehand are kept by rejection, before anything is
    evaluated; failed evaluations have no children.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        space: SearchSpace,
        rng: np.random.Generator,
        settings: SearcherSettings,
        rules: EvolutionRules,
    ) -> None:
        self._space, self._rng, self._settings, self._rules = space, rng, settings, rules
        self._proposed = Proposed(space, rng)
        self._size = settings.population if rules.generations else settings.batch
        self._pool_size = max(2, round(rules.parents * settings.population))
        given = self._proposed.fresh(settings.first(space))
        missing = max(settings.population - len(given), 0)
        drawn = draw_feasible(self._proposed, missing, rng, settings)
        self._waiting = self._proposed.fresh(np.concatenate([given, drawn]))
        self._pool = self._waiting[:0]  # the oldest first where they age, else the best
        self._costs = np.zeros((0, settings.num_objectives))
        self._violations = np.zeros(0)
        self._usable = MOST_USABLE  # share of those bred last that were new and kept the limits

    def ask(self) -> Population:
        """Return the next of the first population, or children; none where nothing is left."""
        asked, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        if not len(asked):
            asked = self._children() if len(self._pool) else self._random(self._size)
        self._proposed.add(asked)
        return asked

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Take into the pool of parents what did not fail."""
        kept = np.isfinite(violations) & np.isfinite(costs).all(axis=1)
        self._pool = np.concatenate([self._pool, population[kept]])
        self._costs = np.concatenate([self._costs, costs[kept]])
        self._violations = np.concatenate([self._violations, violations[kept]])
        if self._rules.ages:
            stay = np.arange(len(self._pool))[-self._pool_size :]
        else:
            stay = best_first(self._costs, self._violations)[: self._pool_size]
        self._pool, self._costs = self._pool[stay], self._costs[stay]
        self._violations = self._violations[stay]

    def _random(self, n: int) -> Population:
        return draw_feasible(self._proposed, n, self._rng, self._settings)

    def _children(self) -> Population:
        """Breed until enough children are new and keep the known limits."""
        children = self._pool[:0]
        for _ in range(MAX_ROUNDS):
            missing = self._size - len(children)
            if missing <= 0:
                break
            num_bred = math.ceil(MARGIN * missing / self._usable)
            bred = self._proposed.fresh(self._bred(num_bred))
            if self._settings.known is not None:
                bred = bred[self._settings.known_violations(bred) == 0]
            self._usable = min(max(len(bred) / num_bred, LEAST_USABLE), MOST_USABLE)
            children = self._distinct(children, bred)
        if len(children) < self._size:
            children = self._distinct(children, self._random(self._size))
        return children

    def _distinct(self, first: Population, second: Population) -> Population:
        both = self._proposed.fresh(np.concatenate([first, second])) if len(first) else second
        return both[: self._size]

    def _bred(self, n: int) -> Population:
        """Return `n` children, mutated and crossed ones in random order."""
        order = np.arange(len(self._pool))
        if self._rules.ages:
            order = best_first(self._costs, self._violations)
        # the best of a tournament is the one that comes first in the order
        num_rivals = max(1, round(self._rules.tournament * len(order)))
        rivals = self._rng.integers(0, len(order), (2, n, num_rivals))
        first, second = (self._pool[order[places]] for places in rivals.min(axis=2))
        has_two = self._rng.random(n) < self._rules.crossover
        children: Population = first.copy()
        children[has_two] = self._space.crossover(first[has_two], second[has_two], self._rng)
        children[~has_two] = self._space.mutate(first[~has_two], self._rules.mutation, self._rng)
        return children


def regularised_evolution(
    space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings
) -> Evolution:
    """Build the ageing evolution of Real et al. (arXiv:1802.01548): the best of a tournament has a
    child that differs in one dimension, and the oldest dies.
    """
    return Evolution(space, rng, settings, REGULARISED)


def constrained_evolution(
    space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings
) -> Evolution:
    """Build once-for-all's evolution (arXiv:1908.09791): the best quarter of a population has the
    next one, half by mutation and half by crossover, all within the limits.
    """
    return Evolution(space, rng, settings, CONSTRAINED)
