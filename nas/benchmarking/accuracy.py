"""How well accuracy predictors rank a published table from few of its rows."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hardware_profiles.artifact import Frozen
from nas.benchmarking.scores import ZeroCostScores
from nas.benchmarking.search import Spread
from nas.benchmarking.tables import BenchmarkTable
from predictors.accuracy import ACCURACY_PREDICTORS
from predictors.accuracy.auto import AutoAccuracy
from predictors.predictor import (
    ErrorReport,
    Vector,
    baseline_guesses,
    error_report,
)
from search_spaces import InputError, Population, unknown_name

BASELINES = ("constant", "parameters", "MACs")
COVERAGE = 0.9
LEAST_SAMPLES = 5
LEAST_TESTED = 10


class AccuracyBenchmark(Frozen):
    """What is compared: predictors and baselines by name, all of them by default."""

    predictors: tuple[str, ...] = (*BASELINES, *ACCURACY_PREDICTORS)
    accuracy_column: str = ""
    samples: tuple[int, ...] = (20, 50, 100, 200, 400)
    draws: int = Field(20, ge=1)
    seed: int = Field(0, ge=0)


class AccuracyRow(Frozen):
    """One predictor with one number of samples: quartiles over the draws, on networks it was not
    fitted on, each counted once. Ranks of a constant are None.
    """

    samples: int
    predictor: str
    encoding: str  # what it sees of architectures, joined by "+"
    kendall: Spread | None
    spearman: Spread | None
    rmse: Spread  # in the unit of the column
    coverage_of_90: float | None  # share of values below the upper bound that states 90 %, mean
    draws: int
    tested: int  # networks, the fewest of all draws
    seconds: float  # of a fit, mean
    auto_chose: dict[str, float] = Field(default_factory=dict)  # mean share in what `auto` says


@dataclass
class _Figures:
    """What one predictor reached, draw by draw."""

    reports: list[ErrorReport] = field(default_factory=list)
    covered: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    weights: list[dict[str, float]] = field(default_factory=list)
    encoding: str = ""


@dataclass(frozen=True)
class _Networks:
    """Distinct networks of a table: what is measured, and what tells two of them apart."""

    population: Population  # n x d
    accuracy: Vector  # n
    same: npt.NDArray[np.intp]  # n: equal where two rows are the same network after all


def run_accuracy_benchmark(
    table: BenchmarkTable,
    settings: AccuracyBenchmark,
    scores: ZeroCostScores | None = None,
    advance: Callable[[int, str], object] = lambda done, samples: None,
) -> Iterator[AccuracyRow]:
    """Yield a row for every number of samples and every predictor.

    The table's classes count once each, by their first row; a class that the space knows to be the
    same network as a measured one is not tested either. With scores, networks without them are left
    out.

    Args:
        scores: further columns for the predictors.
        advance: told the number of draws done and what is at work.

    Raises:
        InputError: an unknown predictor or column, accuracies among the scores, costs of a space
            that has none, or more samples than networks.
    """
    networks = _networks(table, settings, scores)
    for position, samples in enumerate(settings.samples):
        figures = {name: _Figures() for name in settings.predictors}
        tested = []
        for draw in range(settings.draws):
            rng = np.random.default_rng([settings.seed, samples, draw])
            measured = rng.choice(len(networks.accuracy), samples, replace=False)
            test = np.flatnonzero(~np.isin(networks.same, networks.same[measured]))
            if len(test) < LEAST_TESTED:
                raise InputError(f"--samples: {samples} leave only {len(test)} networks to test on")
            tested.append(len(test))
            _baselines(table, networks, measured, test, figures)
            for name in settings.predictors:
                if name not in BASELINES:
                    seed = settings.seed + draw
                    _judge(name, seed, table, scores, networks, measured, test, figures[name])
            advance(position * settings.draws + draw + 1, f"{samples} samples")
        for name, found in figures.items():
            yield _row(samples, name, found, min(tested))


def _networks(
    table: BenchmarkTable, settings: AccuracyBenchmark, scores: ZeroCostScores | None
) -> _Networks:
    for name in settings.predictors:
        if name not in (known := (*BASELINES, *ACCURACY_PREDICTORS)):
            raise unknown_name("predictor", name, known)
        if name in BASELINES[1:] and not table.space.slots:
            raise InputError(f"the {name} of {table.space.name} are not known; leave them out")
    accuracy = table.accuracy(settings.accuracy_column)
    known = () if scores is None else scores.names
    if answers := [n for n in known if n == settings.accuracy_column or "acc" in n]:
        raise InputError(f"--scores: expected no accuracies, got {', '.join(answers)}")
    rows = table.class_representatives
    if scores is not None:
        rows = rows[scores.covers(table.population[rows])]
    most = len(rows) - LEAST_TESTED
    if not settings.samples or not all(LEAST_SAMPLES <= n <= most for n in settings.samples):
        raise InputError(
            f"expected sample counts from {LEAST_SAMPLES} to {most} for {table.path}, got "
            f"{', '.join(map(str, settings.samples)) or 'none'}"
        )
    population = table.population[rows]
    keys = table.space.equivalence_key(population)
    same = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return _Networks(population, accuracy[rows], same)


def _baselines(
    table: BenchmarkTable,
    networks: _Networks,
    measured: npt.NDArray[np.intp],
    test: npt.NDArray[np.intp],
    figures: dict[str, _Figures],
) -> None:
    """Judge those of the baselines that are asked for."""
    known = []
    for rows in (measured, test):
        xs = {}
        if table.space.slots:
            costs = table.space.layers.costs(networks.population[rows])
            xs = {"parameters": costs.num_params, "MACs": costs.macs}
        known.append({name: x for name, x in xs.items() if name in figures})
    if "constant" in figures or known[0]:
        truth = networks.accuracy[test]
        guesses = baseline_guesses(known[0], networks.accuracy[measured], known[1])
        for name in figures.keys() & guesses.keys():
            figures[name].reports.append(error_report(guesses[name], truth))
            figures[name].encoding = name


def _judge(
    name: str,
    seed: int,
    table: BenchmarkTable,
    scores: ZeroCostScores | None,
    networks: _Networks,
    measured: npt.NDArray[np.intp],
    test: npt.NDArray[np.intp],
    figures: _Figures,
) -> None:
    predictor = ACCURACY_PREDICTORS[name](table.space, seed, scores)
    started = time.perf_counter()
    predictor.fit(networks.population[measured], networks.accuracy[measured])
    figures.seconds.append(time.perf_counter() - started)
    prediction = predictor.predict(networks.population[test])
    truth = networks.accuracy[test]
    figures.reports.append(error_report(prediction.mean, truth))
    figures.covered.append(float(np.mean(truth <= prediction.upper(COVERAGE))))
    figures.encoding = "+".join(predictor.encodings)
    if isinstance(predictor, AutoAccuracy):
        figures.weights.append(dict(predictor.choice.weights))


def _row(samples: int, name: str, figures: _Figures, tested: int) -> AccuracyRow:
    reports, draws = figures.reports, len(figures.reports)
    chosen = dict.fromkeys(key for weights in figures.weights for key in weights)
    return AccuracyRow(
        samples=samples,
        predictor=name,
        encoding=figures.encoding,
        kendall=_spread([report.kendall for report in reports]),
        spearman=_spread([report.spearman for report in reports]),
        rmse=_quartiles([report.rmse for report in reports]),
        coverage_of_90=float(np.mean(figures.covered)) if figures.covered else None,
        draws=draws,
        tested=tested,
        seconds=float(np.mean(figures.seconds or [0.0])),
        auto_chose={k: sum(w.get(k, 0.0) for w in figures.weights) / draws for k in chosen},
    )


def _spread(ranks: Sequence[float | None]) -> Spread | None:
    """Return the quartiles; a constant's rank counts as 0 unless all are constant."""
    if all(rank is None for rank in ranks):
        return None
    return _quartiles([rank or 0.0 for rank in ranks])


def _quartiles(values: Sequence[float]) -> Spread:
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return Spread(lower_quartile=lower, median=median, upper_quartile=upper)
