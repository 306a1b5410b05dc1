"""What an execution provider of ONNX Runtime makes of a model in 16 bits: tried, not guessed."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import onnx

from hardware_profiles.profile_device import CPU_PROVIDER, DeviceError, check_provider, onnx_session
from nas.exporting.parity import Arrays
from nas.exporting.precisions.conversion import batches
from nas.exporting.precisions.quantised_nodes import WEIGHTED
from search_spaces import InputError

if TYPE_CHECKING:
    from nas.exporting.precisions.half import HalfType


def lacking(model: Any, provider: str, half: "HalfType") -> set[str]:
    """Return the kinds of nodes that a provider cannot compute in the type, each tried alone.

    Args:
        model: an `onnx.ModelProto` in the type.

    Raises:
        InputError: the provider is not there.
    """
    import onnxruntime

    try:
        check_provider(provider)
    except DeviceError as error:
        raise InputError(str(error)) from None
    lacks = set()
    for node in _one_of_each(model, half):
        alone = _alone(model, node)
        try:
            onnxruntime.InferenceSession(alone, _plain_options(), providers=[provider])
        except Exception:  # noqa: BLE001 -- ONNX Runtime's errors have no common base
            lacks.add(node.op_type)
    return lacks


def _one_of_each(model: Any, half: "HalfType") -> list[Any]:
    """Return the first node of every kind that gives numbers of the type, casts aside."""
    types = _types(model)
    first: dict[str, Any] = {}
    for node in model.graph.node:
        if node.op_type != "Cast" and _element_type(types, node) == half.onnx_type:
            first.setdefault(node.op_type, node)
    return list(first.values())


def _alone(model: Any, node: Any) -> bytes:
    """Return the model of a single node, with the types and weights it has in the whole."""
    types = _types(model)
    weights = [one for one in model.graph.initializer if one.name in node.input]
    constants = {one.name for one in weights}
    inputs = [types[name] for name in dict.fromkeys(node.input) if name and name not in constants]
    outputs = [types[name] for name in node.output if name]
    graph = onnx.helper.make_graph([node], "alone", inputs, outputs, weights)
    versions = list(model.opset_import)
    made = onnx.helper.make_model(graph, opset_imports=versions, ir_version=model.ir_version)
    return bytes(made.SerializeToString())


def _types(model: Any) -> dict[str, Any]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}


def _element_type(types: dict[str, Any], node: Any) -> int:
    value = types.get(node.output[0])
    return 0 if value is None else int(value.type.tensor_type.elem_type)


def check_runs(model: bytes, samples: Arrays, provider: str, precision: str) -> None:
    """Open and run a model on a batch, optimised.

    Raises:
        InputError: the provider does not.
    """
    try:
        session = onnx_session(model, 1, provider)
        session.run(None, batches(onnx.load_from_string(model), samples)[0])
    except Exception as error:  # noqa: BLE001 -- ONNX Runtime's errors have no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{provider} does not run it in {precision}: {reason}") from None


def check_compute(model: bytes, provider: str, half: "HalfType") -> tuple[str, ...]:
    """Say which layers the CPU provider computes in fp32, between casts that it adds itself.

    Other providers do not show what they run; they have kernels of their own for what they take.
    """
    if provider != CPU_PROVIDER:
        return ()
    import onnxruntime

    wanted = _in_half(onnx.load_from_string(model), half)
    done = _in_half(_as_run(model), half)
    lost = sorted({kind for kind in wanted if wanted.count(kind) > done.count(kind)})
    if not lost:
        return ()
    return (
        f"{provider} of ONNX Runtime {onnxruntime.__version__} has no {half.name} {', '.join(lost)}"
        " here: it computes them in fp32 between casts, so this file is not faster on it",
    )


def _as_run(model: bytes) -> onnx.ModelProto:
    """Return the graph as ONNX Runtime runs it on the CPU, without its optimisations."""
    import onnxruntime

    options = _plain_options()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "as_run.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model, options, providers=[CPU_PROVIDER])
        return onnx.load(str(path))


def _plain_options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _in_half(model: onnx.ModelProto, half: "HalfType") -> Sequence[str]:
    """Kinds of the layers with weights that give numbers of the type."""
    types = _types(model)
    return [
        node.op_type
        for node in model.graph.node
        if node.op_type in WEIGHTED and _element_type(types, node) == half.onnx_type
    ]
