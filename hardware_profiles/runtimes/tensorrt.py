"""TensorRT 10 and 11: one strongly typed engine per network, built once and kept on disk.

The rules are trtexec's with --useCudaGraph and --noDataTransfers: 200 ms of warm-up, the GPU's time
between events around the inference, of which the profile keeps medians.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hardware_profiles.artifact import write_atomic
from hardware_profiles.profile_device import Timer
from hardware_profiles.runtimes.runtime import RuntimeSettings, Workload
from hardware_profiles.runtimes.tensorrt_build import (
    TIMING_CACHE_NAME,
    build_engine,
    cache_folder,
    default_cache,
    engine_key,
    error_log,
    import_tensorrt,
    profile_shapes,
    start_runtime,
)
from hardware_profiles.runtimes.tensorrt_engine import Engine, deserialize
from hardware_profiles.runtimes.tensorrt_options import BatchRange, EngineOptions
from hardware_profiles.runtimes.torch_cuda import cuda_device, cuda_target
from hardware_profiles.runtimes.torch_network import check_settings
from hardware_profiles.target import Precision, Target
from search_spaces import InputError

PRECISIONS = ("fp32", "fp16")


class TensorRT:
    """Times engines that are built from a network's ONNX file.

    Types come from the file alone (strong typing): fp16 is a file whose weights are fp16. TF32 is
    off. Engines and kernel timings are kept in a folder per GPU and TensorRT version, which may be
    deleted at any time.

    Args:
        cache: the folder; by default "tensorrt" in the user's cache directory.

    Raises:
        MissingExtraError: TensorRT is not installed.
        InputError: no GPU that torch can use, bf16 or int8, a provider, or more than one thread.
    """

    def __init__(self, settings: RuntimeSettings, cache: Path | None = None) -> None:
        check_settings("tensorrt", settings, PRECISIONS, on_gpu=True)
        self._trt = import_tensorrt()
        self._device = cuda_device("tensorrt")
        self._settings = settings
        version = str(self._trt.__version__)
        self.target: Target = cuda_target(
            settings, self._device, "tensorrt", version, "TF32 off, strongly typed"
        )
        capability = torch.cuda.get_device_capability(self._device)
        root = cache if cache is not None else default_cache()
        self._cache = root / cache_folder(self.target.device, capability, version)
        self._options = EngineOptions(
            batch=BatchRange.of(settings.batch_size), timing_cache=self._cache / TIMING_CACHE_NAME
        )
        self._log = error_log(self._trt)
        self._runtime = start_runtime(self._trt, self._log)

    def open(self, workload: Workload) -> AbstractContextManager[Timer]:
        """Load the network's engine; see `Runtime.open`. It is built, if need be, before the
        context is entered, so that the memory it takes to build it is not counted.
        """
        return self._opened(self._engine(workload), workload)

    @contextmanager
    def _opened(self, loaded: Any, workload: Workload) -> Iterator[Timer]:
        engine = Engine(self._trt, self._log, loaded, self._device)
        batch = self._options.batch
        shapes = {
            name: profile_shapes(name, dims, batch, workload.inputs.get(name))[1]
            for name, dims in engine.inputs.items()
        }
        with engine.timer(shapes) as timer:
            yield timer

    def _engine(self, workload: Workload) -> Any:
        model = model_in(self._settings.precision, workload)
        path = self._cache / f"{engine_key(model, self._options)}.plan"
        engine = deserialize(self._runtime, path.read_bytes()) if path.exists() else None
        if engine is None:  # not there, or refused: of an interrupted disk or another driver
            plan = build_engine(self._trt, self._log, model, self._options, workload.inputs)
            write_atomic(path, plan)
            engine = deserialize(self._runtime, plan)
        if engine is None:
            raise InputError(f"TensorRT does not load what it built: {self._log.last()}")
        return engine


def model_in(precision: Precision, workload: Workload) -> bytes:
    """Return a network's ONNX file, which alone decides what an engine computes in."""
    model = workload.onnx()
    return in_half_precision(model) if precision == "fp16" else model


def in_half_precision(model: bytes) -> bytes:
    """Return a serialised fp32 ONNX model with fp16 weights, inputs and outputs.

    Raises:
        InputError: it holds types of other sources (a Cast, say), or weights beyond fp16's range.
    """
    import onnx
    from onnx import TensorProto, numpy_helper

    half = onnx.load_from_string(model)
    graph = half.graph
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(weight)
            if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                raise InputError(f"{weight.name} does not fit into fp16; profile it in fp32")
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), weight.name))
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    try:
        onnx.shape_inference.infer_shapes(half, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"this network cannot be turned into fp16: {reason}") from None
    return bytes(half.SerializeToString())
