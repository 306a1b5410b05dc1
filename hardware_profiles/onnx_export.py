"""torch's own ONNX exporter, for networks with operations that have no emitter here.

It takes seconds, and loads onnxscript for it, so it comes last. Its files are brought to the opset
and IR version of all others, and must answer as the network does.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from hardware_profiles.onnx_forms import BATCHES, DTYPES
from hardware_profiles.onnx_operations import UnknownOperationError
from hardware_profiles.profile_device import onnx_session
from search_spaces import TensorSpec

TOLERANCE = 1e-3  # of the greatest output
EXPORTER_OPSET = 18  # the oldest it writes
LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")
REDUCTIONS = frozenset(
    f"Reduce{name}"
    for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)


def exported_by_torch(
    module: nn.Module,
    inputs: Mapping[str, TensorSpec],
    outputs: Sequence[str],
    *,
    batch: str,
    opset: int,
    ir_version: int,
) -> Any:
    """Export a module in eval mode as an ONNX `ModelProto`.

    Args:
        module: not changed.
        inputs: what it takes, in order, by the names they get in the file.
        outputs: names of what it returns, in order.
        batch: name of the free batch dimension.
        opset, ir_version: of the file.

    Raises:
        UnknownOperationError: the exporter is at a loss as well, needs a later opset, or gives a
            file that answers otherwise than the module.
    """
    try:
        import onnxscript  # noqa: F401  torch loads it, and says less where it is missing
    except ImportError:
        raise UnknownOperationError(
            "torch's exporter needs onnxscript: pip install onnxscript"
        ) from None
    network = copy.deepcopy(module).cpu().eval()
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                network,
                _example(inputs, BATCHES[0]),
                dynamo=True,
                opset_version=EXPORTER_OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=[_free(name, spec, batch) for name, spec in inputs.items()],
                external_data=False,
                verbose=False,
            )
        assert program is not None
        model = program.model_proto
        _lower_opset(model, opset)
        _drop_notes(model)
        model.ir_version = ir_version
        onnx.checker.check_model(model, full_check=True)
        same = all(_answers_alike(model, network, _example(inputs, size)) for size in BATCHES)
    except Exception as error:
        if isinstance(error, UnknownOperationError):
            raise
        raise UnknownOperationError(f"torch's exporter: {_reason(error)}") from error
    if not same or len(model.graph.output) != len(outputs):
        raise UnknownOperationError("torch's exporter gives a file that answers otherwise")
    return model


def _reason(error: BaseException) -> str:
    """Return the first line of what began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"


def _example(inputs: Mapping[str, TensorSpec], batch: int) -> tuple[Tensor, ...]:
    """Return normal numbers; zeros for whole ones, which any vocabulary has."""
    generator = torch.Generator().manual_seed(batch)
    shapes = [(DTYPES[spec.dtype], (batch, *spec.shape)) for spec in inputs.values()]
    return tuple(
        torch.randn(shape, generator=generator)
        if dtype == torch.float32
        else torch.zeros(shape, dtype=dtype)
        for dtype, shape in shapes
    )


def _free(name: str, spec: TensorSpec, batch: str) -> dict[int, str]:
    return {0: batch, **{i + 1: f"{name}_{i}" for i in spec.free}}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter says on its way to itself: its result is checked."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _lower_opset(model: Any, opset: int) -> None:
    """Write what opset 18 says otherwise than 17; what is new in it the check of the file finds."""
    assert opset == EXPORTER_OPSET - 1
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
        elif node.op_type in REDUCTIONS:
            _lower_reduction(node, constants)
        elif node.op_type == "Split" and len(node.input) < 2:
            _drop(node, "num_outputs")  # equal parts, or the check of the file's shapes fails
        elif node.op_type == "Resize":
            _drop_usual(node, "antialias", 0)
            _drop_usual(node, "keep_aspect_ratio_policy", b"stretch")
    others = {entry.domain for entry in model.opset_import if entry.domain}
    if others:
        raise UnknownOperationError(f"torch's exporter: operations of {', '.join(others)}")
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))


def _lower_reduction(node: Any, constants: Mapping[str, Any]) -> None:
    """Axes were an attribute."""
    if len(node.input) > 1:
        axes = constants.get(node.input[1])
        if axes is None:
            raise UnknownOperationError("torch's exporter: axes that are computed")
        del node.input[1]
        node.attribute.append(helper.make_attribute("axes", _integers(axes)))
    _drop_usual(node, "noop_with_empty_axes", 0)


def _integers(tensor: Any) -> list[int]:
    return [int(axis) for axis in np.atleast_1d(numpy_helper.to_array(tensor))]


def _named(node: Any, name: str) -> list[Any]:
    return [attribute for attribute in node.attribute if attribute.name == name]


def _drop_usual(node: Any, name: str, usual: Any) -> None:
    """Take out an attribute where it says what holds without it."""
    if any(helper.get_attribute_value(attribute) == usual for attribute in _named(node, name)):
        _drop(node, name)


def _drop(node: Any, name: str) -> None:
    for attribute in _named(node, name):
        node.attribute.remove(attribute)


def _drop_notes(model: Any) -> None:
    """Take out what later IR versions may note down, such as lines of source files."""
    graph = model.graph
    parts = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
    for part in (model, graph, *(entry for several in parts for entry in several)):
        del part.metadata_props[:]
        part.doc_string = ""


def _answers_alike(model: Any, network: nn.Module, batch: tuple[Tensor, ...]) -> bool:
    session = onnx_session(model.SerializeToString())
    feeds = {
        value.name: tensor.numpy()
        for value, tensor in zip(session.get_inputs(), batch, strict=True)
    }
    found = session.run(None, feeds)
    with torch.no_grad():
        results = network(*batch)
    expected = [results] if isinstance(results, Tensor) else list(results)
    return len(found) == len(expected) and all(
        one.shape == tuple(other.shape)
        and np.allclose(one, other.numpy(), atol=TOLERANCE * float(other.abs().max()))
        for one, other in zip(found, expected, strict=True)
    )
