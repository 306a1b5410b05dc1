"""Activations: modules of torch that change number by number."""

import math

import numpy as np
from torch import nn

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, as_numpy
from hardware_profiles.onnx_operations.elementwise import simple

SMOOTH_UNTIL = 15.0  # softplus(x) is x in float32 beyond


def number(graph: Graph, call: Call, word: str, value: float) -> str:
    """Add a number that an operation needs; return its ONNX name."""
    return graph.weight(f"{call.output}.{word}", np.array(value))


def _emit_hardtanh(graph: Graph, call: Call) -> None:
    bounds = [
        number(graph, call, word, getattr(call.module, f"{word}_val")) for word in ("min", "max")
    ]
    graph.add("Clip", [*call.inputs, *bounds], call.output)


def _emit_prelu(graph: Graph, call: Call) -> None:
    """Emit the slopes of channels, which are on the second axis."""
    slope, (source,) = as_numpy(call.module.weight), call.inputs
    if len(slope) > 1:
        slope = slope.reshape(-1, *[1] * (call.rank(source) - 2))
    graph.add("PRelu", [source, graph.weight(f"{call.output}.slope", slope)], call.output)


def emit_silu(graph: Graph, call: Call) -> None:
    """Emit x * sigmoid(x)."""
    (source,) = call.inputs
    gate = graph.add("Sigmoid", [source], f"{call.output}.gate")
    graph.add("Mul", [source, gate], call.output)


def _emit_gelu(graph: Graph, call: Call) -> None:
    """x / 2 * (1 + erf(x / sqrt 2)), in the form that ONNX Runtime fuses; or its approximation."""
    name, (source,) = call.output, call.inputs
    one, half = number(graph, call, "one", 1.0), number(graph, call, "half", 0.5)
    if call.module.approximate == "tanh":
        share = _tanh_share(graph, call)
    else:
        root = number(graph, call, "root", 2**0.5)
        scaled = graph.add("Div", [source, root], f"{name}.scaled")
        share = graph.add("Erf", [scaled], f"{name}.erf")
    whole = graph.add("Add", [share, one], f"{name}.share")
    twice = graph.add("Mul", [source, whole], f"{name}.twice")
    graph.add("Mul", [twice, half], name)


def _tanh_share(graph: Graph, call: Call) -> str:
    """tanh(sqrt(2 / pi) * (x + 0.044715 x^3))."""
    name, (source,) = call.output, call.inputs
    square = graph.add("Mul", [source, source], f"{name}.square")
    cube = graph.add("Mul", [square, source], f"{name}.cube")
    small = graph.add("Mul", [cube, number(graph, call, "cubic", 0.044715)], f"{name}.small")
    inner = graph.add("Add", [source, small], f"{name}.inner")
    root = number(graph, call, "root", math.sqrt(2 / math.pi))
    scaled = graph.add("Mul", [inner, root], f"{name}.scaled")
    return graph.add("Tanh", [scaled], f"{name}.tanh")


def _emit_leaky_relu(graph: Graph, call: Call) -> None:
    graph.add("LeakyRelu", call.inputs, call.output, alpha=call.module.negative_slope)


def _emit_elu(graph: Graph, call: Call) -> None:
    graph.add("Elu", call.inputs, call.output, alpha=call.module.alpha)


def _emit_softplus(graph: Graph, call: Call) -> None:
    """log(1 + exp(beta x)) / beta, x itself beyond a threshold."""
    name, (source,) = call.output, call.inputs
    beta, threshold = float(call.module.beta), float(call.module.threshold)
    if beta <= 0:
        raise call.refuse("only a positive beta")
    factor, scaled = number(graph, call, "beta", beta), source
    if beta != 1:
        scaled = graph.add("Mul", [source, factor], f"{name}.scaled")
    smooth = graph.add("Softplus", [scaled], f"{name}.smooth")
    if beta != 1:
        smooth = graph.add("Div", [smooth, factor], f"{name}.back")
    if threshold < SMOOTH_UNTIL:
        limit = number(graph, call, "threshold", threshold)
        beyond = graph.add("Greater", [scaled, limit], f"{name}.beyond")
        smooth = graph.add("Where", [beyond, source, smooth], f"{name}.either")
    graph.add("Identity", [smooth], name)


def emit_mish(graph: Graph, call: Call) -> None:
    """Emit x * tanh(softplus(x))."""
    (source,) = call.inputs
    smooth = graph.add("Softplus", [source], f"{call.output}.smooth")
    gate = graph.add("Tanh", [smooth], f"{call.output}.gate")
    graph.add("Mul", [source, gate], call.output)


def _emit_softmax(graph: Graph, call: Call) -> None:
    if call.module.dim is None:
        raise call.refuse("only over a named dimension")
    graph.add("Softmax", call.inputs, call.output, axis=call.module.dim)


ACTIVATION_MODULES: dict[type[nn.Module], Emitter] = {
    nn.PReLU: _emit_prelu,
    nn.ReLU: simple("Relu"),
    nn.Hardtanh: _emit_hardtanh,  # ReLU6 is one
    nn.Sigmoid: simple("Sigmoid"),
    nn.Tanh: simple("Tanh"),
    nn.Hardswish: simple("HardSwish"),
    nn.Hardsigmoid: simple("HardSigmoid", alpha=1 / 6, beta=0.5),
    nn.SiLU: emit_silu,
    nn.GELU: _emit_gelu,
    nn.LeakyReLU: _emit_leaky_relu,
    nn.ELU: _emit_elu,
    nn.Softplus: _emit_softplus,
    nn.Mish: emit_mish,
    nn.Softmax: _emit_softmax,
}
