"""What every precision shares: settings, the result, and what is checked at the door."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx

from hardware_profiles.onnx_graph import DTYPES
from hardware_profiles.profile_device import CPU_PROVIDER
from hardware_profiles.target import Precision
from nas.exporting.parity import Arrays
from search_spaces import InputError

LEAST_SAMPLES = 8
BATCH_SIZE = 16  # of samples that are run at once: all activations of a batch are in memory
MAX_DROP = 0.005  # half a point of accuracy
MAX_EVALUATIONS = 40
QUANTISED_OPERATIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
SUBGRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)

HardActivations = Literal["float", "quantised", "relu"]
Evaluate = Callable[[bytes], float]
"""Returns the accuracy (a fraction, more is better) of a serialised model on validation data."""

Progress = Callable[[int, int, str], None]
"""Is told evaluations done, evaluations at most, and what was evaluated."""


@dataclass(frozen=True)
class Settings:
    """How a model is converted; each precision reads what concerns it.

    Args:
        evaluate: what int8 is chosen by; the other precisions measure nothing.
        provider: fp16 and bf16 are tried under this execution provider of ONNX Runtime; None where
            the device is elsewhere and nothing can be tried.
        scheme: types of int8, a name of `SCHEMES`; None: what fits this machine's processor.
        methods: how ranges of activations are found, names of `METHODS`; the best is taken.
        hard_activations: what becomes of h-swish and h-sigmoid (and with it of squeeze-and-excite
            gates): computed in float, on quantised values, or replaced by ReLU, which changes the
            network and is for measuring only.
        max_drop: of accuracy, a fraction, that int8 may cost.
        max_evaluations: calls of `evaluate` at most.
    """

    evaluate: Evaluate | None = None
    provider: str | None = CPU_PROVIDER
    scheme: str | None = None
    methods: tuple[str, ...] = ("min-max", "entropy", "percentile")
    hard_activations: HardActivations = "float"
    max_drop: float = MAX_DROP
    max_evaluations: int = MAX_EVALUATIONS
    progress: Progress = lambda done, total, note: None


@dataclass(frozen=True)
class Converted:
    """A model in another precision, and what was found while it was made.

    Args:
        model: serialised ONNX, with inputs and outputs as they were.
        kept_float: nodes that compute in fp32 although their kind has the precision.
        notes: what a user should know, in words.
        method, scheme: of int8.
        accuracy_before, accuracy_after: what `evaluate` said of the fp32 model and of this one.
    """

    precision: Precision
    model: bytes
    kept_float: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    method: str | None = None
    scheme: str | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    num_evaluations: int = 0

    @property
    def accuracy_drop(self) -> float | None:
        """The fraction of accuracy lost; negative where it rose."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return None
        return self.accuracy_before - self.accuracy_after


def load_float_model(model: bytes) -> Any:
    """Parse a serialised fp32 model into an `onnx.ModelProto`.

    Raises:
        InputError: no ONNX model, one with subgraphs or weights in other files, or one that is
            quantised or of another precision already.
    """
    try:
        loaded = onnx.load_from_string(model)
        onnx.checker.check_model(loaded)
    except Exception as error:  # noqa: BLE001 -- protobuf's and onnx's errors have no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"expected a serialised ONNX model: {reason}") from None
    if any(map(onnx.external_data_helper.uses_external_data, loaded.graph.initializer)):
        raise InputError("expected a model in one piece, its weights lie in another file")
    for node in loaded.graph.node:
        if node.op_type in QUANTISED_OPERATIONS or node.op_type.startswith("QLinear"):
            raise InputError(
                f"expected an fp32 model, this one is quantised already ({node.op_type} in it); "
                "convert the file it was made from"
            )
        if any(attribute.type in SUBGRAPHS for attribute in node.attribute):
            raise InputError(f"{node.op_type} {node.name!r} holds a graph; its insides stay fp32")
    known = set(DTYPES.values())
    for value in (*loaded.graph.input, *loaded.graph.output):
        if value.type.tensor_type.elem_type not in known:
            name = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
            raise InputError(f"expected an fp32 model, {value.name!r} is of type {name}")
    return loaded


def check_samples(model: Any, samples: Arrays) -> None:
    """Check arrays, each n x ..., against the inputs of a model.

    Raises:
        InputError: other names, types or shapes, not one n, fewer than `LEAST_SAMPLES` samples, or
            numbers that are not finite.
    """
    inputs = {value.name: value.type.tensor_type for value in model.graph.input}
    if sorted(inputs) != sorted(samples):
        raise InputError(f"expected samples of inputs {sorted(inputs)}, got {sorted(samples)}")
    sizes = {len(array) for array in samples.values()}
    if len(sizes) != 1:
        raise InputError(f"expected equally many samples of every input, got {sorted(sizes)}")
    (n,) = sizes
    if n < LEAST_SAMPLES:
        raise InputError(f"expected at least {LEAST_SAMPLES} calibration samples, got {n}")
    for name, array in samples.items():
        expected = onnx.helper.tensor_dtype_to_np_dtype(inputs[name].elem_type)
        dims = [d.dim_value for d in inputs[name].shape.dim[1:]]
        fits = len(dims) == array.ndim - 1 and all(
            want in (0, size) for want, size in zip(dims, array.shape[1:], strict=True)
        )
        if array.dtype != expected or not fits:
            raise InputError(
                f"expected samples of {name!r} as n x {dims} {expected}, got "
                f"{array.shape} {array.dtype}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"calibration samples of {name!r} are not finite")


def batches(model: Any, samples: Arrays) -> list[dict[str, Any]]:
    """Cut samples into batches of `BATCH_SIZE`, or of the size the model insists on (what does not
    fill the last one is left out).

    Raises:
        InputError: the model's batch is larger than all samples.
    """
    n = len(next(iter(samples.values())))
    size = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    stop = n - n % size if size else n
    if not stop:
        raise InputError(f"expected at least {size} calibration samples, one batch, got {n}")
    size = size or BATCH_SIZE
    return [
        {k: np.ascontiguousarray(v[i : i + size]) for k, v in samples.items()}
        for i in range(0, stop, size)
    ]
