"""What a profile is to measure: which layers, which whole subnets, on which part of a space."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from hardware_profiles.artifact import Artifact, Frozen, content_hash
from search_spaces import Architecture, InputError, LayerSpec, SearchSpace
from search_spaces.part import SpacePart
from search_spaces.spread import spread_sample

Value = int | float | str | bool
Role = Literal["layer", "calibration", "held_out"]


class PlanItem(Frozen):
    """One network to measure: a layer alone, or a whole subnet and what it is for."""

    id: str
    role: Role
    layer_kind: str = ""  # of a layer
    fields: Mapping[str, int | str] = {}
    values: Mapping[str, Value] = {}  # of a subnet
    file: str = Field(default="", pattern=r"^([a-z0-9-]+\.onnx)?$")  # in a kit
    sha256: str = ""

    @property
    def spec(self) -> LayerSpec:
        """The layer as a checked value."""
        return LayerSpec.of(self.layer_kind, self.fields)


class Plan(Artifact):
    """The networks of a profile. `kit.json` is one, with the files of its networks."""

    kind: Literal["kit"] = "kit"
    space: str
    space_settings: Mapping[str, int]
    options: Mapping[str, tuple[Value, ...]]  # that the profile is restricted to
    seed: int
    items: tuple[PlanItem, ...]
    reference: str  # the item that is visited throughout

    @model_validator(mode="after")
    def _whole(self) -> "Plan":
        check_distinct(item.id for item in self.items)
        networks: dict[str, str] = {}
        for item in self.items:
            values = dict(item.fields or item.values)
            network = json.dumps([item.layer_kind, values], sort_keys=True)
            same = networks.setdefault(network, item.id)
            if same != item.id:
                raise InputError(f"items {same!r} and {item.id!r} are the same network")
        if self.reference not in {item.id for item in self.items}:
            raise InputError(f"the reference {self.reference!r} is not among the items")
        return self

    @property
    def sha256(self) -> str:
        """Names what is measured, whatever version wrote it down."""
        return content_hash(self.model_dump(mode="json", exclude={"tool_version"}))

    def check_space(self, space: SearchSpace) -> None:
        """Check that every item is a layer or an architecture of the space.

        Raises:
            InputError: another space or another version of it, an item that is none of its own.
        """
        if self.space != space.name:
            raise InputError(f"expected a kit of {space.name}, got one of {self.space}")
        SpacePart(space, self.options)  # names what is unknown
        known = set(space.layers.specs)
        for item in self.items:
            if item.role == "layer" and item.spec not in known:
                raise InputError(f"item {item.id}: {space.name} has no such {item.layer_kind}")
            if item.role != "layer":
                space.architecture(item.values)


def check_distinct(names: Iterable[str]) -> None:
    """Raise InputError where a name is there twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"item {name!r} is there twice")
        seen.add(name)


def make_plan(
    space: SearchSpace,
    *,
    num_calibration: int = 24,
    num_held_out: int = 16,
    max_specs: int = 500,
    options: Mapping[str, Sequence[Value]] | None = None,
    calibration: Sequence[Architecture] = (),
    seed: int = 0,
) -> Plan:
    """Plan a profile: the distinct layers of a space, and subnets spread over its MACs.

    Args:
        num_calibration, num_held_out: whole subnets; a small space has fewer.
        max_specs: above this many distinct layers, that many, spread over their MACs; with 0, none.
        options: restrict the profile to a part of the space.
        calibration: these subnets instead of ones spread over the MACs.

    Raises:
        InputError: a setting that asks for less than one, unknown options.
    """
    if num_calibration < 1 or min(max_specs, num_held_out) < 0:
        raise InputError(
            f"expected num_calibration of at least 1 and num_held_out and max_specs of at least 0, "
            f"got {num_calibration}, {num_held_out} and {max_specs}"
        )
    part = SpacePart(space, options or {})
    rng = np.random.default_rng(seed)
    fixed = list(dict.fromkeys(calibration))
    outside = [architecture.id for architecture in fixed if not part.holds(architecture)]
    if outside:
        raise InputError(f"subnet {outside[0]} is not of the part that is measured: {options}")
    wanted = num_held_out + (len(fixed) if fixed else num_calibration)
    drawn = [space.decode(genome) for genome in part.embed(spread_sample(part.space, wanted, rng))]
    drawn = [subnet for subnet in drawn if subnet not in set(fixed)]
    if fixed:  # the others are all held out
        keep = rng.choice(len(drawn), min(num_held_out, len(drawn)), replace=False)
        drawn = [drawn[i] for i in sorted(keep)]
    subnets = fixed + drawn
    num_held_out = len(drawn) if fixed else min(num_held_out, len(drawn) // 2)
    held_out = set(rng.choice(len(drawn), num_held_out, replace=False) + len(fixed))
    items = [_layer_item(spec) for spec in spread_specs(part.space, max_specs)] if max_specs else []
    for i, subnet in enumerate(subnets):
        items.append(_subnet_item(subnet, "held_out" if i in held_out else "calibration"))
    return Plan(
        space=space.name,
        space_settings=space.settings,
        options={name: tuple(values) for name, values in (options or {}).items()},
        seed=seed,
        items=tuple(items),
        reference=items[-1 - len(subnets) // 2].id,
    )


def parse_options(space: SearchSpace, texts: Sequence[str]) -> dict[str, tuple[Value, ...]]:
    """Read "resolution=128,160" as options of a dimension.

    Raises:
        InputError: another form, an unknown dimension or option.
    """
    options: dict[str, tuple[Value, ...]] = {}
    known = {d.name: {str(option): option for option in d.options} for d in space.dimensions}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals:
            raise InputError(f"expected dimension=option,option, got {text!r}")
        words = [word.strip() for word in values.split(",") if word.strip()]
        if name.strip() in options:
            raise InputError(f"{name.strip()} is restricted twice; name its options together")
        by_text = known.get(name.strip(), {})
        options[name.strip()] = tuple(by_text.get(word, word) for word in words)
    SpacePart(space, options)  # names what is unknown
    return options


def spread_specs(space: SearchSpace, limit: int) -> list[LayerSpec]:
    """Return the distinct layer specs; above `limit`, that many.

    Every kind gets its share, at even steps of MACs.
    """
    grid = space.layers
    kinds: dict[str, list[int]] = {}
    for i in np.argsort(grid.spec_costs[1:, 0], kind="stable"):
        kinds.setdefault(grid.specs[i].kind, []).append(int(i))
    chosen: list[int] = []
    left, specs_left = limit, len(grid.specs)
    for positions in sorted(kinds.values(), key=len):  # a kind's share, but at least one of it
        share = min(len(positions), max(1, round(left * len(positions) / specs_left)), left)
        steps = np.linspace(0, len(positions) - 1, share).round().astype(int)
        chosen += [positions[step] for step in steps]
        left, specs_left = left - share, specs_left - len(positions)
    return [grid.specs[i] for i in chosen]


def _layer_item(spec: LayerSpec) -> PlanItem:
    name = content_hash([spec.kind, spec.values])[:10]
    return PlanItem(id=f"layer-{name}", role="layer", layer_kind=spec.kind, fields=spec.values)


def _subnet_item(architecture: Architecture, role: Role) -> PlanItem:
    return PlanItem(id=f"subnet-{architecture.id}", role=role, values=architecture.values)
