"""How soon searchers find what is best in a published table, where all of it is known."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hardware_profiles.artifact import Frozen
from nas.benchmarking.table_objectives import TableObjectives, table_objectives
from nas.benchmarking.tables import BenchmarkTable
from nas.searching.loop import LoopSettings, Progress, search_loop
from nas.searching.searchers import SEARCHERS, Costs, Searcher, SearcherSettings
from predictors.encodings import Encoding
from predictors.predictor import Vector
from search_spaces import unknown_name

TOP_SHARE = 0.001
CURVE_POINTS = 40
QUARTILES = (0.25, 0.5, 0.75)


class SearchBenchmark(Frozen):
    """What is compared.

    `population` is a generation of those that work in generations; the others propose one
    architecture at a time. The hypervolume is counted from `reference_error` (%) and, of every
    latency, from `reference_latency` times the largest of the true front.
    """

    searchers: tuple[str, ...]
    accuracy_column: str = ""
    targets: tuple[str, ...] = ()
    seeds: int = Field(50, ge=1)
    evaluations: int = Field(500, ge=1)
    population: int = Field(20, ge=2)
    seed: int = Field(0, ge=0)
    hypervolume_at: tuple[int, ...] = (50, 100, 200, 500)
    reference_error: float = Field(15.0, gt=0)
    reference_latency: float = Field(1.1, gt=0)


class EvaluationsTo(Frozen):
    """Distinct evaluations until something is found, over the seeds.

    None where the seeds that did not find it leave it open.
    """

    median: float | None
    mean: float | None
    p90: float | None
    found: float  # share of the seeds


class Spread(Frozen):
    """The quartiles of a number over the seeds."""

    lower_quartile: float
    median: float
    upper_quartile: float


class SearchRow(Frozen):
    """One searcher over all seeds: with one objective the evaluations, else the hypervolumes."""

    searcher: str
    seeds: int
    seconds: float  # of one seed, mean
    evaluations_to_best: EvaluationsTo | None = None
    evaluations_to_top_permille: EvaluationsTo | None = None
    hypervolume_at: dict[int, Spread] = Field(default_factory=dict)  # shares of the true one


@dataclass(frozen=True)
class SearchCurve:
    """What was reached after how many distinct evaluations: quartiles over the seeds."""

    evaluations: npt.NDArray[np.intp]  # k
    quartiles: npt.NDArray[np.float64]  # 3 x k: best error so far (%), or share of the hypervolume


def run_search_benchmark(
    table: BenchmarkTable,
    settings: SearchBenchmark,
    features: Encoding | None = None,
    advance: Callable[[int, str], object] = lambda seeds, searcher: None,
) -> Iterator[tuple[SearchRow, SearchCurve]]:
    """Yield a row and a curve for every searcher.

    Args:
        features: what searchers may know of architectures beside their options, n x k.
        advance: told the number of searches done and which searcher is at work.

    Raises:
        InputError: an unknown searcher, column or target, a table that lacks architectures, or
            features that do.
    """
    for name in settings.searchers:
        if name not in SEARCHERS:
            raise unknown_name("searcher", name, SEARCHERS)
    objectives = table_objectives(table, settings.accuracy_column, settings.targets)
    if features is not None:
        features(objectives.table.population)  # all of them, before hours are spent
    for position, name in enumerate(settings.searchers):
        started, traces = time.perf_counter(), []
        for seed in range(settings.seeds):
            traces.append(_trace(name, seed, objectives, settings, features))
            advance(position * settings.seeds + seed + 1, name)
        seconds = (time.perf_counter() - started) / settings.seeds
        yield _summary(name, seconds, traces, objectives, settings)


def _trace(
    name: str,
    seed: int,
    objectives: TableObjectives,
    settings: SearchBenchmark,
    features: Encoding | None,
) -> Costs:
    """Run one search; return the costs of the distinct networks in the order of evaluation."""
    build_settings = SearcherSettings(
        num_objectives=objectives.costs.shape[1],
        population=settings.population,
        evaluations=settings.evaluations,
        features=features,
    )
    rng = np.random.default_rng((settings.seed, seed))
    searcher = SEARCHERS[name](objectives.space, rng, build_settings)
    is_single = objectives.costs.shape[1] == 1
    enough = float(objectives.costs.min()) if is_single else -np.inf
    return evaluated(searcher, objectives, LoopSettings(settings.evaluations, enough=enough))


def evaluated(searcher: Searcher, objectives: TableObjectives, settings: LoopSettings) -> Costs:
    """Search a table; return the costs of the distinct networks, n x m, in order."""
    costs: list[Costs] = []

    def remember(progress: Progress) -> None:
        assert progress.latest is not None
        costs.append(progress.latest.costs)

    search_loop(objectives.problem, searcher, settings, callbacks=[remember])
    return np.concatenate(costs)


def _summary(
    name: str,
    seconds: float,
    traces: list[Costs],
    objectives: TableObjectives,
    settings: SearchBenchmark,
) -> tuple[SearchRow, SearchCurve]:
    row = SearchRow(searcher=name, seeds=len(traces), seconds=seconds)
    few, all_of_them = max(1, settings.evaluations / 100), settings.evaluations
    points = np.unique(np.geomspace(few, all_of_them, CURVE_POINTS).round().astype(np.intp))
    if objectives.costs.shape[1] == 1:
        return _to_the_best(row, points, traces, objectives, settings)
    return _to_the_front(row, points, traces, objectives, settings)


def _to_the_best(
    row: SearchRow,
    points: npt.NDArray[np.intp],
    traces: list[Costs],
    objectives: TableObjectives,
    settings: SearchBenchmark,
) -> tuple[SearchRow, SearchCurve]:
    errors = np.sort(objectives.of_networks[:, 0])
    top = errors[int(np.ceil(TOP_SHARE * len(errors))) - 1]
    best = [np.minimum.accumulate(trace[:, 0]) for trace in traces]
    counts = {
        "evaluations_to_best": _evaluations_to(errors[0], best, settings.evaluations),
        "evaluations_to_top_permille": _evaluations_to(top, best, settings.evaluations),
    }
    reached = np.array([one[np.minimum(points, len(one)) - 1] for one in best])
    curve = SearchCurve(points, np.quantile(reached, QUARTILES, axis=0))
    return row.model_copy(update=counts), curve


def _to_the_front(
    row: SearchRow,
    points: npt.NDArray[np.intp],
    traces: list[Costs],
    objectives: TableObjectives,
    settings: SearchBenchmark,
) -> tuple[SearchRow, SearchCurve]:
    latest = settings.reference_latency * objectives.front[:, 1:].max(axis=0)
    reference = np.array([settings.reference_error, *latest])
    stated = [at for at in settings.hypervolume_at if at <= settings.evaluations]
    points = np.unique([*points, *stated])
    shares = [
        [objectives.hypervolume_share(trace[:at], reference) for at in points] for trace in traces
    ]
    quartiles = np.quantile(shares, QUARTILES, axis=0)
    spreads = {}
    for at in stated:
        lower, median, upper = quartiles[:, np.searchsorted(points, at)].tolist()
        spreads[at] = Spread(lower_quartile=lower, median=median, upper_quartile=upper)
    return row.model_copy(update={"hypervolume_at": spreads}), SearchCurve(points, quartiles)


def _evaluations_to(least: float, best: list[Vector], evaluations: int) -> EvaluationsTo:
    """Count evaluations until the best cost so far of each search is at most `least`."""
    found = np.array([one[-1] <= least for one in best])
    counts = [1 + int(np.argmax(one <= least)) if one[-1] <= least else np.inf for one in best]
    # an open count is at least beyond the limit: an order statistic below it is settled
    settled = np.where(np.isinf(counts), 1e9, counts)
    median, p90 = (
        float(value) if value <= evaluations else None for value in np.quantile(settled, (0.5, 0.9))
    )
    mean = float(np.mean(counts)) if found.all() else None
    return EvaluationsTo(median=median, mean=mean, p90=p90, found=float(found.mean()))
