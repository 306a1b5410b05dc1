"""How well latency predictors do on a published table, each target in turn unknown."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hardware_profiles.artifact import Frozen
from nas.benchmarking.baselines import BestLine, ConstantLatency, best_known_line
from nas.benchmarking.tables import BenchmarkTable
from predictors.latency.auto import Auto
from predictors.latency.auto import Choice as AutoChoice
from predictors.latency.choose_samples import choose_samples, sample_features
from predictors.latency.regression import LatencyRegression
from predictors.latency.transfer import KnownLatency, Transfer
from predictors.predictor import ErrorReport, Predictor, Vector, error_report
from search_spaces import InputError, Population, unknown_name
from search_spaces.nasbench201 import cell_connected

Choice = Literal["chosen", "random"]
Rows = npt.NDArray[np.intp]

METHOD_NAMES = ("constant", "MACs", "best-known-line", "regression", "transfer", "auto")
CEILING_SAMPLES = 4000
CEILING_SHARE = 0.8  # of the table at most, so that something is left to test on
HEADLINE_SAMPLES = 10
COVERAGE = 0.9


class LatencyBenchmark(Frozen):
    """What is compared. Targets and known ones by name; by default every target in turn, with all
    targets of other families known.
    """

    targets: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    samples: tuple[int, ...] = (3, 5, 10, 20, 50)
    draws: int = Field(20, ge=1)
    methods: tuple[str, ...] = METHOD_NAMES
    choices: tuple[Choice, ...] = ("chosen", "random")
    seed: int = Field(0, ge=0)
    ceiling: bool = False


class BenchmarkRow(Frozen):
    """One method on one target with one number of samples: means over the draws.

    MAPE and shares are of connected cells only; ranks of all. `spearman` is None where every guess
    was constant. `ceiling` is the Spearman of a regression on thousands of samples.
    """

    target: str
    samples: int
    choice: Choice
    method: str
    spearman: float | None
    kendall: float | None
    mape: float
    within_5: float
    within_10: float
    spearman_worst_draw: float | None
    coverage_of_90: float  # share of measurements below the upper bound that states 90 %
    draws: int
    tested: int
    ceiling: float | None = None
    auto_chose: dict[str, int] = Field(default_factory=dict)  # draws by method
    auto_did_not_pass: int = 0  # draws in which `auto` said that nothing beats a constant


@dataclass(frozen=True)
class _Figures:
    """One predictor on the test architectures of one draw."""

    all_cells: ErrorReport
    connected: ErrorReport
    covered: float
    auto: AutoChoice | None


class KnownTargets:
    """Smooth latencies of a table's architectures on its targets: what is known of known devices.

    As in production, a known device is the mean of a predictor fitted to its measurements, without
    their noise.
    """

    def __init__(self, table: BenchmarkTable, seed: int = 0) -> None:
        self._table, self._seed = table, seed
        self._smooth: dict[str, Vector] = {}
        self._last: tuple[Population, Rows] = (table.population, np.arange(len(table.population)))

    def latency(self, target: str) -> KnownLatency:
        """Return the function from a population of the table to ms on a target."""
        if target not in self._smooth:
            predictor = LatencyRegression(self._table.space, self._seed)
            predictor.fit(self._table.population, self._table.latency(target))
            self._smooth[target] = predictor.predict(self._table.population).mean
        smooth = self._smooth[target]
        return lambda population: smooth[self._rows(population)]

    def _rows(self, population: Population) -> Rows:
        # every known target is asked for the same population, one after the other
        if population is not self._last[0]:
            self._last = population, self._table.rows_of(population)
        return self._last[1]


def family(target: str) -> str:
    """Return the device family of a target: its name up to the first underscore.

    `1080ti_1` and `1080ti_32` are one family; `titanx` and `titanxp` are different cards (Maxwell
    and Pascal); `silver_4114` and `silver_4210r` are one family, `gold_6226` is another.
    """
    return target.split("_")[0]


def run_benchmark(
    table: BenchmarkTable, settings: LatencyBenchmark
) -> Iterator[tuple[int, int, list[BenchmarkRow]]]:
    """Yield (targets done, targets in all, their rows), target after target.

    Measured and tested architectures share no class: measured ones are first of their class, and
    all of their classes are left out of the test.

    Raises:
        InputError: an unknown target or method, more samples than classes, or a method that needs
            known targets where there are none.
    """
    _check(table, settings)
    targets = settings.targets or [t for t in table.targets if t not in settings.known]
    known_targets = KnownTargets(table, settings.seed)
    for position, target in enumerate(targets):
        known = [known_targets.latency(n) for n in _known_names(table, settings, target)]
        ceiling = _ceiling(table, target, settings.seed) if settings.ceiling else None
        rows: list[BenchmarkRow] = []
        for samples in settings.samples:
            for choice in settings.choices:
                rows += _rows(table, settings, target, known, samples, choice)
        yield position + 1, len(targets), [r.model_copy(update={"ceiling": ceiling}) for r in rows]


def headline(rows: Sequence[BenchmarkRow]) -> tuple[float | None, int | None, str | None]:
    """Return the mean Spearman of `auto` over the targets, its number of samples and the choice.

    At 10 samples where they were tried, else at the most; chosen ones where both were.
    """
    auto = [row for row in rows if row.method == "auto"]
    if not auto:
        return None, None, None
    counts = {row.samples for row in auto}
    samples = HEADLINE_SAMPLES if HEADLINE_SAMPLES in counts else max(counts)
    choice = "chosen" if any(row.choice == "chosen" for row in auto) else "random"
    ranks = [row.spearman for row in auto if (row.samples, row.choice) == (samples, choice)]
    return float(np.mean([rank or 0.0 for rank in ranks])), samples, choice


def _check(table: BenchmarkTable, settings: LatencyBenchmark) -> None:
    if not table.targets:
        raise InputError(f"{table.path} has no column latency_ms_<target>")
    for target in (*settings.targets, *settings.known):
        if target not in table.targets:
            raise unknown_name("target", target, table.targets)
    for method in settings.methods:
        if method not in METHODS:
            raise unknown_name("method", method, METHODS)
    if both := set(settings.targets) & set(settings.known):
        raise InputError(f"{', '.join(sorted(both))}: expected a target to be unknown or known")
    most = len(table.class_representatives)
    if not settings.samples or not all(3 <= n < most for n in settings.samples):
        raise InputError(
            f"expected sample counts from 3 to {most - 1} for {table.path}, got "
            f"{', '.join(map(str, settings.samples)) or 'none'}"
        )


def _known_names(table: BenchmarkTable, settings: LatencyBenchmark, target: str) -> list[str]:
    if settings.known:
        return list(settings.known)
    return [name for name in table.targets if family(name) != family(target)]


def _rows(
    table: BenchmarkTable,
    settings: LatencyBenchmark,
    target: str,
    known: Sequence[KnownLatency],
    samples: int,
    choice: Choice,
) -> list[BenchmarkRow]:
    builders = {name: METHODS[name] for name in settings.methods}
    figures: dict[str, list[_Figures]] = {name: [] for name in builders}
    latency, connected = table.latency(target), _connected(table)
    pool = table.class_representatives
    features = sample_features(table.space, table.population[pool], known)
    num_tested = []
    for draw in range(settings.draws):
        place = table.targets.index(target)
        rng = np.random.default_rng([settings.seed, place, samples, draw])
        if choice == "chosen":
            measured = pool[choose_samples(features, samples, rng)]
        else:
            measured = rng.choice(pool, samples, replace=False)
        test = ~np.isin(table.classes, table.classes[measured])
        num_tested.append(int(test.sum()))
        for name, build in builders.items():
            predictor = build(table, known)
            predictor.fit(table.population[measured], latency[measured])
            figures[name].append(_judge(predictor, table, latency, test, connected))
    common: dict[str, Any] = {"target": target, "samples": samples, "choice": choice}
    common |= {"draws": settings.draws, "tested": min(num_tested)}
    return [BenchmarkRow(method=name, **common, **_means(f)) for name, f in figures.items()]


def _judge(
    predictor: Predictor,
    table: BenchmarkTable,
    latency: Vector,
    test: npt.NDArray[np.bool_],
    connected: npt.NDArray[np.bool_],
) -> _Figures:
    # all rows are predicted, so that known latencies are looked up for one population only
    prediction = predictor.predict(table.population)
    both = test & connected
    return _Figures(
        all_cells=error_report(prediction.mean[test], latency[test]),
        connected=error_report(prediction.mean[both], latency[both]),
        covered=float(np.mean(latency[test] <= prediction.upper(COVERAGE)[test])),
        auto=predictor.choice if isinstance(predictor, Auto) else None,
    )


def _means(figures: Sequence[_Figures]) -> dict[str, Any]:
    """Average the figures of all draws."""
    choices = [f.auto for f in figures if f.auto is not None]
    spearman = [f.all_cells.spearman for f in figures]
    return {
        "spearman": _mean(spearman),
        "kendall": _mean([f.all_cells.kendall for f in figures]),
        "mape": _mean([f.connected.mape for f in figures]),
        "within_5": _mean([f.connected.within_5 for f in figures]),
        "within_10": _mean([f.connected.within_10 for f in figures]),
        "spearman_worst_draw": min((s for s in spearman if s is not None), default=None),
        "coverage_of_90": _mean([f.covered for f in figures]),
        "auto_chose": dict(Counter(choice.name for choice in choices)),
        "auto_did_not_pass": sum(not choice.passed for choice in choices),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; of ranks, a constant's counts as 0 unless all are constant."""
    if all(value is None for value in values):
        return None
    return float(np.mean([value or 0.0 for value in values]))


def _ceiling(table: BenchmarkTable, target: str, seed: int) -> float | None:
    """Return the Spearman, on the other classes, of a regression on thousands of architectures."""
    pool = table.class_representatives
    n = min(CEILING_SAMPLES, int(CEILING_SHARE * len(pool)))
    measured = np.random.default_rng(seed).choice(pool, n, replace=False)
    predictor = LatencyRegression(table.space, seed, most_fitted=n)
    latency = table.latency(target)
    predictor.fit(table.population[measured], latency[measured])
    test = ~np.isin(table.classes, table.classes[measured])
    guess = predictor.predict(table.population[test]).mean
    return error_report(guess, latency[test]).spearman


def _macs(table: BenchmarkTable) -> Callable[[Population], npt.NDArray[np.float64]]:
    """Return the function from a population to its MACs, `n x 1`."""
    space = table.space
    if space.slots:
        return lambda population: space.layers.costs(population).macs[:, None]
    raise InputError(f"the MACs of {space.name} are not known; leave the method MACs out")


def _connected(table: BenchmarkTable) -> npt.NDArray[np.bool_]:
    """Tell where input reaches output; only the cells of NAS-Bench-201 can fail to."""
    if table.space.name.startswith(("nasbench201@", "nasbench201-digits@")):
        return cell_connected(table.population)
    return np.ones(len(table.population), dtype=np.bool_)


def _constant(table: BenchmarkTable, known: Sequence[KnownLatency]) -> Predictor:
    return ConstantLatency()


def _macs_line(table: BenchmarkTable, known: Sequence[KnownLatency]) -> Predictor:
    return BestLine(_macs(table))


def _best_known_line(table: BenchmarkTable, known: Sequence[KnownLatency]) -> Predictor:
    return best_known_line(known)


def _regression(table: BenchmarkTable, known: Sequence[KnownLatency]) -> Predictor:
    return LatencyRegression(table.space)


def _transfer(table: BenchmarkTable, known: Sequence[KnownLatency]) -> Predictor:
    # standardised over the table: known targets are tables too and know no other architectures
    return Transfer(table.space, known, table.population)


def _auto(table: BenchmarkTable, known: Sequence[KnownLatency]) -> Predictor:
    builders = {"transfer": _transfer} if known else {}
    builders["regression"] = _regression
    return Auto({name: partial(build, table, known) for name, build in builders.items()})


METHODS: dict[str, Callable[[BenchmarkTable, Sequence[KnownLatency]], Predictor]] = {
    "constant": _constant,
    "MACs": _macs_line,
    "best-known-line": _best_known_line,
    "regression": _regression,
    "transfer": _transfer,
    "auto": _auto,
}
"""Name -> builder, from the table (never its latencies) and what is known."""
