"""NSGA-II on index matrices."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.duplicate import DefaultDuplicateElimination
from pymoo.core.infill import InfillCriterion
from pymoo.core.population import Population as Individuals
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination

from search_spaces import Population, SearchSpace


class NSGA2Searcher:
    """Deb et al., A fast and elitist multiobjective genetic algorithm (2002), by pymoo's ask and
    tell.

    Selection and survival are pymoo's; sampling, crossover and mutation are the space's, on whole
    matrices. The first population spreads from the smallest to the largest architecture.

    Args:
        num_objectives: m, columns of the costs it will be told.
        population_size: architectures a generation.
    """

    def __init__(
        self,
        space: SearchSpace,
        rng: np.random.Generator,
        num_objectives: int = 2,
        population_size: int = 100,
    ) -> None:
        first = np.concatenate(
            [space.smallest(), space.largest(), space.sample_levels(4 * population_size, rng)]
        )
        self._algorithm = NSGA2(
            pop_size=population_size,
            sampling=space.unique(first)[:population_size],
            mating=_IndexMating(space, rng),
        )
        problem = Problem(space.num_dimensions, num_objectives, n_ieq_constr=1, vtype=int)
        self._algorithm.setup(
            problem, termination=NoTermination(), seed=int(rng.integers(2**31)), verbose=False
        )
        self._asked: Any = None

    def ask(self) -> Population:
        """Return the next generation; fewer rows, or none, where the space has nothing new."""
        self._asked = self._algorithm.ask()
        if self._asked is None or len(self._asked) == 0:
            return np.zeros((0, self._algorithm.problem.n_var), dtype=np.int16)
        return np.asarray(self._asked.get("X"), dtype=np.int16)

    def tell(
        self,
        population: Population,
        costs: npt.NDArray[np.float64],
        violations: npt.NDArray[np.float64],
    ) -> None:
        """Learn the costs and violations of the architectures asked last."""
        if self._asked is None or len(population) != len(self._asked):
            raise AssertionError("tell what was asked")
        self._asked.set("F", costs, "G", violations[:, None])
        for individual in self._asked:
            individual.evaluated.update({"F", "G", "H"})
        self._algorithm.tell(infills=self._asked)


class _IndexMating(InfillCriterion):  # type: ignore[misc]
    """Binary tournaments, uniform crossover, mutation; children that exist already are dropped."""

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        super().__init__(eliminate_duplicates=DefaultDuplicateElimination(), n_max_iterations=20)
        self._space, self._rng = space, rng

    def _do(self, problem: Problem, pop: Individuals, n_offsprings: int, **_: Any) -> Individuals:
        genomes = np.asarray(pop.get("X"), dtype=np.int16)
        rank, crowding, violation = (np.ravel(pop.get(key)) for key in ("rank", "crowding", "CV"))
        # place of each parent: feasible first, then by front, then the least crowded
        place = np.empty(len(pop), dtype=np.intp)
        keys = (-crowding.astype(float), rank.astype(float), violation.astype(float))
        place[np.lexsort(keys)] = np.arange(len(pop))
        rivals = self._rng.integers(0, len(pop), (2, 2, n_offsprings))
        better = place[rivals[:, 0]] <= place[rivals[:, 1]]
        parents = np.where(better, rivals[:, 0], rivals[:, 1])
        children = self._space.crossover(genomes[parents[0]], genomes[parents[1]], self._rng)
        rate = 1 / self._space.num_dimensions
        return Individuals.new("X", self._space.mutate(children, rate, self._rng))
