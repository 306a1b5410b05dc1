"""Measured latencies of layer specs and whole subnets on one target."""

from collections.abc import Mapping
from statistics import median
from typing import Annotated, Literal

from pydantic import Field

from hardware_profiles.artifact import Artifact, Frozen
from hardware_profiles.target import Target
from search_spaces import InputError, LayerSpec, Population, SearchSpace

Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class LayerLatency(Frozen):
    """One layer spec alone in a graph."""

    layer_kind: str
    fields: Mapping[str, int | str]
    latency_ms: Milliseconds
    noise: Share  # (typical pass - latency) / latency

    @property
    def spec(self) -> LayerSpec:
        """The layer as a checked value."""
        return LayerSpec.of(self.layer_kind, self.fields)


class SubnetLatency(Frozen):
    """One whole subnet; `calibration` ones fit predictors, `held_out` ones state their error."""

    values: Mapping[str, int | float | str | bool]
    role: Literal["calibration", "held_out"]
    latency_ms: Milliseconds
    noise: Share


class Profile(Artifact):
    """Everything measured on one target for one space."""

    kind: Literal["profile"] = "profile"
    space: str
    target: Target
    created: str  # ISO 8601, UTC
    seed: int
    passes: int
    layers: tuple[LayerLatency, ...]
    subnets: tuple[SubnetLatency, ...]

    @property
    def noise(self) -> float:
        """Median noise of the whole subnets, as a share of their latency."""
        return median(subnet.noise for subnet in self.subnets) if self.subnets else 0.0

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
