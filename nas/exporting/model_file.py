"""From the plain model file to one of other options, in memory. No torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import onnxruntime
from onnx import helper, version_converter

from hardware_profiles.artifact import tool_version
from nas.exporting.graph import check_graph, metadata_of
from nas.exporting.manifest import ImagePreprocessing, Preprocessing
from nas.exporting.model_options import ModelOptions
from nas.exporting.pixels import take_pixels
from search_spaces import InputError
from search_spaces.errors import ParityError

BATCH_NAME = "batch"


def stamped(plain: bytes, properties: Mapping[str, str]) -> bytes:
    """Return a model file with further properties."""
    model = onnx.load_from_string(plain)
    _set_properties(model, {**metadata_of(model), **properties, "tool_version": tool_version()})
    return bytes(model.SerializeToString())


def make_file(
    plain: bytes,
    options: ModelOptions,
    preprocessing: Preprocessing,
    size: Sequence[int],
) -> tuple[bytes, tuple[str, ...]]:
    """Return the file that options ask for, but for their precision, and its ONNX operators.

    Args:
        plain: the stamped file, of any batch; in another precision at the wanted opset already.
        preprocessing: what the manifest states.
        size: (height, width) of the data's images.

    Raises:
        InputError: options that this network has no file for.
        ParityError: the result is not sound.
    """
    model = onnx.load_from_string(plain)
    if options.preprocessing == "graph":
        if not isinstance(preprocessing, ImagePreprocessing):
            raise InputError(
                "--preprocessing graph is of images: this network takes "
                f"{preprocessing.kind}{'' if preprocessing.kind == 'tokens' else 's'}"
            )
        take_pixels(model, preprocessing, size)
    if options.batch is not None:
        _fix_batch(model, options.batch)
    model = _at_opset(model, options.opset)
    data = bytes(model.SerializeToString())
    operators = check_graph(data)
    return (data if options.format == "onnx" else to_ort(data)), operators


def at_opset(plain: bytes, opset: int) -> bytes:
    """Return a serialised model at another opset.

    Raises:
        InputError: it cannot be written in that one.
    """
    return bytes(_at_opset(onnx.load_from_string(plain), opset).SerializeToString())


def _fix_batch(model: Any, batch: int) -> None:
    for tensor in (*model.graph.input, *model.graph.output):
        first = tensor.type.tensor_type.shape.dim[0]
        first.Clear()
        first.dim_value = batch
    del model.graph.value_info[:]


def _at_opset(model: Any, opset: int) -> Any:
    """Return the model at another opset, with its properties and IR version."""
    if opset == model.opset_import[0].version:
        return model
    try:
        converted = version_converter.convert_version(model, opset)
    except RuntimeError:
        new = sorted({node.op_type for node in model.graph.node if _since(node.op_type) > opset})
        operators = f"{', '.join(new)} came later" if new else "onnx has no conversion to it"
        raise InputError(
            f"expected an opset that this network can be written in, got {opset}: {operators}"
        ) from None
    _set_properties(converted, metadata_of(model))
    converted.ir_version = model.ir_version
    converted.producer_name = model.producer_name
    return converted


def _since(operator: str) -> int:
    """Return the first opset that had an operator."""
    schemas = [one for one in onnx.defs.get_all_schemas_with_history() if one.name == operator]
    return min((one.since_version for one in schemas if one.domain == ""), default=0)


def _set_properties(model: Any, properties: Mapping[str, str]) -> None:
    helper.set_model_props(model, dict(sorted(properties.items())))


def to_ort(model: bytes) -> bytes:
    """Return an ONNX file in ONNX Runtime's own format, which its builds for phones open.

    Optimised only as far as every processor gains: what depends on this one is left out.

    Raises:
        ParityError: ONNX Runtime cannot open it.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.ort"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", "ORT")
        try:
            onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 -- ONNX Runtime's errors have no common base
            raise ParityError(f"ONNX Runtime cannot open it: {str(error)[:200]}") from None
        return path.read_bytes()
