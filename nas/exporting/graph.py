"""Whether an ONNX file is sound: checker, shapes, operators, all of it in one file. No torch."""

from typing import Any

import onnx

from hardware_profiles.operators import operators_of, unlisted
from search_spaces.errors import ParityError

TORCH_EXPORTER = "pytorch"  # as it names itself in its files


def check_graph(data: bytes, exporter: str = "supernet-engine") -> tuple[str, ...]:
    """Check an ONNX file in memory; return its operators.

    Args:
        exporter: "torch" lets operators pass that are not listed, if the file says so too.

    Raises:
        ParityError: weights outside the file, sparse ones, unlisted operators, or what onnx's
            checker and shape inference find.
    """
    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # noqa: BLE001 -- protobuf's errors have no base of their own
        raise ParityError(f"no ONNX file: {_first_line(error)}") from None
    tensors = onnx.external_data_helper._get_all_tensors(model)  # of constants and subgraphs too
    if any(map(onnx.external_data_helper.uses_external_data, tensors)):
        raise ParityError("its weights lie in another file, which has no hash")
    if _holds_sparse(model.graph) or any(map(_holds_sparse, model.functions)):
        raise ParityError("it holds sparse weights, which may lie in any file")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ParityError(f"onnx.checker: {_first_line(error)}") from None
    operators = operators_of(model)
    others = unlisted(operators)
    stated = exporter == "torch" and model.producer_name == TORCH_EXPORTER
    if others and not stated:
        raise ParityError(f"operators that are not on the list: {', '.join(others)}")
    return operators


def metadata_of(model: Any) -> dict[str, str]:
    """Return the properties of a `ModelProto` by name."""
    return {entry.key: entry.value for entry in model.metadata_props}


def _holds_sparse(graph: Any) -> bool:
    """Tell whether a graph, or a function, has sparse weights, subgraphs included."""
    attributes = [one for node in graph.node for one in node.attribute]
    return (
        bool(getattr(graph, "sparse_initializer", ()))
        or any(one.HasField("sparse_tensor") or one.sparse_tensors for one in attributes)
        or any(_holds_sparse(one.g) for one in attributes if one.HasField("g"))
        or any(_holds_sparse(inner) for one in attributes for inner in one.graphs)
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
