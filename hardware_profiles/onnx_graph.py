"""Plain torch modules -> ONNX, emitted directly: milliseconds, where torch's exporter takes
seconds.

The module is traced by `torch.fx`; every node becomes one or two ONNX nodes. Batch norms that
follow a
convolution are folded into it. Modules and functions beyond those below are an error, not a guess.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch import fx, nn

OPSET = 17  # with IR 8, what old runtimes load
IR_VERSION = 8
INPUT_NAME, OUTPUT_NAME, BATCH_NAME = "input", "logits", "batch"

Array = npt.NDArray[np.float32]


class UnknownOperationError(NotImplementedError):
    """The module holds an operation that this emitter does not know."""


@dataclass
class _Graph:
    """ONNX nodes and weights under construction."""

    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)

    def add(self, operation: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self.nodes.append(
            helper.make_node(operation, list(inputs), [output], name=output, **attributes)
        )

    def weight(self, name: str, value: Array) -> str:
        array = np.ascontiguousarray(value, dtype=np.float32)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name


def onnx_model(
    module: nn.Module, input_shape: Sequence[int], metadata: Mapping[str, str] | None = None
) -> Any:
    """Emit a module in eval mode as an ONNX `ModelProto` with a free batch dimension.

    Args:
        module: its norms calibrated; not changed.
        input_shape: c x h x w.
        metadata: stored in the model's properties.

    Raises:
        UnknownOperationError: the module holds an operation the emitter does not know.
    """
    traced = _trace(module)
    graph = _Graph()
    names: dict[fx.Node, str] = {}
    folded = _folded_norms(traced)
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            if names and node.users:
                raise UnknownOperationError("no ONNX emission for a second input")
            names[node] = INPUT_NAME
        elif node.op == "output":
            if node.args[0] not in names:
                raise UnknownOperationError("no ONNX emission for more than one output")
            graph.add("Identity", [names[node.args[0]]], OUTPUT_NAME)
        elif node in folded.values():
            names[node] = names[node.args[0]]
        else:
            names[node] = f"{node.name}_out"  # never the name of the graph's input or output
            inputs = [names[source] for source in node.all_input_nodes]
            _emit(graph, traced, node, inputs, names[node], folded.get(node))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "subnet",
            [_tensor(INPUT_NAME, [BATCH_NAME, *input_shape])],
            [_tensor(OUTPUT_NAME, None)],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="supernet-engine",
    )
    _infer_output_shape(model)
    helper.set_model_props(model, dict(metadata or {}))
    return model


def _trace(module: nn.Module) -> fx.GraphModule:
    """Trace a module; a single torch layer is put into a chain of one, where it stays a layer."""
    if isinstance(module, fx.GraphModule):
        return module
    try:
        return fx.symbolic_trace(nn.Sequential(module) if _is_layer(module) else module)
    except fx.proxy.TraceError as error:
        raise UnknownOperationError(f"{type(module).__name__} cannot be traced: {error}") from None


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, *MODULES))


def _infer_output_shape(model: Any) -> None:
    """State the shape of the output, which also proves that the graph fits together."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise UnknownOperationError(f"no ONNX emission: {str(error).splitlines()[0]}") from None
    model.graph.output[0].CopyFrom(inferred.graph.output[0])


def _tensor(name: str, shape: Sequence[int | str] | None) -> Any:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _folded_norms(traced: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Map each convolution to the batch norm that alone reads it."""
    folded = {}
    for node in traced.graph.nodes:
        if node.op == "call_module" and isinstance(
            traced.get_submodule(node.target), nn.BatchNorm2d
        ):
            source = node.args[0]
            if (
                source.op == "call_module"
                and isinstance(traced.get_submodule(source.target), nn.Conv2d)
                and len(source.users) == 1
            ):
                folded[source] = node
    return folded


def _emit(
    graph: _Graph,
    traced: fx.GraphModule,
    node: fx.Node,
    inputs: list[str],
    output: str,
    norm: fx.Node | None,
) -> None:
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        if getattr(module, "inplace", False) and len(node.all_input_nodes[0].users) > 1:
            raise UnknownOperationError(f"{node.name} writes over what others read")
        if isinstance(module, nn.Conv2d):
            following = traced.get_submodule(str(norm.target)) if norm is not None else None
            _emit_convolution(graph, output, inputs, module, following)
            return
        for kind, emit in MODULES.items():
            if isinstance(module, kind):
                emit(graph, output, inputs, module)
                return
        raise UnknownOperationError(f"no ONNX emission for module {type(module).__name__}")
    is_known = node.op == "call_function" and node.target in FUNCTIONS
    if is_known and len(inputs) == 2 and not node.kwargs:  # two different tensors, nothing else
        graph.add(FUNCTIONS[node.target], inputs, output)
        return
    raise UnknownOperationError(f"no ONNX emission for {node.op} {node.target}")


def _numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().cpu().float().contiguous().numpy()


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Array, Array]:
    """y = scale * x + shift of a batch norm in eval mode; computed in double precision."""
    _check_norm(norm)
    assert norm.running_mean is not None and norm.running_var is not None
    variance = norm.running_var.detach().double()
    scale = norm.weight.detach().double() / torch.sqrt(variance + norm.eps)
    shift = norm.bias.detach().double() - norm.running_mean.detach().double() * scale
    return scale.cpu().numpy(), shift.cpu().numpy()


def _check_norm(norm: nn.BatchNorm2d) -> None:
    if not norm.affine or norm.running_mean is None:
        raise UnknownOperationError(f"no ONNX emission for {norm}: it has no weights or statistics")


def _emit_convolution(
    graph: _Graph, name: str, inputs: list[str], conv: nn.Conv2d, norm: nn.Module | None
) -> None:
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise UnknownOperationError(f"no ONNX emission for {conv}: only zero padding by numbers")
    weight = _numpy(conv.weight)
    bias = None if conv.bias is None else _numpy(conv.bias)
    if isinstance(norm, nn.BatchNorm2d):
        scale, shift = _scale_and_shift(norm)
        weight = (weight.astype(np.float64) * scale[:, None, None, None]).astype(np.float32)
        bias = (shift if bias is None else shift + scale * bias).astype(np.float32)
    names = [*inputs, graph.weight(f"{name}.weight", weight)]
    if bias is not None:
        names.append(graph.weight(f"{name}.bias", bias))
    padding = [int(p) for p in conv.padding]
    graph.add(
        "Conv",
        names,
        name,
        kernel_shape=list(conv.kernel_size),
        strides=list(conv.stride),
        pads=[*padding, *padding],
        dilations=list(conv.dilation),
        group=conv.groups,
    )


def _emit_norm(graph: _Graph, name: str, inputs: list[str], norm: nn.Module) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    _check_norm(norm)
    assert norm.running_mean is not None and norm.running_var is not None
    tensors = {
        "weight": norm.weight,
        "bias": norm.bias,
        "mean": norm.running_mean,
        "variance": norm.running_var,
    }
    weights = [graph.weight(f"{name}.{key}", _numpy(value)) for key, value in tensors.items()]
    graph.add("BatchNormalization", [*inputs, *weights], name, epsilon=norm.eps)


def _emit_linear(graph: _Graph, name: str, inputs: list[str], linear: nn.Module) -> None:
    assert isinstance(linear, nn.Linear)
    names = [*inputs, graph.weight(f"{name}.weight", _numpy(linear.weight))]
    if linear.bias is not None:
        names.append(graph.weight(f"{name}.bias", _numpy(linear.bias)))
    graph.add("Gemm", names, name, transB=1)


def _emit_pool(graph: _Graph, name: str, inputs: list[str], pool: nn.Module) -> None:
    assert isinstance(pool, nn.AdaptiveAvgPool2d)
    if pool.output_size not in (1, (1, 1)):
        raise UnknownOperationError(f"no ONNX emission for {pool}: only a global pool is known")
    graph.add("GlobalAveragePool", inputs, name)


def _emit_flatten(graph: _Graph, name: str, inputs: list[str], flatten: nn.Module) -> None:
    assert isinstance(flatten, nn.Flatten)
    if (flatten.start_dim, flatten.end_dim) != (1, -1):
        raise UnknownOperationError(f"no ONNX emission for {flatten}: only all but the batch")
    graph.add("Flatten", inputs, name, axis=1)


def _simple(operation: str, **attributes: Any) -> Callable[..., None]:
    return lambda graph, name, inputs, _: graph.add(operation, inputs, name, **attributes)


MODULES: dict[type[nn.Module], Callable[[_Graph, str, list[str], Any], None]] = {
    nn.BatchNorm2d: _emit_norm,
    nn.Linear: _emit_linear,
    nn.AdaptiveAvgPool2d: _emit_pool,
    nn.ReLU: _simple("Relu"),
    nn.Hardswish: _simple("HardSwish"),
    nn.Hardsigmoid: _simple("HardSigmoid", alpha=1 / 6, beta=0.5),
    nn.Flatten: _emit_flatten,
    nn.Identity: _simple("Identity"),
}
"""Convolutions aside, which fold the norm that follows them."""

FUNCTIONS: dict[Any, str] = {
    operator.add: "Add",
    operator.mul: "Mul",
    torch.add: "Add",
    torch.mul: "Mul",
}
