"""Ranges of activations on calibration samples, by ONNX Runtime's calibrators."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from nas.exporting.parity import Arrays
from nas.exporting.precisions.conversion import batches
from search_spaces.errors import unknown_name

# the library's entropy has 128 bins for 128 levels by default: nothing to choose from
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "min-max": ("MinMaxCalibrater", {}),
    "entropy": ("EntropyCalibrater", {"num_bins": 512, "num_quantized_bins": 128}),
    "percentile": ("PercentileCalibrater", {"num_bins": 2048, "percentile": 99.99}),
}


def tensor_ranges(model: Any, samples: Arrays, method: str) -> Any:
    """Return the range of every float tensor that nodes read or write, as the quantiser takes it
    (`onnxruntime.quantization.TensorsData`).

    Args:
        model: an `onnx.ModelProto` whose tensors have types.
        method: "min-max"; "entropy", least Kullback-Leibler divergence (Migacz, 8-bit inference
            with TensorRT, 2017); or "percentile", without 0.01 % of the numbers.

    Raises:
        InputError: unknown method.
    """
    if method not in METHODS:
        raise unknown_name("calibration method", method, METHODS)
    import onnxruntime
    from onnxruntime.quantization import calibrate

    kind, arguments = METHODS[method]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # sums in the same order every time
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with TemporaryDirectory() as folder, quiet():
        path, augmented = Path(folder) / "model.onnx", Path(folder) / "augmented.onnx"
        onnx.save(model, str(path))
        calibrator = getattr(calibrate, kind)(
            path, None, augmented_model_path=str(augmented), symmetric=False, **arguments
        )
        calibrator.augment_graph()
        calibrator.infer_session = onnxruntime.InferenceSession(
            str(augmented), options, providers=["CPUExecutionProvider"]
        )
        for batch in batches(model, samples):  # one at a time: the others need no memory
            calibrator.collect_data(_Batch(batch))
        return calibrator.compute_data()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the quantiser prints, logs and warns of from the terminal.

    A message to a root logger without handlers would also install one for good.
    """
    root, disabled, handler = logging.getLogger(), logging.root.manager.disable, None
    if not root.handlers:
        handler = logging.NullHandler()
        root.addHandler(handler)
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        if handler is not None:
            root.removeHandler(handler)


class _Batch:
    """One batch, as the library reads its samples."""

    def __init__(self, batch: dict[str, Any]) -> None:
        self._waiting: list[dict[str, Any]] = [batch]

    def get_next(self) -> dict[str, Any] | None:
        """Return the batch once, then None."""
        return self._waiting.pop() if self._waiting else None
