"""A search space as data, and every operation on whole populations of it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from search_spaces.architecture import Architecture, Value
from search_spaces.cell import Cell
from search_spaces.errors import InputError, unknown_name
from search_spaces.layer_grid import LayerGrid
from search_spaces.layer_slot import LayerSlot

Population = npt.NDArray[np.int16]  # n x d option indices
_Indices = npt.NDArray[np.intp]
Modality = Literal["image", "tokens", "sequence"]
MAX_ROUNDS = 50  # of any rejection loop


@dataclass(frozen=True)
class Dimension:
    """One choice: a name and its options, smallest first.

    `active_when` names an earlier dimension and the option indices of it that activate this one. A
    child of an inactive parent is inactive too, so conjunctions are chains and counting stays a
    product over a forest.
    """

    name: str
    options: tuple[Value, ...]
    active_when: tuple[str, frozenset[int]] | None = None


class SearchSpace:
    """The set of all architectures: named dimensions with ordered options.

    Args:
        name: versioned, "mobilenet-digits@1"; changing dimensions or options makes "@2".
        dimensions: in an order where parents come before their children.
        slots: the layers of the network in order, from which costs and supernets are made (none for
            pure tables).
        settings: of the builder, which decide about layers but not about dimensions (classes,
            input channels).
        parse_values: reads the family's published text form into values by dimension name.
        network_key: for spaces in which several architectures are the same network: maps canonical
            genomes to rows, `n x k`, equal where the networks are. Without it, each is its own.
        modality: what the network takes: "image", "tokens" (ids and a mask) or "sequence".
        inputs: names of the network's inputs, which slots read.
        outputs: name -> slot whose output it is; without it "logits", of the last slot.
        cells: graphs whose edges the dimensions choose, where the space is made of such.

    Raises:
        InputError: a duplicate name, an empty or repeated option list, options that do not ascend,
            a parent that is unknown or comes later, an unknown modality, a cell of unknown
            dimensions.
    """

    def __init__(
        self,
        name: str,
        dimensions: Sequence[Dimension],
        slots: Sequence[LayerSlot] = (),
        parse_values: Callable[[str], Mapping[str, Value]] | None = None,
        settings: Mapping[str, int] | None = None,
        network_key: Callable[[Population], npt.NDArray[np.int16]] | None = None,
        modality: Modality = "image",
        inputs: Sequence[str] = ("input",),
        outputs: Mapping[str, str] | None = None,
        cells: Sequence[Cell] = (),
    ) -> None:
        self.name = name
        self.modality: Modality = modality
        self.inputs = tuple(inputs)
        self.output_slots = dict(outputs or ({"logits": slots[-1].name} if slots else {}))
        self.dimensions = tuple(dimensions)
        self.slots = tuple(slots)
        self.cells = tuple(cells)
        self.settings = dict(settings or {})
        self._parse_values = parse_values
        self._network_key = network_key
        self._position = {dimension.name: i for i, dimension in enumerate(self.dimensions)}
        self._check()
        for name in (name for cell in self.cells for name in cell.dimensions):
            if name not in self._position:
                raise unknown_name("dimension", name, self._position)
        self.num_options = np.array([len(d.options) for d in self.dimensions], dtype=np.int16)  # d

    def _check(self) -> None:
        if self.modality not in (known := get_args(Modality)):
            raise InputError(
                f"{self.name}: expected a modality of {', '.join(known)}, got {self.modality!r}"
            )
        if len(self._position) != len(self.dimensions):
            raise InputError(f"{self.name}: dimension names must be unique")
        for i, dimension in enumerate(self.dimensions):
            options = dimension.options
            if not all(isinstance(o, (int, float, str)) and o == o for o in options):  # NaN != NaN
                raise InputError(f"{dimension.name}: expected numbers or words, got {options}")
            if not options or len(set(options)) != len(options):
                raise InputError(f"{dimension.name}: expected distinct options, got {options}")
            numbers = [o for o in options if isinstance(o, (int, float))]
            if len(numbers) == len(options) and numbers != sorted(numbers):
                raise InputError(
                    f"{dimension.name}: options must ascend (smallest first), got {options}"
                )
            if dimension.active_when is not None:
                parent, activating = dimension.active_when
                if self._position.get(parent, i) >= i:
                    raise InputError(
                        f"{dimension.name}: parent {parent!r} must be an earlier dimension"
                    )
                parent_size = len(self.dimensions[self._position[parent]].options)
                if not activating or not activating <= set(range(parent_size)):
                    raise InputError(
                        f"{dimension.name}: activating indices {sorted(activating)} "
                        f"are not options of {parent!r}"
                    )

    # --- structure --------------------------------------------------------------------------------

    @property
    def num_dimensions(self) -> int:
        """d, the width of a population."""
        return len(self.dimensions)

    @cached_property
    def layers(self) -> LayerGrid:
        """The distinct layer specs of the space and their costs."""
        options = {d.name: d.options for d in self.dimensions}
        return LayerGrid(options, self.slots, self.inputs, self.output_slots)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        return tuple(self.output_slots)

    @cached_property
    def _parents(self) -> list[tuple[int, int, npt.NDArray[np.bool_]]]:
        """(child, parent, activates[parent option]) of every conditional dimension, parents
        first; options beyond the parent's own activate nothing.
        """
        rows = []
        for child, dimension in enumerate(self.dimensions):
            if dimension.active_when is not None:
                parent = self._position[dimension.active_when[0]]
                activates = np.zeros(max(self.num_options), dtype=np.bool_)
                activates[list(dimension.active_when[1])] = True
                rows.append((child, parent, activates))
        return rows

    @cached_property
    def _generations(self) -> list[tuple[_Indices, _Indices, npt.NDArray[np.bool_], _Indices]]:
        """Children, parents, activates (flat) and where each child's part of it begins: of all
        conditional dimensions with as many ancestors at a time, the fewest first.
        """
        depth = dict.fromkeys(range(self.num_dimensions), 0)
        for child, parent, _ in self._parents:
            depth[child] = depth[parent] + 1
        generations = []
        for number in range(1, max(depth.values(), default=0) + 1):
            members = [row for row in self._parents if depth[row[0]] == number]
            children, parents, activates = zip(*members, strict=True)
            starts = np.arange(len(members)) * len(activates[0])
            generations.append(
                (np.array(children), np.array(parents), np.concatenate(activates), starts)
            )
        return generations

    @cached_property
    def _offsets(self) -> _Indices:
        """Position of every dimension's first option among all options, d."""
        return np.concatenate([[0], np.cumsum(self.num_options, dtype=np.intp)])[:-1]

    @cached_property
    def num_architectures(self) -> int:
        """Exact number of canonical architectures (a Python int: it may exceed 64 bits)."""
        counts = [0] * len(self.dimensions)
        for i in reversed(range(len(self.dimensions))):
            children = [(c, activates) for c, parent, activates in self._parents if parent == i]
            counts[i] = sum(
                prod(counts[c] for c, activates in children if activates[option])
                for option in range(int(self.num_options[i]))
            )
        conditional = {child for child, _, _ in self._parents}
        return prod(count for i, count in enumerate(counts) if i not in conditional)

    def active(self, population: Population) -> npt.NDArray[np.bool_]:
        """Tell which dimensions matter: `n x d` bool."""
        active = np.ones(population.shape, dtype=np.bool_)
        for children, parents, activates, starts in self._generations:
            is_activated = activates[starts + population[:, parents]]
            active[:, children] = is_activated & active[:, parents]
        return active

    def canonicalize(self, population: Population) -> Population:
        """Set inactive dimensions to option 0, so that equal architectures are equal rows."""
        return np.where(self.active(population), population, np.int16(0))

    def equivalence_key(self, population: Population) -> npt.NDArray[np.int16]:
        """Return one row per architecture, equal where the networks are equal; `n x k`."""
        canonical = self.canonicalize(population)
        return self._network_key(canonical) if self._network_key else canonical

    def with_network_key(
        self, network_key: Callable[[Population], npt.NDArray[np.int16]]
    ) -> "SearchSpace":
        """Return the same space where other architectures are the same network.

        Args:
            network_key: maps canonical genomes to rows, `n x k`, equal where the networks are.
        """
        other = copy(self)
        other._network_key = network_key
        return other

    def unique(self, population: Population) -> Population:
        """Drop architectures whose equivalence key came before, keeping the order."""
        return population[_first_of_each(self.equivalence_key(population))]

    # --- populations ------------------------------------------------------------------------------

    def smallest(self) -> Population:
        """The architecture of least options, `1 x d`."""
        return np.zeros((1, self.num_dimensions), dtype=np.int16)

    def largest(self) -> Population:
        """The architecture of greatest options, `1 x d`."""
        return self.canonicalize((self.num_options - 1)[None])

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """Draw `n` architectures, every dimension uniform over its options (repeats possible)."""
        return self.canonicalize(
            rng.integers(0, self.num_options, (n, self.num_dimensions), dtype=np.int16)
        )

    def sample_levels(self, n: int, rng: np.random.Generator) -> Population:
        """Draw `n` architectures that spread from the smallest to the largest.

        Each has a level u ~ U(0, 1) and every dimension an index ~ Binomial(options - 1, u). With
        independent uniform dimensions nearly all architectures are of middling cost.
        """
        level = rng.uniform(0, 1, (n, 1))
        return self.canonicalize(
            rng.binomial(self.num_options - 1, level, (n, self.num_dimensions)).astype(np.int16)
        )

    def sample_distinct(self, n: int, rng: np.random.Generator) -> Population:
        """Draw `n` different architectures; fewer if the space (or the luck of 50 rounds) holds no
        more.
        """
        found = self.unique(self.sample(n, rng))
        for _ in range(MAX_ROUNDS):
            if len(found) >= n:
                break
            found = self.unique(np.concatenate([found, self.sample(n, rng)]))
        return found[:n]

    def all_architectures(self) -> Population:
        """Return every canonical architecture, `num_architectures x d`: for small spaces."""
        population = np.zeros((1, self.num_dimensions), dtype=np.int16)
        for i, num_options in enumerate(self.num_options.tolist()):
            counts = np.where(self.active(population)[:, i], num_options, 1)
            first = np.repeat(np.cumsum(counts) - counts, counts)
            population = np.repeat(population, counts, axis=0)
            population[:, i] = np.arange(len(first)) - first
        return population

    def mutate(self, population: Population, rate: float, rng: np.random.Generator) -> Population:
        """Change every active dimension with probability `rate` to another option, uniformly.

        At least one a row changes; what that activates is drawn too.
        """
        if not self.num_dimensions:
            return population.copy()
        active = self.active(population)
        mutable = active & (self.num_options > 1)
        draw = np.where(mutable, rng.random(population.shape, dtype=np.float32), 2.0)
        change = mutable & ((draw < rate) | (draw == draw.min(axis=1, keepdims=True)))
        # scaled uniform numbers: integers below bounds that differ are drawn one by one
        others = rng.random(population.shape) * (self.num_options - 1)
        shifted = population + 1 + others.astype(np.int16)
        shifted -= self.num_options * (shifted >= self.num_options)
        # what a change activates is drawn anew: it would enter at its smallest option
        return self.canonicalize(np.where(change | ~active, shifted, population))

    def crossover(
        self, first: Population, second: Population, rng: np.random.Generator
    ) -> Population:
        """Uniform crossover of two `n x d` populations, row by row."""
        return self.canonicalize(np.where(rng.random(first.shape) < 0.5, first, second))

    def neighbours(self, genome: Population) -> Population:
        """All other architectures one changed dimension away from `genome` (`1 x d` or `d`),
        without repeats.
        """
        row = np.atleast_2d(genome)
        changed = [
            (dimension, option)
            for dimension in np.flatnonzero(self.active(row)[0])
            for option in range(int(self.num_options[dimension]))
            if option != row[0, dimension]
        ]
        population = np.repeat(row, len(changed), axis=0)
        for i, (dimension, option) in enumerate(changed):
            population[i, dimension] = option
        canonical = self.canonicalize(population)
        return canonical[_first_of_each(canonical)]

    def features(self, population: Population) -> npt.NDArray[np.float32]:
        """One-hot `n x f` float32, f the number of all options; an inactive dimension is all
        zeros.
        """
        n = len(population)
        features = np.zeros((n, int(self.num_options.sum(dtype=np.intp))), dtype=np.float32)
        places = np.arange(n)[:, None] * features.shape[1] + self._offsets + population
        features.reshape(-1)[places] = self.active(population)
        return features

    # --- the doors --------------------------------------------------------------------------------

    def architecture(self, values: Mapping[str, Value]) -> Architecture:
        """Check `values` (option by dimension name) and return the architecture. Values of inactive
        dimensions are dropped.

        Raises:
            InputError: an unknown dimension or option, or an active dimension without a value.
        """
        for name, value in values.items():
            if name not in self._position:
                raise unknown_name("dimension", name, self._position)
            if not _is_option(value, options := self.dimensions[self._position[name]].options):
                raise InputError(
                    f"{name}: unknown option {value!r}; options: {', '.join(map(str, options))}"
                )
        genome = np.zeros((1, self.num_dimensions), dtype=np.int16)
        for i, dimension in enumerate(
            self.dimensions
        ):  # parents first, so activity is settled when a child is reached
            if dimension.name in values:
                genome[0, i] = dimension.options.index(values[dimension.name])
            elif self.active(genome)[0, i]:
                raise InputError(
                    f"architecture of {self.name} lacks a value for {dimension.name!r}; "
                    f"options: {dimension.options}"
                )
        return self.decode(self.canonicalize(genome)[0])

    def decode(self, genome: npt.NDArray[np.integer]) -> Architecture:
        """Turn one genome (d indices, canonical or not) into an architecture."""
        row = np.asarray(genome).reshape(1, -1)
        if (
            row.shape[1] != self.num_dimensions
            or row.dtype.kind not in "iu"
            or (row < 0).any()
            or (row >= self.num_options).any()
        ):
            raise InputError(
                f"genome of {self.name}: expected {self.num_dimensions} option indices, "
                f"got {row[0].tolist()}"
            )
        active = self.active(row)[0]
        return Architecture(
            self.name,
            tuple(
                (d.name, d.options[row[0, i]]) for i, d in enumerate(self.dimensions) if active[i]
            ),
        )

    def encode(self, architecture: Architecture) -> Population:
        """Turn an architecture into its canonical genome, `1 x d`."""
        if architecture.space != self.name:
            raise InputError(
                f"expected an architecture of {self.name}, got one of {architecture.space}"
            )
        genome = self.smallest()
        try:
            for name, value in architecture.choices:
                i = self._position[name]
                genome[0, i] = self.dimensions[i].options.index(value)
        except (KeyError, ValueError):
            self.architecture(architecture.values)  # raises the error that names what is wrong
            raise
        return genome

    def encode_all(self, architectures: Iterable[Architecture]) -> Population:
        """Turn architectures into a population, `n x d`."""
        rows = [self.encode(architecture) for architecture in architectures]
        return np.concatenate(rows) if rows else np.zeros((0, self.num_dimensions), dtype=np.int16)

    def parse(self, text: str) -> Architecture:
        """Read the family's published text form; without one, a JSON object of values by dimension
        name.

        Raises:
            InputError: text of another form, or values that are not in the space.
        """
        try:
            values = self._parse_values(text) if self._parse_values else json.loads(text)
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise InputError(
                f"{text[:80]!r} is not an architecture of {self.name}: {error}"
            ) from None
        if not isinstance(values, Mapping):
            raise InputError(
                f"{text[:80]!r} is not an architecture of {self.name}: "
                "expected values by dimension name"
            )
        return self.architecture(values)


def _first_of_each(rows: npt.NDArray[np.int16]) -> npt.NDArray[np.intp]:
    """Return the position of the first of every set of equal rows, ascending."""
    _, first = np.unique(rows, axis=0, return_index=True)
    return np.sort(first)


def _is_option(value: Value, options: tuple[Value, ...]) -> bool:
    """Tell whether value is an option; True is not 1."""
    return any(
        value == option and isinstance(value, bool) == isinstance(option, bool)
        for option in options
    )
