"""The graph under construction, and one traced operation that is to join it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

Array = npt.NDArray[Any]
Sizes = tuple[int | None, ...]  # None for what the batch or a free axis decides


class UnknownOperationError(NotImplementedError):
    """The module holds an operation that this emitter does not know."""


@dataclass
class Graph:
    """ONNX nodes and weights under construction."""

    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    ranks: dict[str, int] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)

    def add(self, operation: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of one output; return the output's name."""
        self.add_several(operation, inputs, [output], **attributes)
        return output

    def add_several(
        self, operation: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Add a node of several outputs."""
        self.nodes.append(
            helper.make_node(operation, list(inputs), list(outputs), name=outputs[0], **attributes)
        )

    def expect_rank(self, name: str, rank: int) -> None:
        """State how many axes a tensor must have; a model in which it has others is refused."""
        self.ranks[name] = rank

    def expect_floats(self, *names: str) -> None:
        """State that tensors must be float32, likewise: ONNX may reckon otherwise with others."""
        self.types |= dict.fromkeys(names, TensorProto.FLOAT)

    def weight(self, name: str, value: Array) -> str:
        """Add a float32 constant; return its name."""
        return self.constant(name, np.asarray(value, dtype=np.float32))

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Add an int64 constant (a shape, axes); return its name."""
        return self.constant(name, np.asarray(values, dtype=np.int64))

    def constant(self, name: str, value: Array) -> str:
        """Add a constant of the array's own type; return its name."""
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name


@dataclass(frozen=True)
class Read:
    """A tensor among arguments, by its ONNX name."""

    name: str


@dataclass(frozen=True)
class Form:
    """Sizes and type of a tensor."""

    sizes: Sizes
    dtype: torch.dtype


def _unknown(name: str) -> None:
    return None


@dataclass(frozen=True)
class Call:
    """One traced operation.

    Args:
        output: the ONNX name its result must have; also a prefix for names of its own.
        inputs: ONNX names of its tensor arguments in order, repeated ones included.
        arguments: its other positional arguments (numbers, tuples) in order.
        settings: its keyword arguments that are no tensors.
        tensors: its keyword arguments that are tensors: keyword -> ONNX name.
        module: the called module; None for functions and methods.
        number_first: whether a positional argument that is no tensor comes before the tensors.
        given: all its positional arguments in order, each tensor a `Read`.
        target: the called function, or the name of the module or method.
        form_of: returns the form of the tensor with an ONNX name, None where that is unknown. The
            network is run through for it once, without numbers, so only emitters that cannot do
            without ask.
    """

    output: str
    inputs: tuple[str, ...]
    arguments: tuple[Any, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    module: Any = None
    number_first: bool = False
    given: tuple[Any, ...] = ()
    target: Any = None
    form_of: Callable[[str], Form | None] = _unknown
    rank_of: Callable[[str], int | None] = _unknown

    def sizes(self, name: str) -> Sizes:
        """Return the sizes of a tensor.

        Raises:
            UnknownOperationError: they are not known.
        """
        form = self.form_of(name)
        if form is None:
            raise self.refuse(f"the sizes of {name} are not known")
        return form.sizes

    def fixed_sizes(self, name: str, first: int) -> list[int]:
        """Return the sizes of a tensor from an axis on, which neither batch nor free axes decide.

        Raises:
            UnknownOperationError: one is not fixed.
        """
        fixed = [size for size in self.sizes(name)[first:] if size is not None]
        if len(fixed) != len(self.sizes(name)[first:]):
            raise self.refuse("only sizes that do not change")
        return fixed

    def rank(self, name: str) -> int:
        """Return how many axes a tensor has.

        Raises:
            UnknownOperationError: that is not known.
        """
        rank = self.rank_of(name)
        if rank is None:
            raise self.refuse(f"the axes of {name} are not known")
        return rank

    def axis(self, name: str, axis: int) -> int:
        """Return an axis of a tensor as counted from the front."""
        return axis if axis >= 0 else axis + self.rank(name)

    def refuse(self, reason: str) -> UnknownOperationError:
        """Build the error for a form of the operation that has no emission."""
        what = self.output if self.module is None else self.module
        return UnknownOperationError(f"no ONNX emission for {what}: {reason}")


Emitter = Callable[[Graph, Call], None]


def as_numpy(tensor: torch.Tensor) -> Array:
    """Return weights as float32 numbers of the CPU."""
    return tensor.detach().cpu().float().contiguous().numpy()


def constant_array(tensor: torch.Tensor) -> Array:
    """Return a tensor as float32 numbers; whole numbers and truth values as they are."""
    if tensor.is_floating_point():
        return as_numpy(tensor)
    return tensor.detach().cpu().contiguous().numpy()


def named_arguments(call: Call, *names: str) -> dict[str, Any]:
    """Return the arguments that are no tensors by name, however they were given."""
    if len(call.arguments) > len(names):
        raise call.refuse(f"only the arguments {', '.join(names)}")
    return {**dict(zip(names, call.arguments, strict=False)), **call.settings}


def module_weight(graph: Graph, call: Call, name: str) -> str:
    """Add a parameter of the called module; return its ONNX name."""
    parameter: nn.Parameter = getattr(call.module, name)
    return graph.weight(f"{call.output}.{name}", as_numpy(parameter))
