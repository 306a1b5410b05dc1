"""Plain torch modules -> ONNX, emitted directly: milliseconds, where torch's exporter takes
seconds.

The module is traced by `torch.fx`; every node becomes a few ONNX nodes (`onnx_operations`). Batch
norms that follow a convolution are folded into it. What has no emitter is an error, not a guess.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import helper
from torch import fx, nn

from hardware_profiles.onnx_operations import (
    FUNCTIONS,
    METHODS,
    MODULES,
    Call,
    Emitter,
    Graph,
    UnknownOperationError,
)
from hardware_profiles.onnx_operations.call import as_numpy
from hardware_profiles.onnx_operations.convolution import BatchNorm, Convolution, emit_convolution
from hardware_profiles.operators import OPSET
from hardware_profiles.profile_device import SHAPES_KEY
from search_spaces import TensorSpec

IR_VERSION = 8  # with opset 17, what old runtimes load
BATCH_NAME = "batch"
DTYPES = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64}


def onnx_model(
    module: nn.Module,
    inputs: Mapping[str, TensorSpec],
    metadata: Mapping[str, str] | None = None,
    outputs: Sequence[str] = ("logits",),
) -> Any:
    """Emit a module in eval mode as an ONNX `ModelProto` with a free batch dimension.

    Args:
        module: its norms calibrated; not changed.
        inputs: what it takes, in order, by the names they get in the file; dimensions that are
            free are free in the file too.
        metadata: stored in the model's properties.
        outputs: names of what it returns, in order.

    Raises:
        UnknownOperationError: the module holds an operation the emitter does not know, or takes or
            returns another number of tensors.
    """
    traced = _trace(module)
    graph = Graph()
    names: dict[fx.Node, str] = {}
    folded = _folded_norms(traced)
    waiting = list(inputs)
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            if not waiting:
                raise UnknownOperationError(f"no ONNX emission: {node.name} is an input too many")
            names[node] = waiting.pop(0)
        elif node.op == "output":
            _name_outputs(graph, node, names, outputs)
        elif node in folded.values():
            names[node] = names[node.args[0]]
        else:
            names[node] = f"{node.name}_out"  # never the name of the graph's input or output
            _emit(graph, traced, node, names, folded.get(node))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "subnet",
            [_input(name, spec) for name, spec in inputs.items()],
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="supernet-engine",
    )
    _infer_output_shapes(model)
    properties = dict(metadata or {})
    if any(spec.free for spec in inputs.values()):  # the sizes that latencies hold for
        properties[SHAPES_KEY] = json.dumps({name: spec.shape for name, spec in inputs.items()})
    helper.set_model_props(model, properties)
    return model


def _trace(module: nn.Module) -> fx.GraphModule:
    """Trace a module; a single torch layer is put into a chain of one, where it stays a layer."""
    if isinstance(module, fx.GraphModule):
        return module
    try:
        return fx.symbolic_trace(nn.Sequential(module) if type(module) in MODULES else module)
    except fx.proxy.TraceError as error:
        raise UnknownOperationError(f"{type(module).__name__} cannot be traced: {error}") from None


def _input(name: str, spec: TensorSpec) -> Any:
    sizes = [f"{name}_{i}" if i in spec.free else size for i, size in enumerate(spec.shape)]
    return helper.make_tensor_value_info(name, DTYPES[spec.dtype], [BATCH_NAME, *sizes])


def _name_outputs(
    graph: Graph, node: fx.Node, names: Mapping[fx.Node, str], outputs: Sequence[str]
) -> None:
    results = node.args[0] if isinstance(node.args[0], (tuple, list)) else (node.args[0],)
    if len(results) != len(outputs) or not all(result in names for result in results):
        raise UnknownOperationError(
            f"no ONNX emission: expected outputs {', '.join(outputs)}, got {node.args[0]}"
        )
    for result, name in zip(results, outputs, strict=True):
        graph.add("Identity", [names[result]], name)


def _infer_output_shapes(model: Any) -> None:
    """State the shapes of the outputs, which also proves that the graph fits together."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise UnknownOperationError(f"no ONNX emission: {str(error).splitlines()[0]}") from None
    for output, found in zip(model.graph.output, inferred.graph.output, strict=True):
        output.CopyFrom(found)


def _folded_norms(traced: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Map each convolution to the batch norm that alone reads it."""
    folded = {}
    for node in traced.graph.nodes:
        if _is_module(traced, node, BatchNorm):
            source = node.args[0]
            if _is_module(traced, source, Convolution) and len(source.users) == 1:
                folded[source] = node
    return folded


def _is_module(traced: fx.GraphModule, node: Any, kinds: Any) -> bool:
    return node.op == "call_module" and isinstance(traced.get_submodule(node.target), kinds)


def _emit(
    graph: Graph,
    traced: fx.GraphModule,
    node: fx.Node,
    names: Mapping[fx.Node, str],
    norm: fx.Node | None,
) -> None:
    if node.op == "get_attr":
        graph.weight(names[node], as_numpy(_attribute(traced, str(node.target))))
        return
    call = _call(traced, node, names)
    if isinstance(call.module, Convolution):
        following = None if norm is None else traced.get_submodule(str(norm.target))
        emit_convolution(graph, call, following if isinstance(following, BatchNorm) else None)
        return
    emitter = _emitter(node, call.module)
    if emitter is None:
        what = node.target if call.module is None else f"module {type(call.module).__name__}"
        raise UnknownOperationError(f"no ONNX emission for {node.op} {what}")
    if getattr(call.module, "inplace", False) and len(node.all_input_nodes[0].users) > 1:
        raise UnknownOperationError(f"{node.name} writes over what others read")
    emitter(graph, call)


def _call(traced: fx.GraphModule, node: fx.Node, names: Mapping[fx.Node, str]) -> Call:
    """Sort the arguments of a node into tensors and the rest; lists of tensors count one by one."""
    tensors: list[str] = []
    others: list[Any] = []
    number_first = False
    for argument in node.args:
        if isinstance(argument, fx.Node):
            tensors.append(names[argument])
        elif isinstance(argument, (list, tuple)) and argument and isinstance(argument[0], fx.Node):
            tensors += [names[item] for item in argument]  # type: ignore[index]
        else:
            others.append(argument)
            number_first |= not tensors
    given = {key: value for key, value in node.kwargs.items() if isinstance(value, fx.Node)}
    return Call(
        output=names[node],
        inputs=tuple(tensors),
        arguments=tuple(others),
        settings={key: value for key, value in node.kwargs.items() if key not in given},
        tensors={key: names[value] for key, value in given.items()},
        module=traced.get_submodule(str(node.target)) if node.op == "call_module" else None,
        number_first=number_first,
    )


def _emitter(node: fx.Node, module: nn.Module | None) -> Emitter | None:
    if node.op == "call_method":
        return METHODS.get(str(node.target))
    if module is None:
        return FUNCTIONS.get(node.target)
    return next((emit for kind, emit in MODULES.items() if isinstance(module, kind)), None)


def _attribute(traced: fx.GraphModule, target: str) -> Any:
    owner, _, name = target.rpartition(".")
    return getattr(traced.get_submodule(owner), name)
