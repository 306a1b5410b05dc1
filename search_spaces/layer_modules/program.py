"""Programs as plain torch modules: graphs of torch's own layers and functions."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from search_spaces.errors import InputError
from search_spaces.layer_program import (
    NUM_SIZES,
    Axis,
    Chosen,
    Step,
    axis_size,
    has_batch,
    read_axis,
    read_program,
)
from search_spaces.layer_spec import LayerSpec


@dataclass(frozen=True)
class _Place:
    """A step that is to become a node of a graph."""

    step: Step
    sizes: Sequence[int]
    root: nn.Module
    graph: fx.Graph
    name: str
    reads: tuple[fx.Node, ...]
    batch_like: fx.Node  # an input, whose first axis is the batch

    def setting(self, name: str, default: Any = None) -> Any:
        return self.step.settings.get(name, default)

    def weight(self, name: str) -> tuple[int, ...]:
        """The sizes of a weight."""
        return tuple(int(axis_size(axis, self.sizes)) for axis in self.step.weights[name])

    def has(self, name: str) -> bool:
        return name in self.step.weights

    def chosen_size(self, name: str) -> int:
        """The size that a setting gives as an axis."""
        return int(axis_size(read_axis(self.setting(name)), self.sizes))

    def module(self, module: nn.Module) -> fx.Node:
        """Put a layer here."""
        self.root.add_module(self.name, module)
        return self.graph.call_module(self.name, self.reads[:1])

    def function(self, function: Any, *arguments: Any, **settings: Any) -> fx.Node:
        return self.graph.call_function(function, arguments, settings)

    def method(self, name: str, *arguments: Any, **settings: Any) -> fx.Node:
        return self.graph.call_method(name, arguments, settings)


# --- layers with weights --------------------------------------------------------------------------


def _convolution(place: _Place, transposed: bool = False) -> fx.Node:
    shape = place.weight("weight")
    groups, kernel = place.chosen_size("groups"), shape[2:]
    channels = (shape[0], shape[1] * groups) if transposed else (shape[1] * groups, shape[0])
    dilation, padding = place.setting("dilation"), place.setting("padding")
    if any(isinstance(f, Chosen) for axis in place.step.weights["weight"][2:] for f in axis[0]):
        padding = [d * (k // 2) for d, k in zip(dilation, kernel, strict=True)]
    settings = {
        "stride": tuple(place.setting("stride")),
        "padding": tuple(padding),
        "dilation": tuple(dilation),
        "groups": groups,
        "bias": place.has("bias"),
    }
    if transposed:
        settings["output_padding"] = tuple(place.setting("output_padding"))
    kinds = _TRANSPOSED if transposed else _CONVOLUTIONS
    return place.module(kinds[len(kernel)](*channels, kernel, **settings))


_CONVOLUTIONS: Mapping[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: Mapping[int, Callable[..., nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


def _linear(place: _Place) -> fx.Node:
    result, source = place.weight("weight")
    return place.module(nn.Linear(source, result, bias=place.has("bias")))


def _batch_norm(place: _Place) -> fx.Node:
    kinds: Mapping[int, Callable[..., nn.Module]] = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    kind = kinds.get(len(place.step.shape), nn.BatchNorm1d)
    channels = int(axis_size(place.step.shape[1], place.sizes))
    settings = {name: place.setting(name) for name in ("eps", "momentum")}
    return place.module(kind(channels, affine=place.has("weight"), **settings))


def _layer_norm(place: _Place) -> fx.Node:
    axes = place.step.shape[-place.setting("axes") :]
    sizes = tuple(int(axis_size(axis, place.sizes)) for axis in axes)
    affine, bias = place.has("weight"), place.has("bias")
    return place.module(nn.LayerNorm(sizes, place.setting("eps"), affine, bias=bias))


def _group_norm(place: _Place) -> fx.Node:
    groups, channels = place.chosen_size("groups"), axis_size(place.step.shape[1], place.sizes)
    return place.module(
        nn.GroupNorm(groups, int(channels), place.setting("eps"), affine=place.has("weight"))
    )


def _rms_norm(place: _Place) -> fx.Node:
    sizes = place.weight("weight")
    return place.module(nn.RMSNorm(sizes, place.setting("eps")))


def _prelu(place: _Place) -> fx.Node:
    return place.module(nn.PReLU(place.weight("weight")[0]))


def _embedding(place: _Place) -> fx.Node:
    rows, width = place.weight("weight")
    return place.module(nn.Embedding(rows, width))


def _parameter(place: _Place) -> fx.Node:
    value = torch.empty(place.weight("value"))
    place.root.register_parameter(
        place.name, nn.Parameter(value, requires_grad=place.setting("trainable"))
    )
    return place.graph.get_attr(place.name)


# --- layers without -------------------------------------------------------------------------------


def _plain(kind: Callable[..., nn.Module], place: _Place) -> fx.Node:
    settings = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in place.step.settings.items()
    }
    return place.module(kind(**settings))


# --- functions ------------------------------------------------------------------------------------


def _binary(function: Any, place: _Place) -> fx.Node:
    if len(place.reads) == 2:
        return place.function(function, *place.reads)
    operands = (place.reads[0], place.setting("number"))
    return place.function(function, *(operands[::-1] if place.setting("reversed") else operands))


def _concatenate(place: _Place) -> fx.Node:
    return place.function(torch.cat, list(place.reads), dim=place.setting("dim"))


def _attention(place: _Place) -> fx.Node:
    mask = {"attn_mask": place.reads[3]} if len(place.reads) > 3 else {}
    causal = {"is_causal": True} if place.setting("causal") else {}
    settings = {**mask, **causal, "scale": place.setting("scale")}
    return place.function(F.scaled_dot_product_attention, *place.reads[:3], **settings)


def _reduction(name: str, place: _Place) -> fx.Node:
    dims = place.setting("dims")
    dims = dims[0] if len(dims) == 1 else tuple(dims)
    return place.method(name, place.reads[0], dims, keepdim=place.setting("keepdim"))


def _reshape(place: _Place) -> fx.Node:
    return place.method("reshape", place.reads[0], *map(partial(_length, place), place.step.shape))


def _length(place: _Place, axis: Axis) -> int:
    """The size of an axis, -1 for what the batch decides."""
    return -1 if has_batch(axis) else int(axis_size(axis, place.sizes))


def _expand(place: _Place) -> fx.Node:
    """Repeat along axes of size 1; along the first one as often as there are samples."""
    sizes: list[Any] = [_length(place, axis) for axis in place.step.shape]
    if place.setting("batch"):
        sizes[0] = place.method("size", place.batch_like, 0)
    return place.method("expand", place.reads[0], *sizes)


def _permute(place: _Place) -> fx.Node:
    return place.method("permute", place.reads[0], *place.setting("dims"))


def _select(place: _Place) -> fx.Node:
    return place.method("select", place.reads[0], place.setting("dim"), place.setting("index"))


def _narrow(place: _Place) -> fx.Node:
    arguments = (place.setting(name) for name in ("dim", "start", "length"))
    return place.method("narrow", place.reads[0], *arguments)


def _pad(place: _Place) -> fx.Node:
    mode, sizes = place.setting("mode"), tuple(place.setting("sizes"))
    value = {"value": place.setting("value")} if mode == "constant" else {}
    return place.function(F.pad, place.reads[0], sizes, mode=mode, **value)


def _of_torch(place: _Place) -> fx.Node:
    """Call an operation of torch by name, with what it was called with before."""
    reads = iter(place.reads)

    def given(plain: Any) -> Any:
        if isinstance(plain, dict):
            return next(reads) if plain == {"read": True} else NUMBERS[plain["dtype"]]
        return [given(one) for one in plain] if isinstance(plain, list) else plain

    function = torch_operation(place.setting("name"))
    arguments = [given(one) for one in place.setting("arguments")]
    keywords = {key: given(value) for key, value in place.setting("keywords").items()}
    return place.function(function, *arguments, **keywords)


def torch_operation(name: str) -> Any:
    """Return an operation of torch that reads tensors and numbers, writes nothing else and gives
    one tensor.

    Raises:
        InputError: no such operation, or one that does more.
    """
    first, _, overload = name.removeprefix("aten.").partition(".")
    packet = getattr(torch.ops.aten, first, None) if first.isidentifier() else None
    found = getattr(packet, overload, None) if overload.isidentifier() else None
    if not isinstance(found, torch._ops.OpOverload):
        raise InputError(f"unknown operation of torch {name!r}")
    schema = found._schema
    reads = {"Tensor", "int", "float", "bool", "number", "Scalar", "SymInt"}
    words = {word for argument in schema.arguments for word in _words(str(argument.type))} - {
        "Optional",
        "List",
    }
    one = len(schema.returns) == 1 and str(schema.returns[0].type) == "Tensor"
    unusual = words - reads - {"Device", "ScalarType", "Layout", "MemoryFormat", "str"}
    reads_tensors = any("Tensor" in str(argument.type) for argument in schema.arguments)
    if schema.is_mutable or unusual or not one or not reads_tensors:
        raise InputError(f"{name!r} is no operation from tensors to a tensor")
    return found


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text).split()


NUMBERS = {str(one): one for one in (torch.float32, torch.int64, torch.bool)}
"""Types of numbers that operations may turn tensors into."""

Builder = Callable[[_Place], fx.Node]

_LAYERS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "mish": nn.Mish,
    "softmax": nn.Softmax,
    "max_pool1d": nn.MaxPool1d,
    "max_pool2d": nn.MaxPool2d,
    "avg_pool1d": nn.AvgPool1d,
    "avg_pool2d": nn.AvgPool2d,
    "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d,
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
    "adaptive_max_pool2d": nn.AdaptiveMaxPool2d,
    "upsample": nn.Upsample,
}

OPERATIONS: dict[str, Builder] = {
    "conv": _convolution,
    "conv_transpose": partial(_convolution, transposed=True),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
    "prelu": _prelu,
    "embedding": _embedding,
    "parameter": _parameter,
    **{name: partial(_plain, kind) for name, kind in _LAYERS.items()},
    "add": partial(_binary, operator.add),
    "sub": partial(_binary, operator.sub),
    "mul": partial(_binary, operator.mul),
    "div": partial(_binary, operator.truediv),
    "matmul": partial(_binary, torch.matmul),
    "cat": _concatenate,
    "attention": _attention,
    "mean": partial(_reduction, "mean"),
    "sum": partial(_reduction, "sum"),
    "reshape": _reshape,
    "expand": _expand,
    "permute": _permute,
    "select": _select,
    "narrow": _narrow,
    "pad": _pad,
    "torch": _of_torch,
}
"""What a step of a program may be."""


def step_name(position: int, step: Step) -> str:
    """Return the name of a step's layer in the module, the beginning of its weights' names."""
    return f"{step.operation}_{position}"


def weight_name(position: int, step: Step, weight: str) -> str:
    """Return the name that a weight of a step has in the module."""
    name = step_name(position, step)
    return name if step.operation == "parameter" else f"{name}.{weight}"


def program_module(spec: LayerSpec) -> fx.GraphModule:
    """Build the module of a program.

    Raises:
        InputError: an unknown operation, or settings that it does not take.
    """
    program = read_program(spec["program"])
    sizes = [spec[f"size{i}"] for i in range(NUM_SIZES)]
    root, graph = nn.Module(), fx.Graph()
    values = [graph.placeholder(f"input_{i}") for i in range(len(program.inputs))]
    for position, step in enumerate(program.steps):
        if step.operation not in OPERATIONS:
            raise InputError(f"a layer's program has the unknown operation {step.operation!r}")
        reads = tuple(values[number] for number in step.reads)
        name = step_name(position, step)
        place = _Place(step, sizes, root, graph, name, reads, values[0])
        try:
            values.append(OPERATIONS[step.operation](place))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"a layer's program: {step.operation}: {error}") from None
    graph.output(values[-1])
    return fx.GraphModule(root, graph, class_name="Program")


PROGRAMS: dict[str, Callable[[LayerSpec], nn.Module]] = {"program": program_module}
