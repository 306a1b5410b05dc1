"""What tracing found: operations on values, as the rules of axes see them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from search_spaces.conversion.axes import AtomAxis


@dataclass(eq=False)
class Weight:
    """A weight of an operation, whose axes are those of its network's tensor."""

    source: str  # name of the parameter or buffer
    axes: tuple[AtomAxis, ...]


@dataclass(eq=False)
class Value:
    """A tensor that flows through the network."""

    name: str
    axes: tuple[AtomAxis, ...]
    dtype: str = "float32"


@dataclass(eq=False)
class Operation:
    """One operation that became a step of a program.

    Args:
        kind: name in the catalogue of operations.
        reads: values it reads, in order.
        result: the value it gives.
        settings: as in a program's step; sizes that can be chosen are axes of atoms (`sizes`).
        sizes: settings that are axes.
        weights: by name in the layer.
        statistics: names of the buffers with a norm's running mean and variance.
        module: path of the module that it belongs to.
    """

    kind: str
    reads: tuple[Value, ...]
    result: Value
    settings: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, AtomAxis] = field(default_factory=dict)
    weights: Mapping[str, Weight] = field(default_factory=dict)
    statistics: tuple[str, str] | None = None
    module: str = ""


@dataclass
class NetworkGraph:
    """A whole network."""

    inputs: list[Value]
    operations: list[Operation]
    outputs: dict[str, Value]
    kernels: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Constant:
    """A tensor of the network itself: a parameter, a buffer, or what follows from buffers alone."""

    source: str
    tensor: Tensor
    trained: bool


@dataclass(frozen=True)
class Parts:
    """A tensor cut along an axis, not yet taken apart."""

    value: Value
    dim: int
    lengths: tuple[int, ...]
    drop: bool = False  # the axis, where each part is one position
