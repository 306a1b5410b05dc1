"""A graph made ready for conversion: simplified, nodes named, types and shapes known."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from hardware_profiles.onnx_graph import IR_VERSION
from search_spaces import InputError

PRODUCER = "supernet-engine"
HARD_ACTIVATIONS = ("HardSigmoid", "HardSwish")


def simplified(model: Any, *, hard_as_relu: bool = False) -> Any:
    """Return a model without what ONNX Runtime's basic rewriting removes: identities, constants to
    fold, norms beside convolutions, biases beside products. Every node has a name of its own, every
    tensor a type.

    Args:
        model: an `onnx.ModelProto`; left as it is.
        hard_as_relu: put ReLU in the place of h-swish and h-sigmoid.

    Raises:
        InputError: ONNX Runtime cannot read the model.
    """
    import onnxruntime

    source = onnx.ModelProto()
    source.CopyFrom(model)
    if hard_as_relu:
        _replace_hard_activations(source)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with TemporaryDirectory() as folder:
        path = Path(folder) / "simplified.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                source.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 -- ONNX Runtime's errors have no common base
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise InputError(f"ONNX Runtime cannot open this model: {reason}") from None
        result = onnx.load(str(path))
    _name_nodes(result)
    finish(result, model)
    del result.graph.value_info[:]
    try:
        return onnx.shape_inference.infer_shapes(result, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise InputError(f"shapes in this model do not follow: {str(error)[:200]}") from None


def finish(model: Any, source: Any) -> None:
    """Give a converted model the versions, properties and edges of the one it was made from.

    Raises:
        InputError: it holds operations that are not ONNX's own.
    """
    domains = {node.domain for node in model.graph.node}
    if domains - {"", "ai.onnx"}:
        raise InputError(f"expected operations of ONNX alone, got some of {sorted(domains)}")
    del model.opset_import[:]
    model.opset_import.extend(one for one in source.opset_import if one.domain in ("", "ai.onnx"))
    model.ir_version = min(source.ir_version, IR_VERSION) if source.ir_version else IR_VERSION
    model.producer_name, model.producer_version = PRODUCER, ""
    del model.metadata_props[:]
    model.metadata_props.extend(source.metadata_props)
    model.graph.name = source.graph.name
    for mine, theirs in (
        (model.graph.input, source.graph.input),
        (model.graph.output, source.graph.output),
    ):
        kept = list(theirs)
        del mine[:]
        mine.extend(kept)


def _name_nodes(model: Any) -> None:
    taken: set[str] = set()
    for node in model.graph.node:
        name = base = node.name or node.output[0]
        number = 2
        while name in taken:
            name, number = f"{base}.{number}", number + 1
        taken.add(name)
        node.name = name


def _replace_hard_activations(model: Any) -> None:
    for node in model.graph.node:
        if node.op_type in HARD_ACTIVATIONS:
            node.op_type = "Relu"
            del node.attribute[:]
