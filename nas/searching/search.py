"""Search on predictors: ask, evaluate whole populations, tell; keep every architecture seen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.config import SearchConfig
from nas.searching.pareto import hypervolume, non_dominated
from nas.searching.problem import Evaluation, SearchProblem
from nas.searching.searchers import SEARCHERS, SearcherSettings
from search_spaces import InfeasibleError, Population, unknown_name


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
    settings = SearcherSettings(
        population=config.population, evaluations=config.population * config.generations
    )
    searcher = SEARCHERS[config.searcher](problem.part.space, rng, settings)
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
