"""NSGA-II on index matrices."""

from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.infill import InfillCriterion
from pymoo.core.population import Population as Individuals
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination

from nas.searching.searchers.feasible import draw_feasible
from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.searcher import Costs, SearcherSettings, Violations
from search_spaces import Population, SearchSpace

MATING_ROUNDS = 20  # before random architectures fill a generation up
FAILED = 1e30  # cost and violation of an evaluation that failed


class NSGA2Searcher:
    """Deb et al., A fast and elitist multiobjective genetic algorithm (2002), by pymoo's ask and
    tell.

    Selection and survival are pymoo's; sampling, crossover and mutation are the space's, on whole
    matrices. The first population spreads from the smallest to the largest architecture, within the
    limits that are known beforehand as far as architectures are found. Nothing is proposed twice.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self, space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings
    ) -> None:
        self._mating = _IndexMating(space, rng, settings)
        self._algorithm = NSGA2(
            pop_size=settings.population,
            sampling=_first_population(self._mating.proposed, space, rng, settings),
            mating=self._mating,
        )
        problem = Problem(space.num_dimensions, settings.num_objectives, n_ieq_constr=1, vtype=int)
        self._algorithm.setup(
            problem, termination=NoTermination(), seed=int(rng.integers(2**31)), verbose=False
        )
        self._asked: Any = None

    def ask(self) -> Population:
        """Return the next generation; fewer rows, or none, where the space has nothing new."""
        self._asked = self._algorithm.ask()
        if self._asked is None or len(self._asked) == 0:
            return np.zeros((0, self._algorithm.problem.n_var), dtype=np.int16)
        population = np.asarray(self._asked.get("X"), dtype=np.int16)
        self._mating.proposed.add(population)
        return population

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Learn the costs and violations of the architectures asked last."""
        if self._asked is None or len(population) != len(self._asked):
            raise AssertionError("tell what was asked")
        failed = np.asarray(np.isnan(costs).any(axis=1))
        costs = np.where(failed[:, None], FAILED, costs)
        violations = np.where(failed, FAILED, violations)
        self._asked.set("F", costs, "G", violations[:, None])
        for individual in self._asked:
            individual.evaluated.update({"F", "G", "H"})
        self._algorithm.tell(infills=self._asked)


def _first_population(
    proposed: Proposed, space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings
) -> Population:
    size, given = settings.population, settings.first(space)
    ends_and_between = [space.smallest(), space.largest(), space.sample_levels(4 * size, rng)]
    spread = np.concatenate(ends_and_between)
    spread = spread[settings.known_violations(spread) == 0]
    first = space.unique(np.concatenate([given, spread]))[:size]
    if len(first) < size:
        drawn = draw_feasible(proposed, size, rng, settings)
        first = space.unique(np.concatenate([first, drawn]))[:size]
    return settings.within(first)


class _IndexMating(InfillCriterion):  # type: ignore[misc]
    """Binary tournaments, uniform crossover, mutation; only architectures never proposed before."""

    def __init__(
        self, space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings
    ) -> None:
        super().__init__()
        self._space, self._rng, self._settings = space, rng, settings
        self.proposed = Proposed(space, rng)

    def do(self, problem: Problem, pop: Individuals, n_offsprings: int, **_: Any) -> Individuals:
        """Return `n_offsprings` new architectures; fewer, or none, where hardly any are left."""
        children = np.zeros((0, self._space.num_dimensions), dtype=np.int16)
        for _round in range(MATING_ROUNDS):
            if len(children) >= n_offsprings:
                break
            bred = self._settings.within(self._children(pop, n_offsprings))
            children = self.proposed.fresh(np.concatenate([children, bred]))
        if len(children) < n_offsprings:
            drawn = draw_feasible(self.proposed, n_offsprings, self._rng, self._settings)
            drawn = self._settings.within(drawn)
            children = self.proposed.fresh(np.concatenate([children, drawn]))
        return Individuals.new("X", children[:n_offsprings])

    def _children(self, pop: Individuals, n: int) -> Population:
        genomes = np.asarray(pop.get("X"), dtype=np.int16)
        rank, crowding, violation = (np.ravel(pop.get(key)) for key in ("rank", "crowding", "CV"))
        # place of each parent: feasible first, then by front, then the least crowded
        place = np.empty(len(pop), dtype=np.intp)
        keys = (-crowding.astype(float), rank.astype(float), violation.astype(float))
        place[np.lexsort(keys)] = np.arange(len(pop))
        rivals = self._rng.integers(0, len(pop), (2, 2, n))
        better = place[rivals[:, 0]] <= place[rivals[:, 1]]
        parents = np.where(better, rivals[:, 0], rivals[:, 1])
        children = self._space.crossover(genomes[parents[0]], genomes[parents[1]], self._rng)
        return self._space.mutate(children, 1 / self._space.num_dimensions, self._rng)
