"""The places of a network, and the network that one architecture puts there: plain data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.architecture import Value
from search_spaces.layer_kind import TensorSpec
from search_spaces.layer_spec import LayerSpec

OptionValues = Mapping[str, npt.NDArray[Any]]  # one array of option values by dimension name


@dataclass(frozen=True)
class Selected:
    """The slot or network input that the option of a dimension names."""

    dimension: str
    names: Mapping[Value, str]


Source = str | Selected


@dataclass(frozen=True)
class LayerSlot:
    """One place of the network that holds one layer, or none.

    Args:
        name: module name in supernet and subnet, "stage1_block2".
        kind: one of `LAYER_KINDS`.
        depends_on: the dimensions from which the layer follows.
        fields: maps option values (an array by dimension name) to the kind's fields (arrays, ints
            or words).
        present: maps the same to a bool array; absent means always there. An empty slot passes on
            what it would have read first.
        reads: earlier slots and network inputs, one for each input of the kind; without any, the
            slot before (of the first slot: the first input of the network).
        droppable: whether training may drop the layer's output (drop-path).
    """

    name: str
    kind: str
    depends_on: tuple[str, ...]
    fields: Callable[[OptionValues], Mapping[str, Any]]
    present: Callable[[OptionValues], npt.NDArray[np.bool_]] | None = None
    reads: tuple[Source, ...] = ()
    droppable: bool = False


def fixed_slot(
    name: str, kind: str, fields: Mapping[str, Any], reads: tuple[Source, ...] = ()
) -> LayerSlot:
    """Return a slot whose layer no choice changes."""
    return LayerSlot(name, kind, (), lambda values: fields, reads=reads)


@dataclass(frozen=True)
class NetworkLayer:
    """One layer of a network and the layers or network inputs whose outputs it reads."""

    name: str
    spec: LayerSpec
    reads: tuple[str, ...]
    droppable: bool = False


@dataclass(frozen=True)
class Network:
    """One architecture as a graph of layers, in the order of execution."""

    inputs: Mapping[str, TensorSpec]
    layers: tuple[NetworkLayer, ...]
    outputs: Mapping[str, str]  # name -> the layer that gives it
