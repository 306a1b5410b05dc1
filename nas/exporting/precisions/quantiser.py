"""A simplified fp32 graph with known ranges -> quantise/dequantise pairs (QDQ)."""

from collections.abc import Collection
from typing import Any

import onnx

from nas.exporting.precisions.calibration import quiet
from nas.exporting.precisions.prepared import finish
from nas.exporting.precisions.schemes import Scheme


def quantised(model: Any, ranges: Any, scheme: Scheme, nodes: Collection[str]) -> bytes:
    """Quantise some nodes of a model; outputs stay fp32 to the last bit of what is computed.

    Args:
        model: an `onnx.ModelProto`, simplified; left as it is.
        ranges: of its tensors.
        nodes: by name; with none, the model itself.
    """
    if not nodes:  # the library would take that for all
        return bytes(model.SerializeToString())
    from onnxruntime.quantization import QDQQuantizer, QuantType

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    options = {
        "ActivationSymmetric": scheme.symmetric_activations,
        "WeightSymmetric": True,
        "QuantizeBias": scheme.quantised_biases,
        "DedicatedQDQPair": not scheme.shared_pairs,
    }
    kinds = sorted({node.op_type for node in copy.graph.node if node.name in set(nodes)})
    with quiet():
        quantizer = QDQQuantizer(
            copy,
            True,  # per channel
            scheme.reduce_range,
            QuantType.QInt8,
            QuantType.QInt8 if scheme.signed_activations else QuantType.QUInt8,
            ranges,
            list(nodes),
            [],
            kinds,
            options,
        )
        result = quantizer.quantize_model()
        quantizer.model.topological_sort()
    _free_outputs(result.graph)
    finish(result, model)
    onnx.checker.check_model(result, full_check=True)
    return bytes(result.SerializeToString())


def _free_outputs(graph: Any) -> None:
    """Let nodes that compute outputs give them in fp32: rounding logits would tie classes."""
    makers = {name: node for node in graph.node for name in node.output}
    for output in graph.output:
        dequantise = makers.get(output.name)
        if dequantise is None or dequantise.op_type != "DequantizeLinear":
            continue
        quantise = makers.get(dequantise.input[0])
        maker = makers.get(quantise.input[0]) if quantise is not None else None
        if quantise is None or maker is None or quantise.op_type != "QuantizeLinear":
            continue
        inner = quantise.input[0]
        readers = [node for node in graph.node if inner in node.input]
        pair_readers = [node for node in graph.node if dequantise.input[0] in node.input]
        if len(readers) > 1 or len(pair_readers) > 1:
            continue
        maker.output[list(maker.output).index(inner)] = output.name
        used = {*quantise.input[1:], *dequantise.input[1:]}
        graph.node.remove(quantise)
        graph.node.remove(dequantise)
        _drop_weights(graph, used)


def _drop_weights(graph: Any, names: set[str]) -> None:
    """Remove initialisers that nothing reads any more."""
    read = {name for node in graph.node for name in node.input}
    for weight in [one for one in graph.initializer if one.name in names - read]:
        graph.initializer.remove(weight)
