"""The graph under construction, and one traced operation that is to join it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import helper, numpy_helper
from torch import nn

Array = npt.NDArray[Any]


class UnknownOperationError(NotImplementedError):
    """The module holds an operation that this emitter does not know."""


@dataclass
class Graph:
    """ONNX nodes and weights under construction."""

    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)

    def add(self, operation: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of one output; return the output's name."""
        self.nodes.append(
            helper.make_node(operation, list(inputs), [output], name=output, **attributes)
        )
        return output

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
    """

    output: str
    inputs: tuple[str, ...]
    arguments: tuple[Any, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    module: Any = None
    number_first: bool = False

    def refuse(self, reason: str) -> UnknownOperationError:
        """Build the error for a form of the operation that has no emission."""
        what = self.output if self.module is None else self.module
        return UnknownOperationError(f"no ONNX emission for {what}: {reason}")


Emitter = Callable[[Graph, Call], None]


def as_numpy(tensor: torch.Tensor) -> Array:
    """Return weights as float32 numbers of the CPU."""
    return tensor.detach().cpu().float().contiguous().numpy()


def module_weight(graph: Graph, call: Call, name: str) -> str:
    """Add a parameter of the called module; return its ONNX name."""
    parameter: nn.Parameter = getattr(call.module, name)
    return graph.weight(f"{call.output}.{name}", as_numpy(parameter))
