"""The loop of every search: ask, evaluate, tell, until something ends it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from nas.searching.pareto import hypervolume, non_dominated
from nas.searching.problem import Evaluation, SearchProblem
from nas.searching.searchers import Costs, Searcher
from nas.searching.searchers.proposed import Proposed
from predictors.predictor import Vector
from search_spaces import InfeasibleError, InputError, Population

Stopped = Literal["evaluations", "exhausted", "stalled", "time", "enough"]
Measure = Callable[[Population], Costs]
"""Measures the objectives that only a measurement tells: `n x d` to n x k, NaN where it failed."""

MOST_REPEATS = 1000  # answers in a row without a new network, before a searcher counts as exhausted
LEAST_FAILURES = 5  # before a share of failures says anything


@dataclass(frozen=True)
class LoopSettings:
    """When a search ends.

    Args:
        evaluations: distinct architectures at most.
        stall: end after so many evaluations without a better one; 0 never does.
        seconds: end after this time.
        most_failed: the share of evaluations that may fail.
        enough: end once a first objective within the limits is as low as this.
    """

    evaluations: int
    stall: int = 0
    seconds: float = float("inf")
    most_failed: float = 0.5
    enough: float = -float("inf")


@dataclass
class Progress:
    """How far a search is; callbacks get it after every `tell`."""

    reference: Vector  # m
    evaluations: int = 0
    failed: int = 0
    since_better: int = 0  # evaluations since the front last moved
    front: Costs = field(default_factory=lambda: np.zeros((0, 0)))  # k x m, all limits kept
    latest: Evaluation | None = None  # of the new architectures of the last answer

    @property
    def best(self) -> float | None:
        """Least first objective of those that keep all limits."""
        return float(self.front[:, 0].min()) if len(self.front) else None

    def hypervolume(self) -> float:
        """Share of the box from 0 to the reference that the front dominates."""
        return hypervolume(self.front, self.reference) if len(self.front) else 0.0

    def add(self, evaluation: Evaluation) -> None:
        """Count evaluations, and move the front where they are better."""
        self.latest = evaluation
        new = len(evaluation.violations)
        self.evaluations += new
        self.since_better += new
        self.failed += int(np.isnan(evaluation.costs[:, 0]).sum())
        self.begin(evaluation)

    def begin(self, evaluation: Evaluation) -> None:
        """Move the front where something is better, without counting."""
        costs = evaluation.costs[evaluation.violations == 0]
        if len(self.front):
            no_worse = (self.front[:, None] <= costs).all(axis=2)
            costs = costs[~no_worse.any(axis=0)]
        if len(costs):
            every = np.concatenate([self.front, costs]) if len(self.front) else costs
            self.front = every[non_dominated(every)]
            self.since_better = 0


Callback = Callable[[Progress], None]


@dataclass(frozen=True)
class SearchOutcome:
    """Everything a search saw that keeps the limits, without repeats, least first objective
    first.
    """

    population: Population  # n x d
    costs: Costs  # n x m
    num_evaluations: int  # distinct architectures, those beyond the limits included
    num_failed: int = 0
    stopped: Stopped = "evaluations"
    notes: tuple[str, ...] = ()

    def front(self) -> npt.NDArray[np.intp]:
        """Return the rows that no other row beats in all objectives."""
        return non_dominated(self.costs)

    def hypervolume(self, reference: Sequence[float] | Vector) -> float:
        """Share of the box from 0 to a reference (m) that the front dominates."""
        return hypervolume(self.costs[self.front()], reference)


def search_loop(
    problem: SearchProblem,
    searcher: Searcher,
    settings: LoopSettings,
    measure: Measure | None = None,
    callbacks: Sequence[Callback] = (),
    earlier: Population | None = None,
) -> SearchOutcome:
    """Drive a searcher until it has nothing new, or the settings end it.

    Networks that are equal count once; of an answer that goes beyond the evaluations allowed, only
    so many are evaluated.

    Args:
        measure: of the objectives that are measured.
        earlier: architectures of the whole space that were evaluated before, k x d: they belong to
            the outcome, and count as no evaluations where the searcher asks for them.

    Raises:
        InputError: too large a share of the evaluations failed.
        InfeasibleError: nothing was found that keeps all limits.
    """
    started, progress = time.monotonic(), Progress(problem.reference())
    counted = Proposed(problem.space, np.random.default_rng(0))
    populations, evaluations = [], []
    if earlier is not None and len(earlier):
        populations.append(earlier[counted.new_rows(earlier)])
        evaluations.append(_evaluate(problem, populations[0], measure))
        counted.add(earlier)
        progress.begin(evaluations[0])
    stopped: Stopped | None = "evaluations" if settings.evaluations == 0 else None
    repeats = 0
    while stopped is None:
        asked = searcher.ask()
        if not len(asked) or repeats > MOST_REPEATS:
            stopped = "exhausted"
            break
        embedded = problem.part.embed(asked)
        new = counted.new_rows(embedded)
        was_cut = len(new) > settings.evaluations - progress.evaluations
        if was_cut:
            new = new[: settings.evaluations - progress.evaluations]
            embedded, new = embedded[new], np.arange(len(new))
        evaluation = _evaluate(problem, embedded, measure)
        if not was_cut:
            searcher.tell(asked, evaluation.costs, evaluation.violations)
        counted.add(embedded)
        repeats = 0 if len(new) else repeats + 1
        populations.append(embedded[new])
        evaluations.append(evaluation.rows(new))
        progress.add(evaluations[-1])
        for callback in callbacks:
            callback(progress)
        _check_failures(problem, progress, settings)
        stopped = _end(progress, settings, time.monotonic() - started)
        stopped = "evaluations" if was_cut else stopped
    if not populations:
        raise InputError(f"the searcher proposes nothing in {problem.part.space.name}")
    notes = searcher.notes
    return _outcome(problem, np.concatenate(populations), evaluations, progress, stopped, notes)


def _evaluate(
    problem: SearchProblem, population: Population, measure: Measure | None
) -> Evaluation:
    found = measure(population) if measure and problem.measured else None
    return problem.evaluate(population, found)


def _end(progress: Progress, settings: LoopSettings, seconds: float) -> Stopped | None:
    """Tell what ends a search now, if anything does."""
    if progress.evaluations >= settings.evaluations:
        return "evaluations"
    if progress.best is not None and progress.best <= settings.enough:
        return "enough"
    if settings.stall and progress.since_better >= settings.stall:
        return "stalled"
    return "time" if seconds > settings.seconds else None


def _no_number(problem: SearchProblem) -> str:
    """Say what may have failed to give a number."""
    names = [*problem.quantities(), *problem.measured]
    reasons = "; the log of measurements holds the reasons" if problem.measured else ""
    return f"expected a finite number of each of {', '.join(names)}{reasons}"


def _check_failures(problem: SearchProblem, progress: Progress, settings: LoopSettings) -> None:
    most = settings.most_failed * progress.evaluations
    if progress.failed >= LEAST_FAILURES and progress.failed > most:
        raise InputError(
            f"{progress.failed} of {progress.evaluations} evaluations failed, more than "
            f"{settings.most_failed:.0%} of them: {_no_number(problem)}"
        )


def _outcome(
    problem: SearchProblem,
    seen: Population,
    evaluations: Sequence[Evaluation],
    progress: Progress,
    stopped: Stopped,
    notes: tuple[str, ...],
) -> SearchOutcome:
    costs = np.concatenate([one.costs for one in evaluations])
    violations = np.concatenate([one.violations for one in evaluations])
    feasible = np.flatnonzero(violations == 0)
    if not len(feasible):
        finite = violations[np.isfinite(violations)]
        if not len(finite):
            raise InputError(f"all {len(seen)} evaluations failed: {_no_number(problem)}")
        closest = f"the closest exceeds them by {finite.min():.1%}"
        raise InfeasibleError(
            f"no architecture found that keeps all limits together ({problem.describe_limits()}); "
            f"{closest}; loosen one"
        )
    best = feasible[np.argsort(costs[feasible, 0], kind="stable")]
    return SearchOutcome(
        population=seen[best],
        costs=costs[best],
        num_evaluations=progress.evaluations,
        num_failed=progress.failed,
        stopped=stopped,
        notes=notes,
    )
