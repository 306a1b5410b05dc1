"""A search as a recipe asks for it: its searcher, its loop, its progress."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nas.config import SearchConfig
from nas.searching.loop import Callback, LoopSettings, Measure, Progress, SearchOutcome, search_loop
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
) -> SearchOutcome:
    """Search until as many architectures were evaluated as the recipe allows, or sooner.

    Args:
        report: called with evaluations done and a few words (the best so far, the hypervolume).
        measure: of the objectives that are measured.
        start: architectures of the part to begin with, k x d.

    Raises:
        InputError: an unknown searcher, or too many evaluations that fail.
        InfeasibleError: a limit that nothing reaches, or no architecture found that keeps all.
    """
    if config.searcher not in SEARCHERS:
        raise unknown_name("searcher", config.searcher, SEARCHERS)
    problem.check_feasible()
    settings = LoopSettings(
        evaluations=num_evaluations(config),
        stall=config.stall,
        seconds=config.seconds or float("inf"),
    )
    settings_of_searcher = searcher_settings(problem, config, start)
    searcher = SEARCHERS[config.searcher](problem.part.space, rng, settings_of_searcher)

    shown = -SECONDS_BETWEEN_NOTES
    note = ""

    def show(progress: Progress) -> None:
        nonlocal shown, note
        if time.monotonic() - shown >= SECONDS_BETWEEN_NOTES:
            shown, note = time.monotonic(), describe(progress, problem)
        report(progress.evaluations, note=note)

    return search_loop(problem, searcher, settings, measure, [show, *callbacks])


def num_evaluations(config: SearchConfig) -> int:
    """Return how many architectures a search evaluates at most."""
    return config.measured_evaluations or config.population * config.generations


def searcher_settings(
    problem: SearchProblem, config: SearchConfig, start: Population | None = None
) -> SearcherSettings:
    """Return what a searcher is built for; it begins with what is given and, under limits, with
    one that keeps them.
    """
    given = [start, problem.feasible_start() if problem.limits else None]
    first = [one for one in given if one is not None]
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
        start=np.concatenate(first) if first else None,
        storage=config.storage,
        study=config.study,
    )


def additive_start(problem: SearchProblem, n: int, rng: np.random.Generator) -> Population:
    """Return up to `n` architectures of the part that are best for an additive model of the
    problem's predictions and keep all limits.
    """
    space = problem.part.space
    population = space.unique(space.sample_levels(FITTED, rng))
    evaluation = problem.evaluate(problem.part.embed(population))
    rows = np.isfinite(evaluation.violations)
    best = exact_start(space, population[rows], evaluation.costs[rows], n, rng)
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
