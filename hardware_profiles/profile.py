"""Measured latencies of layer specs and whole subnets on one target."""

from collections.abc import Mapping
from statistics import median
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from hardware_profiles.artifact import Artifact, Frozen
from hardware_profiles.plan import Plan, PlanItem, Value
from hardware_profiles.target import Target
from search_spaces import InputError, LayerSpec, Population, SearchSpace

Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Measured(Protocol):
    """What the measuring loop says of one network."""

    latency_ms: float
    noise: float
    wall_ms: float
    visits: int
    resident_bytes: int | None


class Latency(Frozen):
    """One measured network."""

    latency_ms: Milliseconds  # least window median, by the thread's own clock on one CPU thread
    noise: Share | None  # (typical pass - latency) / latency; None where only one pass was made
    wall_ms: Milliseconds | None = None  # least window median by the wall clock
    visits: Count = 0


class LayerLatency(Latency):
    """One layer spec alone in a graph."""

    layer_kind: str
    fields: Mapping[str, int | str]

    @property
    def spec(self) -> LayerSpec:
        """The layer as a checked value."""
        return LayerSpec.of(self.layer_kind, self.fields)


class SubnetLatency(Latency):
    """One whole subnet; `calibration` ones fit predictors, `held_out` ones state their error."""

    values: Mapping[str, Value]
    role: Literal["calibration", "held_out"]
    resident_bytes: Count | None = None  # most memory that opening and running it added
    energy_mj: Share | None = None  # a run, where the device tells


class Profile(Artifact):
    """Everything measured on one target for one space."""

    kind: Literal["profile"] = "profile"
    format: int = 2
    space: str
    space_settings: Mapping[str, int] = {}
    options: Mapping[str, tuple[Value, ...]] = {}  # that it is restricted to
    target: Target
    created: str  # ISO 8601, UTC
    seed: int
    drift: Share | None = None  # how much slower the machine's slowest stretch was
    complete: bool = True  # every pass was made; else time ran out before
    missing: Mapping[str, Count] = {}  # planned but not measured, by role
    made_from: Mapping[str, str] = {}  # SHA-256 by name
    layers: tuple[LayerLatency, ...]
    subnets: tuple[SubnetLatency, ...]

    @property
    def noise(self) -> float | None:
        """Median noise of the whole subnets, as a share of their latency; None (unknown) where
        most of them were timed in one pass only.
        """
        known = [subnet.noise for subnet in self.subnets if subnet.noise is not None]
        return median(known) if 2 * len(known) > len(self.subnets) else None

    def check_space(self, space: SearchSpace) -> None:
        """Raise InputError where the profile is of another space."""
        if self.space != space.name:
            raise InputError(
                f"profile of {self.space} used for {space.name}; "
                "make one with `nas profile measure`"
            )

    def population(
        self, space: SearchSpace, role: Literal["calibration", "held_out"]
    ) -> tuple[Population, list[float]]:
        """Return the measured subnets of a role: `n x d` and n latencies (ms)."""
        self.check_space(space)
        chosen = [subnet for subnet in self.subnets if subnet.role == role]
        population = space.encode_all(space.architecture(subnet.values) for subnet in chosen)
        return population, [subnet.latency_ms for subnet in chosen]


def make_profile(
    plan: Plan,
    target: Target,
    measured: Mapping[str, Measured],
    *,
    created: str,
    drift: float | None,
    complete: bool = True,
    made_from: Mapping[str, str],
    energy_mj: Mapping[str, float] | None = None,
) -> Profile:
    """Put what was measured of a plan's items, by id, into a profile; say what is missing."""
    there = [item for item in plan.items if item.id in measured]
    missing = {role: 0 for role in ("layer", "calibration", "held_out")}
    for item in plan.items:
        missing[item.role] += item.id not in measured
    return Profile(
        space=plan.space,
        space_settings=plan.space_settings,
        options=plan.options,
        target=target,
        created=created,
        seed=plan.seed,
        drift=drift,
        complete=complete,
        missing={role: count for role, count in missing.items() if count},
        made_from={"plan": plan.sha256, **made_from},
        layers=tuple(
            LayerLatency(layer_kind=i.layer_kind, fields=i.fields, **_figures(measured[i.id]))
            for i in there
            if i.role == "layer"
        ),
        subnets=tuple(
            _subnet_latency(i, measured[i.id], (energy_mj or {}).get(i.id))
            for i in there
            if i.role != "layer"
        ),
    )


def _subnet_latency(item: PlanItem, measured: Measured, energy_mj: float | None) -> SubnetLatency:
    assert item.role != "layer"
    return SubnetLatency(
        values=item.values,
        role=item.role,
        resident_bytes=measured.resident_bytes,
        energy_mj=energy_mj,
        **_figures(measured),
    )


def _figures(measured: Measured) -> dict[str, Any]:
    return {
        "latency_ms": measured.latency_ms,
        "noise": measured.noise if measured.visits > 1 else None,
        "wall_ms": measured.wall_ms,
        "visits": measured.visits,
    }
