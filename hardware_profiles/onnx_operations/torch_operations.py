"""Operations of torch by their own names (`torch.ops.aten`), as traced networks hold them.

Almost all work number by number. All take float32 numbers only: ONNX reckons otherwise with others.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from onnx import TensorProto

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, Read


class _Place:
    """A call whose arguments have names."""

    def __init__(self, graph: Graph, call: Call) -> None:
        self.graph, self.call = graph, call
        schema = call.target._schema.arguments
        given = dict(zip((argument.name for argument in schema), call.given, strict=False))
        tensors = {key: Read(name) for key, name in call.tensors.items()}
        self._arguments: dict[str, Any] = {**given, **call.settings, **tensors}
        self._defaults = {argument.name: argument.default_value for argument in schema}
        self._count = 0

    def __getitem__(self, name: str) -> Any:
        """Return an argument: a number, a list, None, or a tensor's `Read`."""
        return self._arguments.get(name, self._defaults[name])

    def only(self, *names: str) -> None:
        """Refuse arguments of other names that are not what they are without being given."""
        for name, value in self._arguments.items():
            if name not in names and value != self._defaults[name]:
                raise self.call.refuse(f"{name}={value!r}")

    def value(self, name: str) -> str:
        """Return the ONNX name of an argument that is a tensor or a number."""
        return self.operand(self[name])

    def operand(self, value: Any) -> str:
        """Return the ONNX name of a tensor, or of a number that becomes a constant."""
        if isinstance(value, Read):
            return value.name
        if not isinstance(value, (int, float)):
            raise self.call.refuse(f"an operand {value!r}")
        return self.graph.weight(self._new(), np.array(float(value)))

    def integers(self, *values: int) -> str:
        return self.graph.integers(self._new(), values)

    def step(self, operation: str, *names: str, **attributes: Any) -> str:
        """Add a node on the way; return the name of its result."""
        return self.graph.add(operation, names, self._new(), **attributes)

    def result(self, operation: str, *names: str, **attributes: Any) -> None:
        """Add the last node."""
        self.graph.add(operation, names, self.call.output, **attributes)

    def _new(self) -> str:
        self._count += 1
        return f"{self.call.output}.{self._count}"


Build = Callable[[_Place], None]


def _emitter(build: Build) -> Emitter:
    def emit(graph: Graph, call: Call) -> None:
        graph.expect_floats(*call.inputs, *call.tensors.values())
        build(_Place(graph, call))

    return emit


# --- of one tensor --------------------------------------------------------------------------------


def _unary(operation: str) -> Build:
    def build(place: _Place) -> None:
        place.only("self", "input")
        place.result(operation, *place.call.inputs)

    return build


def _chain(*operations: str) -> Build:
    """One operation on the result of the other."""

    def build(place: _Place) -> None:
        place.only("self")
        name = place.value("self")
        for operation in operations[:-1]:
            name = place.step(operation, name)
        place.result(operations[-1], name)

    return build


def _gated(*operations: str) -> Build:
    """x * f(x)."""

    def build(place: _Place) -> None:
        place.only("self")
        gate = name = place.value("self")
        for operation in operations:
            gate = place.step(operation, gate)
        place.result("Mul", name, gate)

    return build


def _square(place: _Place) -> None:
    place.result("Mul", place.value("self"), place.value("self"))


def _exp2(place: _Place) -> None:
    place.only("self")
    place.result("Pow", place.operand(2.0), place.value("self"))


def _log_to(base: float) -> Build:
    def build(place: _Place) -> None:
        place.only("self")
        logarithm = place.step("Log", place.value("self"))
        place.result("Div", logarithm, place.operand(math.log(base)))

    return build


def _log_sigmoid(place: _Place) -> None:
    """-softplus(-x)."""
    place.only("self")
    smooth = place.step("Softplus", place.step("Neg", place.value("self")))
    place.result("Neg", smooth)


def _elu(place: _Place) -> None:
    place.only("self", "alpha")
    place.result("Elu", place.value("self"), alpha=float(place["alpha"]))


def _celu(place: _Place) -> None:
    place.result("Celu", place.value("self"), alpha=float(place["alpha"]))


def _leaky_relu(place: _Place) -> None:
    place.result("LeakyRelu", place.value("self"), alpha=float(place["negative_slope"]))


def _clamp(low: str | None, high: str | None) -> Build:
    def build(place: _Place) -> None:
        name = place.value("self")
        bounds = [None if key is None else place[key] for key in (low, high)]
        for bound, operation in zip(bounds, ("Max", "Min"), strict=True):
            if bound is not None:
                name = place.step(operation, name, place.operand(bound))
        place.result("Identity", name)

    return build


# --- of two and three -----------------------------------------------------------------------------


def _binary(operation: str, swapped: bool = False) -> Build:
    """self and other, the latter times alpha where there is one."""

    def build(place: _Place) -> None:
        place.only("self", "other", "alpha")
        first, second = place.value("self"), place.value("other")
        alpha = place["alpha"] if "alpha" in place._defaults else 1
        if alpha != 1:
            factor = place.operand(alpha)
            if swapped:
                first = place.step("Mul", first, factor)
            else:
                second = place.step("Mul", second, factor)
        place.result(operation, *((second, first) if swapped else (first, second)))

    return build


def _power(place: _Place) -> None:
    place.only("self", "exponent")
    place.result("Pow", place.value("self"), place.value("exponent"))


def _prelu(place: _Place) -> None:
    """Each channel, on the second axis, has a slope."""
    name, slope = place.value("self"), place.value("weight")
    rank = place.call.rank(name)
    (channels,) = place.call.fixed_sizes(slope, 0)
    if channels > 1 and rank > 2:
        slope = place.step("Reshape", slope, place.integers(channels, *[1] * (rank - 2)))
    place.result("PRelu", name, slope)


# --- along an axis --------------------------------------------------------------------------------


def _glu(place: _Place) -> None:
    name, call = place.value("self"), place.call
    axis = call.axis(name, place["dim"])
    half = call.fixed_sizes(name, axis)[0] // 2
    parts = [f"{call.output}.values", f"{call.output}.gates"]
    place.graph.add_several("Split", [name, place.integers(half, half)], parts, axis=axis)
    place.result("Mul", parts[0], place.step("Sigmoid", parts[1]))


def _softmax(operation: str) -> Build:
    def build(place: _Place) -> None:
        if place["dtype"] not in (None, torch.float32):
            raise place.call.refuse("only float32")
        place.result(operation, place.value("self"), axis=int(place["dim"]))

    return build


def _extreme(operation: str) -> Build:
    def build(place: _Place) -> None:
        if not place["dim"]:
            raise place.call.refuse("only over named dimensions")
        axes, keepdims = [int(axis) for axis in place["dim"]], int(place["keepdim"])
        place.result(operation, place.value("self"), axes=axes, keepdims=keepdims)

    return build


def _pixel_shuffle(place: _Place) -> None:
    name, factor = place.value("self"), int(place["upscale_factor"])
    place.graph.expect_rank(name, 4)
    place.result("DepthToSpace", name, blocksize=factor, mode="CRD")


def _stack(place: _Place) -> None:
    call = place.call
    rank = call.rank(call.inputs[0]) + 1
    axis = int(place["dim"]) % rank
    parts = [place.step("Unsqueeze", name, place.integers(axis)) for name in call.inputs]
    place.result("Concat", *parts, axis=axis)


_BUILDS: Mapping[str, Build] = {
    **{
        f"{name}.default": _unary(operation)
        for name, operation in {
            "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh",
            "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh",
            "erf": "Erf", "exp": "Exp", "floor": "Floor", "log": "Log", "neg": "Neg",
            "reciprocal": "Reciprocal", "relu": "Relu", "round": "Round", "sigmoid": "Sigmoid",
            "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt",
            "tan": "Tan", "tanh": "Tanh", "selu": "Selu", "hardswish": "HardSwish",
        }.items()
    },
    "rsqrt.default": _chain("Sqrt", "Reciprocal"),
    "silu.default": _gated("Sigmoid"),
    "mish.default": _gated("Softplus", "Tanh"),
    "square.default": _square,
    "exp2.default": _exp2,
    "log2.default": _log_to(2.0),
    "log10.default": _log_to(10.0),
    "log_sigmoid.default": _log_sigmoid,
    "elu.default": _elu,
    "celu.default": _celu,
    "leaky_relu.default": _leaky_relu,
    "clamp.default": _clamp("min", "max"),
    "clamp.Tensor": _clamp("min", "max"),
    "clamp_min.default": _clamp("min", None),
    "clamp_max.default": _clamp(None, "max"),
    "hardtanh.default": _clamp("min_val", "max_val"),
    **{f"add.{form}": _binary("Add") for form in ("Tensor", "Scalar")},
    **{f"sub.{form}": _binary("Sub") for form in ("Tensor", "Scalar")},
    **{f"rsub.{form}": _binary("Sub", swapped=True) for form in ("Tensor", "Scalar")},
    **{f"mul.{form}": _binary("Mul") for form in ("Tensor", "Scalar")},
    **{f"div.{form}": _binary("Div") for form in ("Tensor", "Scalar")},
    "maximum.default": _binary("Max"),
    "minimum.default": _binary("Min"),
    "max.other": _binary("Max"),
    "min.other": _binary("Min"),
    **{f"pow.{form}": _power for form in ("Tensor_Scalar", "Tensor_Tensor", "Scalar")},
    **{f"gt.{form}": _binary("Greater") for form in ("Tensor", "Scalar")},
    **{f"lt.{form}": _binary("Less") for form in ("Tensor", "Scalar")},
    **{f"ge.{form}": _binary("GreaterOrEqual") for form in ("Tensor", "Scalar")},
    **{f"le.{form}": _binary("LessOrEqual") for form in ("Tensor", "Scalar")},
    "prelu.default": _prelu,
    "glu.default": _glu,
    "softmax.int": _softmax("Softmax"),
    "log_softmax.int": _softmax("LogSoftmax"),
    "amax.default": _extreme("ReduceMax"),
    "amin.default": _extreme("ReduceMin"),
    "pixel_shuffle.default": _pixel_shuffle,
    "stack.default": _stack,
}  # fmt: skip


def _emit_where(graph: Graph, call: Call) -> None:
    """Choose by truth values, tensors or numbers."""
    place = _Place(graph, call)
    condition, *others = (place[key] for key in ("condition", "self", "other"))
    graph.types[condition.name] = TensorProto.BOOL
    graph.expect_floats(*(read.name for read in others if isinstance(read, Read)))
    place.result("Where", condition.name, *(place.operand(other) for other in others))


def _compare_numbers(operation: str, negated: bool = False) -> Emitter:
    """Compare with a number; whole numbers, ids and masks, as floats, which hold them exactly."""

    def emit(graph: Graph, call: Call) -> None:
        place = _Place(graph, call)
        source = place.step("Cast", place["self"].name, to=TensorProto.FLOAT)
        operands = (source, place.operand(float(place["other"])))
        if negated:
            place.result("Not", place.step(operation, *operands))
        else:
            place.result(operation, *operands)

    return emit


def _emit_masked_fill(graph: Graph, call: Call) -> None:
    """Put a number where a mask is true."""
    place = _Place(graph, call)
    mask, source = place["mask"].name, place["self"].name
    graph.types[mask] = TensorProto.BOOL
    graph.expect_floats(source)
    place.result("Where", mask, place.operand(float(place["value"])), source)


def _emit_zeros_like(graph: Graph, call: Call) -> None:
    place = _Place(graph, call)
    if place["dtype"] not in (None, torch.float32):
        raise call.refuse(f"dtype={place['dtype']}")
    source = place.step("Cast", place["self"].name, to=TensorProto.FLOAT)
    place.result("Mul", source, place.operand(0.0))


def _emit_to_floats(graph: Graph, call: Call) -> None:
    place = _Place(graph, call)
    if place["dtype"] is not torch.float32:
        raise call.refuse(f"dtype={place['dtype']}")
    place.result("Cast", place["self"].name, to=TensorProto.FLOAT)


MASK_OPERATIONS: dict[str, Emitter] = {
    "aten.eq.Scalar": _compare_numbers("Equal"),
    "aten.ne.Scalar": _compare_numbers("Equal", negated=True),
    "aten.masked_fill.Scalar": _emit_masked_fill,
    "aten.zeros_like.default": _emit_zeros_like,
    "aten.to.dtype": _emit_to_floats,
}
"""What masks are made of: of ids, truth values and floats."""

TORCH_OPERATIONS: dict[str, Emitter] = {
    **MASK_OPERATIONS,
    **{f"aten.{name}": _emitter(build) for name, build in _BUILDS.items()},
    **{
        f"aten.where.{form}": _emit_where
        for form in ("self", "ScalarSelf", "ScalarOther", "Scalar")
    },
}
"""By what torch calls them."""
