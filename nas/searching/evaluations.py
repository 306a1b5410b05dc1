"""Measured evaluations of whole subnets, shared by all budgets of a run."""

from collections.abc import Mapping

import numpy as np

from hardware_profiles.artifact import Frozen
from nas.append_log import AppendLog
from nas.searching.problem import SearchProblem
from predictors.predictor import Vector
from search_spaces import Architecture, Population, SearchSpace

MEASURED_ITSELF = ("latency_ms", "resident_bytes")  # what a measurement tells better than a guess


class MeasuredSubnet(Frozen):
    """One subnet, extracted, calibrated, validated, exported and timed on one target."""

    architecture_id: str
    values: Mapping[str, int | float | str | bool]
    supernet_sha256: str
    target_id: str
    validation_accuracy: float
    loss: float
    latency_ms: float
    noise: float  # (typical pass - latency) / latency
    resident_bytes: int | None = None

    @property
    def typical_ms(self) -> float:
        """Latency of the typical pass, not of the best one: what a budget is held against."""
        return self.latency_ms * (1 + self.noise)

    def keeps(self, budget_ms: float) -> bool:
        """Tell whether the typical pass is within a budget."""
        return self.typical_ms <= budget_ms


class Evaluations:
    """The log of measured subnets that belong to one supernet and one target."""

    def __init__(
        self, log: AppendLog, space: SearchSpace, supernet_sha256: str, target_id: str
    ) -> None:
        self._log = log
        self._by_id: dict[str, list[MeasuredSubnet]] = {}
        for measured in log.read_as(MeasuredSubnet):
            if (measured.supernet_sha256, measured.target_id) == (supernet_sha256, target_id):
                self._keep(measured)
        self.supernet_sha256, self.target_id = supernet_sha256, target_id
        self._space = space

    def add(self, measured: MeasuredSubnet) -> MeasuredSubnet:
        """Append to the log; return what now counts of the subnet."""
        self._log.append(measured.model_dump())
        self._keep(measured)
        return _slower(self._by_id[measured.architecture_id])

    def _keep(self, measured: MeasuredSubnet) -> None:
        self._by_id.setdefault(measured.architecture_id, []).append(measured)

    def get(self, architecture_id: str) -> MeasuredSubnet | None:
        """Return what counts of an architecture: the slower of its last two measurements, if any.

        Two, so that one lucky moment proves nothing; the last, so that one bad moment is forgiven.
        """
        records = self._by_id.get(architecture_id)
        return _slower(records) if records else None

    def all(self) -> list[MeasuredSubnet]:
        """Return what counts of every architecture, in the order first measured."""
        return [_slower(records) for records in self._by_id.values()]

    def least_latencies(self) -> tuple[Population, Vector]:
        """Return every architecture (n x d) and its least latency in ms (n), as profiles state
        it.
        """
        population = self._space.encode_all(map(self.architecture, self.all()))
        records = self._by_id.values()
        return population, np.array([min(m.latency_ms for m in one) for one in records])

    def within(self, problem: SearchProblem) -> list[MeasuredSubnet]:
        """Return the measured subnets of a problem's part that keep its limits, whatever their
        latency on the main device.

        Where resident memory is limited, those whose memory was measured.
        """
        known = self.all()
        if not known:
            return []
        population = self._space.encode_all(map(self.architecture, known))
        kept = np.ones(len(population), dtype=np.bool_)
        most_bytes = None
        for limit in problem.limits:
            if limit.quantity.name not in MEASURED_ITSELF:
                kept &= limit.quantity(population).bound <= limit.most
            elif limit.quantity.name == "resident_bytes":
                most_bytes = limit.most
        return [
            measured
            for measured, ok in zip(known, kept, strict=True)
            if ok
            and problem.part.holds(self.architecture(measured))
            and _keeps_memory(measured, most_bytes)
        ]

    def architecture(self, measured: MeasuredSubnet) -> Architecture:
        """Return the architecture of a record."""
        return self._space.architecture(measured.values)


def _keeps_memory(measured: MeasuredSubnet, most: float | None) -> bool:
    if most is None:
        return True
    return measured.resident_bytes is not None and measured.resident_bytes <= most


def _slower(records: list[MeasuredSubnet]) -> MeasuredSubnet:
    return max(records[-2:], key=lambda measured: measured.typical_ms)
