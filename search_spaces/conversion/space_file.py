"""A converted network's search space as plain data: what a file of it holds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.errors import InputError
from search_spaces.layer_program import NUM_SIZES, read_program
from search_spaces.layer_slot import LayerSlot, OptionValues
from search_spaces.space import Dimension, SearchSpace


@dataclass(frozen=True)
class SizeChoice:
    """A size of a layer, by the option of a dimension.

    Args:
        dimension: its name.
        sizes: one for every option.
    """

    dimension: str
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class SlotPlan:
    """One layer of a converted network.

    Args:
        name: of the slot.
        program: as text.
        sizes: of the program, in their order.
        reads: slots and network inputs.
        depth: (dimension, least value) from which on it is there; None for always.
        orders: name of the channels that each order of the program puts in order.
    """

    name: str
    program: str
    sizes: tuple[SizeChoice, ...]
    reads: tuple[str, ...]
    depth: tuple[str, int] | None = None
    orders: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpacePlan:
    """A converted network's search space."""

    name: str
    dimensions: tuple[Dimension, ...]
    slots: tuple[SlotPlan, ...]
    modality: str
    inputs: tuple[str, ...]
    outputs: Mapping[str, str]
    settings: Mapping[str, int]

    def space(self) -> SearchSpace:
        """Build the search space.

        Raises:
            InputError: it does not fit together.
        """
        options = {dimension.name: dimension.options for dimension in self.dimensions}
        known = set(self.inputs)
        for slot in self.slots:
            if not set(slot.reads) <= known:
                raise InputError(f"{slot.name} reads {', '.join(slot.reads)}; some do not precede")
            known.add(slot.name)
            for choice in slot.sizes:
                if len(choice.sizes) != len(options.get(choice.dimension, ())):
                    raise InputError(f"{slot.name}: its sizes do not fit the dimensions")
            if slot.depth is not None and slot.depth[0] not in options:
                raise InputError(f"{slot.name}: unknown dimension {slot.depth[0]!r}")
        if not set(self.outputs.values()) <= known:
            raise InputError(f"{self.name}: outputs of unknown layers")
        return SearchSpace(
            self.name,
            self.dimensions,
            [_slot(slot, options) for slot in self.slots],
            modality=self.modality,  # type: ignore[arg-type]  # checked by the space
            inputs=self.inputs,
            outputs=self.outputs,
            settings=self.settings,
        )

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON has it. A program that several layers have stands there once."""
        programs = list(dict.fromkeys(slot.program for slot in self.slots))
        return {
            "name": self.name,
            "modality": self.modality,
            "inputs": list(self.inputs),
            "outputs": dict(self.outputs),
            "settings": dict(self.settings),
            "dimensions": [
                {
                    "name": d.name,
                    "options": list(d.options),
                    "active_when": d.active_when and [d.active_when[0], sorted(d.active_when[1])],
                }
                for d in self.dimensions
            ],
            "programs": programs,
            "slots": [
                {
                    "name": slot.name,
                    "program": programs.index(slot.program),
                    "sizes": [[one.dimension, list(one.sizes)] for one in slot.sizes],
                    "reads": list(slot.reads),
                    "depth": slot.depth and list(slot.depth),
                    "orders": list(slot.orders),
                }
                for slot in self.slots
            ],
        }

    @classmethod
    def from_plain(cls, plain: Any) -> "SpacePlan":
        """Read it.

        Raises:
            InputError: something else.
        """
        try:
            programs = [str(text) for text in plain["programs"]]
            dimensions = tuple(
                Dimension(
                    str(one["name"]),
                    tuple(one["options"]),
                    one["active_when"]
                    and (str(one["active_when"][0]), frozenset(map(int, one["active_when"][1]))),
                )
                for one in plain["dimensions"]
            )
            slots = tuple(_read_slot(one, programs) for one in plain["slots"])
            return cls(
                name=str(plain["name"]),
                dimensions=dimensions,
                slots=slots,
                modality=str(plain["modality"]),
                inputs=tuple(map(str, plain["inputs"])),
                outputs={str(key): str(value) for key, value in plain["outputs"].items()},
                settings={str(key): int(value) for key, value in plain["settings"].items()},
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"expected the search space of a network: {error!r}") from None


SPACE_NAME, WEIGHTS_NAME = "space.json", "weights.safetensors"
KIND, FORMAT = "elastic-network", 1


def read_plan(folder: Path) -> SpacePlan:
    """Read the search space of a folder that `nas elasticize` wrote.

    Raises:
        InputError: absent, damaged, changed, or of another format.
    """
    path = folder / SPACE_NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no {SPACE_NAME}; make it with `nas elasticize`") from None
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({error}); make it again") from None
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InputError(f"{path}: expected a file of kind {KIND!r}")
    if data.get("format") != FORMAT:
        raise InputError(
            f"{path}: format {data.get('format')} written by version {data.get('tool_version')}, "
            f"expected format {FORMAT}"
        )
    plan = SpacePlan.from_plain(data.get("space"))
    if plan != replace(plan, name=versioned_name(plan)):
        raise InputError(f"{path}: it was changed after it was written; make it again")
    return plan


def read_space(folder: Path, settings: Mapping[str, int]) -> SearchSpace:
    """Build the search space of a folder that `nas elasticize` wrote.

    Args:
        settings: what the data have; none without data.

    Raises:
        InputError: as `read_plan`, or data of other classes or channels than the network's.
    """
    plan = read_plan(folder)
    for key, wanted in plan.settings.items():
        found = settings.get(key, wanted)
        if found != wanted:
            noun = key.removeprefix("num_").replace("_", " ")
            raise InputError(
                f"the network in {folder} has {wanted} {noun}, the data {found}; change its first "
                "or last layer before it is made elastic"
            )
    return plan.space()


def versioned_name(plan: SpacePlan) -> str:
    """Return the name of a space: what it is called, and a hash of all that it is."""
    plain = plan.to_plain() | {"name": ""}
    digest = sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return f"{plan.name.partition('@')[0].rpartition('-')[0] or plan.name}-{digest[:8]}@1"


def _read_slot(plain: Mapping[str, Any], programs: Sequence[str]) -> SlotPlan:
    program = programs[plain["program"]]
    read_program(program)
    sizes = tuple(
        SizeChoice(str(name), tuple(int(size) for size in sizes)) for name, sizes in plain["sizes"]
    )
    if len(sizes) > NUM_SIZES or not all(size > 0 for one in sizes for size in one.sizes):
        raise InputError(f"{plain['name']}: expected at most {NUM_SIZES} sizes, all positive")
    depth = plain["depth"] and (str(plain["depth"][0]), int(plain["depth"][1]))
    return SlotPlan(
        name=str(plain["name"]),
        program=program,
        sizes=sizes,
        reads=tuple(map(str, plain["reads"])),
        depth=depth,
        orders=tuple(map(str, plain["orders"])),
    )


def _slot(plan: SlotPlan, options: Mapping[str, tuple[Any, ...]]) -> LayerSlot:
    names = [choice.dimension for choice in plan.sizes]
    if plan.depth is not None:
        names.append(plan.depth[0])

    def fields(values: OptionValues) -> dict[str, Any]:
        found: dict[str, Any] = {"program": plan.program}
        for i in range(NUM_SIZES):
            found[f"size{i}"] = 0
        for i, choice in enumerate(plan.sizes):
            known = np.asarray(options[choice.dimension])
            position = np.searchsorted(known, values[choice.dimension])
            found[f"size{i}"] = np.asarray(choice.sizes)[position]
        return found

    def present(values: OptionValues) -> Any:
        assert plan.depth is not None
        return values[plan.depth[0]] >= plan.depth[1]

    depends_on = tuple(dict.fromkeys(names))
    return LayerSlot(
        plan.name, "program", depends_on, fields, present if plan.depth else None, plan.reads
    )
