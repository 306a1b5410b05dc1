"""Predictors of a subnet's latency on one target."""

from collections.abc import Callable, Sequence
from functools import partial

from predictors.latency.additive_table import AdditiveTable
from predictors.latency.auto import Auto
from predictors.latency.calibrated_table import CalibratedTable
from predictors.latency.regression import LatencyRegression
from predictors.latency.transfer import KnownLatency, Transfer
from predictors.predictor import Predictor, Vector
from search_spaces import InputError, SearchSpace

LatencyBuilder = Callable[[SearchSpace, Vector | None, Sequence[KnownLatency]], Predictor]
"""Of a space, the table of its layers' latencies (1 + specs, ms) or None, and known targets."""


def _additive_table(
    space: SearchSpace, table_ms: Vector | None, known: Sequence[KnownLatency]
) -> Predictor:
    return AdditiveTable(space, _needed(space, table_ms))


def _calibrated_table(
    space: SearchSpace, table_ms: Vector | None, known: Sequence[KnownLatency]
) -> Predictor:
    return CalibratedTable(space, _needed(space, table_ms))


def _regression(
    space: SearchSpace, table_ms: Vector | None, known: Sequence[KnownLatency]
) -> Predictor:
    return LatencyRegression(space)


def _transfer(
    space: SearchSpace, table_ms: Vector | None, known: Sequence[KnownLatency]
) -> Predictor:
    return Transfer(space, known)


def _auto(space: SearchSpace, table_ms: Vector | None, known: Sequence[KnownLatency]) -> Predictor:
    names = ["calibrated-table", "table"] if table_ms is not None else []
    names += ["transfer", "regression"] if known else ["regression"]
    builders = {name: LATENCY_PREDICTORS[name] for name in names}
    return Auto({name: partial(build, space, table_ms, known) for name, build in builders.items()})


def _needed(space: SearchSpace, table_ms: Vector | None) -> Vector:
    if table_ms is None:
        raise InputError(
            f"no layer of {space.name} was measured; measure layers, or use regression or transfer"
        )
    return table_ms


LATENCY_PREDICTORS: dict[str, LatencyBuilder] = {
    "table": _additive_table,
    "calibrated-table": _calibrated_table,
    "regression": _regression,
    "transfer": _transfer,
    "auto": _auto,
}
"""Name -> builder; one that lacks what it needs raises InputError."""
