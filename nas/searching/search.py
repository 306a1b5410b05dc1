"""Search on predictors: ask, evaluate whole populations, tell; keep every architecture seen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from nas.config import SearchConfig
from nas.searching.nsga2 import NSGA2Searcher
from nas.searching.problem import Evaluation, SearchProblem
from nas.searching.searcher import Searcher
from search_spaces import InfeasibleError, Population, SearchSpace, unknown_name


def _nsga2(space: SearchSpace, config: SearchConfig, rng: np.random.Generator) -> Searcher:
    return NSGA2Searcher(space, rng, population_size=config.population)


SEARCHERS: dict[str, Callable[[SearchSpace, SearchConfig, np.random.Generator], Searcher]] = {
    "nsga2": _nsga2,
}


@dataclass(frozen=True)
class SearchOutcome:
    """Everything a search saw that keeps the limits, without repeats, best predicted loss first."""

    population: Population  # n x d
    evaluation: Evaluation  # of its rows
    num_evaluations: int  # distinct architectures evaluated, those beyond the limits included

    def front(self) -> npt.NDArray[np.intp]:
        """Return the rows that no other row beats in both predicted loss and latency."""
        return non_dominated(self.evaluation.objectives)

    def hypervolume(self, reference: tuple[float, float]) -> float:
        """Area between the front and a reference (loss, ms), as a share of the reference's box."""
        return hypervolume(self.evaluation.objectives[self.front()], reference)


def search(
    problem: SearchProblem,
    config: SearchConfig,
    rng: np.random.Generator,
    report: Callable[[int], Any] = lambda generation: None,
) -> SearchOutcome:
    """Run a searcher for `config.generations`, or until it has nothing new to propose.

    Raises:
        InputError: an unknown searcher.
        InfeasibleError: a limit that nothing reaches, or no architecture found that keeps all.
    """
    if config.searcher not in SEARCHERS:
        raise unknown_name("searcher", config.searcher, SEARCHERS)
    problem.check_feasible()
    searcher = SEARCHERS[config.searcher](problem.part.space, config, rng)
    populations: list[Population] = []
    for generation in range(config.generations):
        population = searcher.ask()
        if not len(population):
            break
        embedded = problem.part.embed(population)
        evaluation = problem.evaluate(embedded)
        searcher.tell(population, evaluation.objectives, evaluation.violations)
        populations.append(embedded)
        report(generation + 1)
    return _outcome(problem, problem.space.unique(np.concatenate(populations)))


def _outcome(problem: SearchProblem, seen: Population) -> SearchOutcome:
    evaluation = problem.evaluate(seen)
    feasible = np.flatnonzero(evaluation.violations == 0)
    if not len(feasible):
        closest = float(evaluation.violations.min())
        raise InfeasibleError(
            f"no architecture found that keeps all limits together ({problem.limits}); "
            f"the closest exceeds them by {closest:.1%}; loosen one"
        )
    best = feasible[np.argsort(evaluation.loss[feasible], kind="stable")]
    return SearchOutcome(
        seen[best],
        Evaluation(
            evaluation.loss[best],
            evaluation.latency_ms[best],
            evaluation.latency_upper_ms[best],
            evaluation.violations[best],
        ),
        len(seen),
    )


def non_dominated(objectives: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the rows of `n x m` minimised objectives that no other row beats, in order."""
    return np.sort(NonDominatedSorting().do(objectives, only_non_dominated_front=True))


def hypervolume(objectives: npt.NDArray[np.float64], reference: tuple[float, float]) -> float:
    """Share of the box from 0 to `reference` that `n x 2` minimised objectives dominate."""
    scaled = objectives / np.maximum(reference, np.finfo(np.float64).tiny)
    return float(HV(ref_point=np.ones(2))(scaled))
