"""Plain torch modules -> ONNX, emitted directly: milliseconds, where torch's exporter takes
seconds.

The module is traced by `torch.fx`; every node becomes a few ONNX nodes (`onnx_operations`). Batch
norms that follow a convolution are folded into it. What has no emitter is never guessed: torch's
exporter writes such modules (`onnx_export`).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import helper
from torch import fx, nn
from torch._ops import OpOverload

from hardware_profiles.onnx_forms import Forms, attribute
from hardware_profiles.onnx_operations import (
    FUNCTIONS,
    METHODS,
    MODULES,
    TORCH_OPERATIONS,
    Call,
    Emitter,
    Graph,
    UnknownOperationError,
)
from hardware_profiles.onnx_operations.call import Read, constant_array
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
        UnknownOperationError: the module holds an operation that neither an emitter nor torch's
            exporter knows, or takes or returns another number of tensors.
    """
    try:
        model = emitted_model(module, inputs, outputs)
    except UnknownOperationError as error:
        model = _exported(module, inputs, outputs, error)
    properties = dict(metadata or {})
    if any(spec.free for spec in inputs.values()):  # the sizes that latencies hold for
        properties[SHAPES_KEY] = json.dumps({name: spec.shape for name, spec in inputs.items()})
    helper.set_model_props(model, properties)
    return model


def _exported(
    module: nn.Module,
    inputs: Mapping[str, TensorSpec],
    outputs: Sequence[str],
    reason: UnknownOperationError,
) -> Any:
    from hardware_profiles.onnx_export import exported_by_torch  # takes time, seldom needed

    versions = {"opset": OPSET, "ir_version": IR_VERSION}
    try:
        return exported_by_torch(module, inputs, outputs, batch=BATCH_NAME, **versions)
    except UnknownOperationError as error:
        raise UnknownOperationError(f"{reason}; {error}") from error


def emitted_model(
    module: nn.Module, inputs: Mapping[str, TensorSpec], outputs: Sequence[str] = ("logits",)
) -> Any:
    """Do the same by emitters alone, without properties.

    Raises:
        UnknownOperationError: the module holds an operation that no emitter knows, or takes or
            returns another number of tensors.
    """
    traced = _trace(module)
    forms = Forms(traced, inputs)
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
            _emit(graph, traced, node, names, folded.get(node), forms)
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
    _infer_output_shapes(model, graph)
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


def _infer_output_shapes(model: Any, graph: Graph) -> None:
    """State the shapes of the outputs, which also proves that the graph fits together."""
    try:
        inferred = onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except onnx.shape_inference.InferenceError as error:
        raise UnknownOperationError(f"no ONNX emission: {str(error).splitlines()[0]}") from None
    for output, found in zip(model.graph.output, inferred.graph.output, strict=True):
        output.CopyFrom(found)
    if graph.ranks or graph.types:
        _check_expected(inferred.graph, graph)


def _check_expected(inferred: Any, graph: Graph) -> None:
    """Check that tensors have the axes and types that emitters counted on."""
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    ranks |= {tensor.name: len(tensor.dims) for tensor in inferred.initializer}
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for noun, expected, found in (("axes", graph.ranks, ranks), ("type", graph.types, types)):
        for name, value in expected.items():
            if found.get(name) != value:
                raise UnknownOperationError(
                    f"no ONNX emission: {noun} of {name}: {found.get(name)}, not {value}"
                )


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
    forms: Forms,
) -> None:
    if node.op == "get_attr":
        graph.constant(names[node], constant_array(attribute(traced, node)))
        return
    call = _call(traced, node, names, forms)
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


def _call(
    traced: fx.GraphModule, node: fx.Node, names: Mapping[fx.Node, str], forms: Forms
) -> Call:
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

    def named(name: str) -> fx.Node:
        # the first: a folded norm has the name of what it follows
        return next(one for one, known in names.items() if known == name)

    return Call(
        output=names[node],
        inputs=tuple(tensors),
        arguments=tuple(others),
        settings={key: value for key, value in node.kwargs.items() if key not in given},
        tensors={key: names[value] for key, value in given.items()},
        module=traced.get_submodule(str(node.target)) if node.op == "call_module" else None,
        number_first=number_first,
        given=_with_names(node.args, names),
        target=node.target,
        form_of=lambda name: forms.of(named(name)),
        rank_of=lambda name: forms.rank(named(name)),
    )


def _with_names(argument: Any, names: Mapping[fx.Node, str]) -> Any:
    """Put names for tensors, also those in lists."""
    if isinstance(argument, fx.Node):
        return Read(names[argument])
    if isinstance(argument, (list, tuple)):
        return tuple(_with_names(one, names) for one in argument)
    return argument


def _emitter(node: fx.Node, module: nn.Module | None) -> Emitter | None:
    if node.op == "call_method":
        return METHODS.get(str(node.target))
    if isinstance(node.target, OpOverload):
        return TORCH_OPERATIONS.get(str(node.target))
    if module is None:
        return FUNCTIONS.get(node.target)
    return next((emit for kind, emit in MODULES.items() if isinstance(module, kind)), None)
