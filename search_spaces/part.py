"""A part of a search space: some options of some dimensions only."""

from collections.abc import Mapping, Sequence

import numpy as np

from search_spaces.architecture import Architecture, Value
from search_spaces.errors import InputError, unknown_name
from search_spaces.space import Dimension, Population, SearchSpace


class SpacePart:
    """The architectures of a space in which the named dimensions have these options only.

    `space` is the part as a space of its own, with every operation; `embed` turns its genomes into
    the whole space's.

    Raises:
        InputError: an unknown dimension or option, or a dimension without any.
    """

    def __init__(self, whole: SearchSpace, options: Mapping[str, Sequence[Value]]) -> None:
        self.whole, self._options = whole, options
        known = {dimension.name: dimension for dimension in whole.dimensions}
        kept = {name: range(len(dimension.options)) for name, dimension in known.items()}
        chosen: dict[str, Sequence[int]] = kept | {
            name: _kept(name, values, known) for name, values in options.items()
        }
        dimensions: list[Dimension] = []
        idle: set[str] = set()
        for dimension in whole.dimensions:
            active_when = dimension.active_when
            if active_when is not None:
                parent, activating = active_when
                still = frozenset(i for i, old in enumerate(chosen[parent]) if old in activating)
                active_when = (parent, still)
                if not still or parent in idle:  # never active now: one option, which says nothing
                    chosen[dimension.name], active_when = [0], None
                    idle.add(dimension.name)
            left = tuple(dimension.options[i] for i in chosen[dimension.name])
            dimensions.append(Dimension(dimension.name, left, active_when))
        words = " ".join(f"{name}={','.join(map(str, v))}" for name, v in options.items())
        self.space = whole
        if options:
            name = f"{whole.name}[{words}]"
            self.space = SearchSpace(
                name,
                dimensions,
                whole.slots,
                settings=whole.settings,
                network_key=lambda population: whole.equivalence_key(self.embed(population)),
                modality=whole.modality,
                inputs=whole.inputs,
                outputs=whole.output_slots,
                cells=whole.cells,  # they name options by value, not by index
            )
        width = max((len(indices) for indices in chosen.values()), default=1)
        self._index = np.zeros((len(dimensions), width), dtype=np.int16)  # d x options
        for row, indices in zip(self._index, chosen.values(), strict=True):
            row[: len(indices)] = indices

    def embed(self, population: Population) -> Population:
        """Return `n x d` genomes of the part as genomes of the whole space."""
        if self.space is self.whole:
            return population
        embedded = self._index[np.arange(population.shape[1]), population]
        return self.whole.canonicalize(embedded)

    def holds(self, architecture: Architecture) -> bool:
        """Tell whether an architecture of the whole space is of this part."""
        return all(architecture.values.get(n, v[0]) in v for n, v in self._options.items())


def _kept(name: str, values: Sequence[Value], known: Mapping[str, Dimension]) -> list[int]:
    """Return the indices of these options of a dimension, in its order."""
    if name not in known:
        raise unknown_name("dimension", name, known)
    options = known[name].options
    unknown = [value for value in values if value not in options]
    if unknown or not values:
        raise InputError(
            f"{name}: expected some of its options {', '.join(map(str, options))}, "
            f"got {', '.join(map(str, unknown)) or 'none'}"
        )
    return [i for i, option in enumerate(options) if option in values]
