"""TensorRT 10 and 11: one strongly typed engine per network, built once and kept on disk.

The rules are trtexec's with --useCudaGraph and --noDataTransfers: 200 ms of warm-up, the GPU's time
between events around the inference, of which the profile keeps medians.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardware_profiles.artifact import content_hash, write_atomic
from hardware_profiles.profile_device import Timer
from hardware_profiles.runtimes.runtime import RuntimeSettings, Workload
from hardware_profiles.runtimes.torch_cuda import captured, cuda_device, cuda_target
from hardware_profiles.runtimes.torch_network import check_settings, random_inputs
from hardware_profiles.target import Precision, Target
from search_spaces import InputError, MissingExtraError, TensorSpec

PRECISIONS = ("fp32", "fp16")
WORKSPACE_BYTES = 4 << 30  # that a layer may take for itself
TIMING_CACHE_NAME = "timing.cache"


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
        self._log = _error_log(self._trt)
        try:
            self._runtime = self._trt.Runtime(self._log)
        except TypeError:  # how the library says that it cannot start
            raise InputError(
                f"TensorRT {version} does not start on this driver: {self._log.last()}"
            ) from None

    def open(self, workload: Workload) -> AbstractContextManager[Timer]:
        """Load the network's engine; see `Runtime.open`. It is built, if need be, before the
        context is entered, so that the memory it takes to build it is not counted.
        """
        model = model_in(self._settings.precision, workload)
        path = self._cache / f"{engine_key(model, self._settings.batch_size)}.plan"
        engine = self._load(path.read_bytes()) if path.exists() else None
        if engine is None:  # not there, or refused: of an interrupted disk or another driver
            plan = self._build(model, workload.inputs)
            write_atomic(path, plan)
            engine = self._load(plan)
        if engine is None:
            raise InputError(f"TensorRT does not load what it built: {self._log.last()}")
        return self._opened(engine, workload.inputs)

    @contextmanager
    def _opened(self, engine: Any, sizes: Mapping[str, TensorSpec]) -> Iterator[Timer]:
        context = engine.create_execution_context()
        tensors = self._bind(engine, context, sizes)

        def enqueue() -> None:
            if not context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
                raise InputError(f"TensorRT does not run this network: {self._log.last()}")

        with captured(enqueue, self._device) as timer:
            yield timer
        del tensors  # the engine reads and writes them until here

    def _bind(
        self, engine: Any, context: Any, sizes: Mapping[str, TensorSpec]
    ) -> dict[str, Tensor]:
        """Give the context its inputs, standard normal, and room for its outputs, by name."""
        trt = self._trt
        dtypes = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}
        dtypes[trt.DataType.INT64] = torch.int64
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        for name in inputs:
            dims = tuple(engine.get_tensor_shape(name))
            shape = profile_shape(name, dims, self._settings.batch_size, sizes.get(name))
            context.set_input_shape(name, shape)
        missing = context.infer_shapes()
        assert not missing, f"shapes of {missing} do not follow from the inputs"
        tensors = {}
        for name in names:
            shape, dtype = (
                tuple(context.get_tensor_shape(name)),
                dtypes[engine.get_tensor_dtype(name)],
            )
            (tensors[name],) = (
                random_inputs(
                    [TensorSpec(shape[1:], "int64" if dtype == torch.int64 else "float32")],
                    shape[0],
                    dtype,
                    self._device,
                    torch.contiguous_format,
                )
                if name in inputs
                else [torch.empty(shape, dtype=dtype, device=self._device)]
            )
            context.set_tensor_address(name, tensors[name].data_ptr())
        return tensors

    def _load(self, plan: bytes) -> Any:
        """Return the engine, or None where TensorRT refuses the plan."""
        return self._runtime.deserialize_cuda_engine(plan)

    def _build(self, model: bytes, sizes: Mapping[str, TensorSpec]) -> bytes:
        """Build a serialised engine at the batch size, with what earlier builds timed."""
        trt = self._trt
        builder = trt.Builder(self._log)
        # in TensorRT 11 every network is strongly typed, and the flag is accepted
        strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(strongly_typed)
        parser = trt.OnnxParser(network, self._log)
        if not parser.parse(model):
            errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise InputError(f"TensorRT does not read this network: {errors}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
        config.clear_flag(trt.BuilderFlag.TF32)
        profile = builder.create_optimization_profile()
        for i in range(network.num_inputs):
            source = network.get_input(i)
            dims, spec = tuple(source.shape), sizes.get(source.name)
            shape = profile_shape(source.name, dims, self._settings.batch_size, spec)
            profile.set_shape(source.name, shape, shape, shape)
        config.add_optimization_profile(profile)
        self._attach_timing_cache(config)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise InputError(f"TensorRT cannot build this network: {self._log.last()}")
        write_atomic(self._cache / TIMING_CACHE_NAME, bytes(config.get_timing_cache().serialize()))
        return bytes(plan)

    def _attach_timing_cache(self, config: Any) -> None:
        path = self._cache / TIMING_CACHE_NAME
        known = path.read_bytes() if path.exists() else b""
        timings = config.create_timing_cache(known)
        if timings is None or not config.set_timing_cache(timings, False):  # of another machine
            timings = config.create_timing_cache(b"")
            config.set_timing_cache(timings, False)


def import_tensorrt() -> Any:
    """Import NVIDIA's library.

    Raises:
        MissingExtraError: it is absent, or incomplete.
    """
    try:
        return import_module("tensorrt")
    except ImportError as error:
        found = "" if isinstance(error, ModuleNotFoundError) else f" (found, but: {error})"
        raise MissingExtraError(
            'profiling with TensorRT needs the extra "tensorrt": '
            f'pip install "supernet-engine[tensorrt]"{found}'
        ) from None


def default_cache() -> Path:
    """Return where engines are kept unless asked otherwise."""
    from platformdirs import user_cache_path

    return user_cache_path("supernet-engine", appauthor=False) / "tensorrt"


def cache_folder(gpu: str, capability: tuple[int, int], version: str) -> str:
    """Name the folder of what holds for one kind of GPU and one version of TensorRT."""
    model = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    return f"{model}-sm{capability[0]}{capability[1]}-tensorrt-{version}"


def engine_key(model: bytes, batch_size: int) -> str:
    """Name an engine by all it is built from, the GPU and TensorRT's version aside."""
    return content_hash(
        {
            "model": sha256(model).hexdigest(),
            "batch_size": batch_size,
            "workspace_bytes": WORKSPACE_BYTES,
            "tf32": False,
        }
    )


def profile_shape(
    name: str, dims: Sequence[int], batch_size: int, spec: TensorSpec | None = None
) -> tuple[int, ...]:
    """Fill in the batch of an input, and the sizes that `spec` states; free dimensions are -1.

    Raises:
        InputError: more is free than the batch and what `spec` lets be free, or the batch is fixed
            and another one.
    """
    sizes = list(dims[1:])
    for i in spec.free if spec is not None else ():
        if i < len(sizes) and spec is not None and sizes[i] == -1:
            sizes[i] = spec.shape[i]
    if not dims or -1 in sizes:
        raise InputError(
            f"expected an input whose batch alone is free, got {name!r} of shape {tuple(dims)}"
        )
    if dims[0] not in (-1, batch_size):
        raise InputError(f"{name!r} has a fixed batch of {dims[0]}, expected {batch_size}")
    return (batch_size, *sizes)


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


def _error_log(trt: Any) -> Any:
    """Make a logger that keeps what went wrong, for our own messages, and prints nothing."""

    class ErrorLog(trt.ILogger):  # type: ignore[misc]  # the library is imported when used
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._last = "it does not say why"

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self._last = message

        def last(self) -> str:
            return self._last

    return ErrorLog()
