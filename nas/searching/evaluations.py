"""Measured evaluations of whole subnets, shared by all budgets of a run."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from hardware_profiles.artifact import describe
from nas.append_log import AppendLog
from search_spaces import Architecture, InputError, SearchSpace


class MeasuredSubnet(BaseModel):
    """One subnet, extracted, calibrated, validated, exported and timed on one target."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    architecture_id: str
    values: Mapping[str, int | float | str | bool]
    supernet_sha256: str
    target_id: str
    validation_accuracy: float
    cross_entropy: float
    latency_ms: float
    noise: float  # (typical pass - latency) / latency

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
        self._by_id: dict[str, MeasuredSubnet] = {}
        for record in log.read():
            try:
                measured = MeasuredSubnet.model_validate(record)
            except ValidationError as error:
                raise InputError(f"{log.path}: {describe(error)}; remove that line") from None
            if (measured.supernet_sha256, measured.target_id) == (supernet_sha256, target_id):
                self._keep(measured)
        self.supernet_sha256, self.target_id = supernet_sha256, target_id
        self._space = space

    def add(self, measured: MeasuredSubnet) -> MeasuredSubnet:
        """Append to the log; of two latencies of one subnet the slower counts and is returned."""
        self._log.append(measured.model_dump())
        self._keep(measured)
        return self._by_id[measured.architecture_id]

    def _keep(self, measured: MeasuredSubnet) -> None:
        earlier = self._by_id.get(measured.architecture_id)
        if earlier is None or measured.typical_ms > earlier.typical_ms:
            self._by_id[measured.architecture_id] = measured

    def get(self, architecture_id: str) -> MeasuredSubnet | None:
        """Return what was measured of an architecture, if anything."""
        return self._by_id.get(architecture_id)

    def all(self) -> list[MeasuredSubnet]:
        """Return one record per architecture, in the order first measured."""
        return list(self._by_id.values())

    def architecture(self, measured: MeasuredSubnet) -> Architecture:
        """Return the architecture of a record."""
        return self._space.architecture(measured.values)
