"""What an execution provider of ONNX Runtime makes of a model in 16 bits: tried, not guessed."""

import re
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

NO_KERNEL = re.compile(r"Could not find an implementation for (\w+)\(")


def lacking(model: bytes, provider: str) -> str | None:
    """Return the kind of the first node that a provider has no kernel for, or None.

    Tried without optimisations: those of ONNX Runtime 1.32 fail on graphs of partly lacking types.

    Raises:
        InputError: the provider is not there.
    """
    import onnxruntime

    try:
        check_provider(provider)
    except DeviceError as error:
        raise InputError(str(error)) from None
    try:
        onnxruntime.InferenceSession(model, _plain_options(), providers=[provider])
    except Exception as error:  # noqa: BLE001 -- ONNX Runtime's errors have no common base
        found = NO_KERNEL.search(str(error))
        return found.group(1) if found else None
    return None


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
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    return [
        node.op_type
        for node in graph.node
        if node.op_type in WEIGHTED and types.get(node.output[0]) == half.onnx_type
    ]
