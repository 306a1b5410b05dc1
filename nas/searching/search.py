"""A search as a recipe asks for it: its searcher, its loop, its progress."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nas.config import SearchConfig
from nas.searching.loop import Callback, LoopSettings, Measure, Progress, SearchOutcome, search_loop
from nas.searching.measured_log import MeasuredLog
from nas.searching.problem import SearchProblem
from nas.searching.searchers import SEARCHERS, Known, SearcherSettings
from nas.searching.searchers.exact import exact_start
from search_spaces import Population, unknown_name

MEASURED_GENERATIONS = 5  # at least, where every evaluation is a measurement
FITTED = 500  # predicted architectures that an additive model is fitted to
SECONDS_BETWEEN_NOTES = 0.2  # a hypervolume takes milliseconds
Report = Callable[..., Any]
Search = Callable[[SearchProblem, SearchConfig, np.random.Generator], SearchOutcome]
"""A search of which only the problem, the settings and the randomness are open."""


def search(
    problem: SearchProblem,
    config: SearchConfig,
    rng: np.random.Generator,
    report: Report = lambda done, note: None,
    measure: Measure | None = None,
    callbacks: Sequence[Callback] = (),
    start: Population | None = None,
    earlier: Population | None = None,
    ends: LoopSettings | None = None,
) -> SearchOutcome:
    """Search until as many architectures were evaluated as the recipe allows, or sooner.

    Args:
        report: called with evaluations done and a few words (the best so far, the hypervolume).
        measure: of the objectives that are measured.
        start: architectures of the part to begin with, k x d.
        earlier: architectures of the whole space that were measured before; the searcher begins
            with the best of them, where the search is not of a part.
        ends: when it ends; as the recipe says without.

    Raises:
        InputError: an unknown searcher, or too many evaluations that fail.
        InfeasibleError: a limit that nothing reaches, or no architecture found that keeps all.
    """
    if config.searcher not in SEARCHERS:
        raise unknown_name("searcher", config.searcher, SEARCHERS)
    problem.check_feasible()
    if earlier is not None and problem.part.space is problem.space:
        start = _joined([start, _best(problem, earlier, measure, config.population)])
    settings = searcher_settings(problem, config, start)
    searcher = SEARCHERS[config.searcher](problem.part.space, rng, settings)
    shown, note = -SECONDS_BETWEEN_NOTES, ""

    def show(progress: Progress) -> None:
        nonlocal shown, note
        if time.monotonic() - shown >= SECONDS_BETWEEN_NOTES:
            shown, note = time.monotonic(), describe(progress, problem)
        report(progress.evaluations, note=note)

    ends = ends or loop_settings(config)
    return search_loop(problem, searcher, ends, measure, [show, *callbacks], earlier)


class Rounds:
    """Searches for one result, each on better predictors: measurements and time are shared.

    Args:
        log: of what is measured, where something is.
        start: as in `search`.
    """

    def __init__(
        self,
        report: Report,
        log: MeasuredLog,
        callbacks: Sequence[Callback] = (),
        start: Population | None = None,
    ) -> None:
        self._report, self._log, self._callbacks, self._start = report, log, callbacks, start
        self._began, self._measured = time.monotonic(), 0

    def __call__(
        self, problem: SearchProblem, config: SearchConfig, rng: np.random.Generator
    ) -> SearchOutcome:
        """Search with what earlier rounds left; what they measured is known."""
        ends, earlier = loop_settings(config), None
        ends = replace(ends, seconds=ends.seconds - (time.monotonic() - self._began))
        if problem.measured:
            ends = replace(ends, evaluations=max(0, ends.evaluations - self._measured))
            known = self._log.everything if self._measured else self._log.earlier
            of_part = [problem.part.holds(problem.space.decode(row)) for row in known]
            earlier = known[np.array(of_part, dtype=np.bool_)]
        outcome = search(
            problem,
            config,
            rng,
            self._report,
            self._log,
            self._callbacks,
            self._start,
            earlier,
            ends,
        )
        self._measured += outcome.num_evaluations
        return outcome


def _best(
    problem: SearchProblem, population: Population, measure: Measure | None, n: int
) -> Population:
    """Return up to `n` architectures that keep all limits, of the least first cost; `k x d`."""
    found = measure(population) if measure and problem.measured else None
    evaluation = problem.evaluate(population, found)
    order = np.argsort(evaluation.costs[:, 0], kind="stable")
    return np.asarray(population[order[evaluation.violations[order] == 0][:n]])


def _joined(populations: Sequence[Population | None]) -> Population | None:
    given = [one for one in populations if one is not None]
    return np.concatenate(given) if given else None


def loop_settings(config: SearchConfig) -> LoopSettings:
    """Return when a search ends."""
    return LoopSettings(
        evaluations=num_evaluations(config),
        stall=config.stall,
        seconds=config.seconds or float("inf"),
    )


def num_evaluations(config: SearchConfig) -> int:
    """Return how many architectures a search evaluates at most."""
    return config.measured_evaluations or config.population * config.generations


def searcher_settings(
    problem: SearchProblem, config: SearchConfig, start: Population | None = None
) -> SearcherSettings:
    """Return what a searcher is built for; it begins with what is given and, under limits, with
    one that keeps them.
    """
    evaluations, population = num_evaluations(config), config.population
    if problem.measured:
        population = min(population, max(4, evaluations // MEASURED_GENERATIONS))
    return SearcherSettings(
        num_objectives=len(problem.objectives),
        population=population,
        batch=config.workers if problem.measured else population,
        evaluations=evaluations,
        measured=bool(problem.measured),
        known=_known(problem),
        start=_joined([start, problem.feasible_start() if problem.limits else None]),
    )


def additive_start(problem: SearchProblem, n: int, rng: np.random.Generator) -> Population:
    """Return up to `n` architectures of the part that are best for an additive model of the
    problem's predictions and keep all limits.
    """
    space = problem.part.space
    population = space.unique(space.sample_levels(FITTED, rng))
    evaluation = problem.evaluate(problem.part.embed(population))
    rows = np.flatnonzero(np.isfinite(evaluation.violations))
    kept = evaluation.rows(rows)
    best = exact_start(space, population[rows], kept.costs, kept.violations, n, rng)
    kept = problem.violations(problem.part.embed(best)) == 0
    return np.asarray(best[kept])


def _known(problem: SearchProblem) -> Callable[[Population], Known]:
    """Return what tells of architectures beforehand; where all costs are predicted, the limits
    only: to predict the costs is to evaluate.
    """

    def known(population: Population) -> Known:
        embedded = problem.part.embed(population)
        if problem.measured:
            return problem.known(embedded)
        nothing = np.full((len(population), len(problem.objectives)), np.nan)
        return Known(nothing, problem.violations(embedded))

    return known


def describe(progress: Progress, problem: SearchProblem) -> str:
    """Say how far a search is: the best that keeps all limits, and the hypervolume."""
    if progress.best is None:
        return "nothing keeps all limits yet"
    words = f"best {problem.objectives[0].name} {progress.best:.4g}"
    if len(problem.objectives) > 1:
        words += f", hypervolume {progress.hypervolume():.4f}"
    return words + (f", {progress.failed} failed" if progress.failed else "")
