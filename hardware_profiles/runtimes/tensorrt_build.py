"""From an ONNX file to a TensorRT engine, versions 10.3 to 11: strongly typed, TF32 off.

Types come from the file alone: fp16 is a file whose weights are fp16, int8 one with quantised
nodes. Nothing is printed; what TensorRT says of an error is kept for the message.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from hardware_profiles.artifact import content_hash, write_atomic
from hardware_profiles.runtimes.tensorrt_options import (
    BatchRange,
    EngineOptions,
    HardwareCompatible,
)
from search_spaces import InputError, MissingExtraError, TensorSpec

TIMING_CACHE_NAME = "timing.cache"
TF32 = False
LEVELS: Mapping[HardwareCompatible, str] = {
    "same-compute-capability": "SAME_COMPUTE_CAPABILITY",
    "ampere-plus": "AMPERE_PLUS",
}
AMPERE = (8, 0)  # the least compute capability of "ampere-plus"

Shape = tuple[int, ...]


def import_tensorrt(purpose: str = "profiling with TensorRT") -> Any:
    """Import NVIDIA's library.

    Raises:
        MissingExtraError: it is absent, or incomplete.
    """
    try:
        return import_module("tensorrt")
    except ImportError as error:
        found = "" if isinstance(error, ModuleNotFoundError) else f" (found, but: {error})"
        raise MissingExtraError(
            f'{purpose} needs the extra "tensorrt": pip install "supernet-engine[tensorrt]"{found}'
        ) from None


def error_log(trt: Any) -> Any:
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


def start_runtime(trt: Any, log: Any) -> Any:
    """Return what loads engines.

    Raises:
        InputError: the library does not start on this driver.
    """
    try:
        return trt.Runtime(log)
    except TypeError:  # how the library says that it cannot start
        raise InputError(
            f"TensorRT {trt.__version__} does not start on this driver: {log.last()}"
        ) from None


def build_engine(
    trt: Any,
    log: Any,
    model: bytes,
    options: EngineOptions,
    sizes: Mapping[str, TensorSpec] | None = None,
) -> bytes:
    """Build a serialised engine on torch's current GPU.

    Args:
        trt: the library.
        log: an `error_log`.
        model: serialised ONNX; its batch alone is free, or what `sizes` fixes.
        sizes: the inputs by name, where other sizes than the batch are free too.

    Raises:
        InputError: TensorRT does not read the network or cannot build it, its inputs do not fit
            `options`, or this TensorRT lacks what they ask for.
        OSError: the timing cache cannot be written.
    """
    try:
        builder = trt.Builder(log)
    except TypeError:  # how the library says that it cannot start
        raise InputError(
            f"TensorRT {trt.__version__} does not build engines on this driver: {log.last()}"
        ) from None
    # in TensorRT 11 every network is strongly typed, and the flag is accepted
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise InputError(f"TensorRT does not read this network: {errors or log.last()}")
    config = builder.create_builder_config()
    _configure(trt, config, options)
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        source = network.get_input(i)
        spec = (sizes or {}).get(source.name)
        shapes = profile_shapes(source.name, tuple(source.shape), options.batch, spec)
        profile.set_shape(source.name, *shapes)
    config.add_optimization_profile(profile)
    _attach_timing_cache(config, options.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InputError(f"TensorRT cannot build this network: {log.last()}")
    if options.timing_cache is not None:
        write_atomic(options.timing_cache, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _configure(trt: Any, config: Any, options: EngineOptions) -> None:
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible != "none":
        name = LEVELS[options.hardware_compatible]
        level = getattr(trt.HardwareCompatibilityLevel, name, None)
        if level is None:
            raise InputError(
                f"TensorRT {trt.__version__} has no hardware compatibility "
                f"{options.hardware_compatible!r}; a newer one has"
            )
        config.hardware_compatibility_level = level


def _attach_timing_cache(config: Any, path: Path | None) -> None:
    """Give the build what earlier ones timed; without a file it is on its own."""
    if path is None:
        return
    known = path.read_bytes() if path.exists() else b""
    timings = config.create_timing_cache(known)
    if timings is None or not config.set_timing_cache(timings, False):  # of another machine
        config.set_timing_cache(config.create_timing_cache(b""), False)


def profile_shapes(
    name: str, dims: Sequence[int], batch: BatchRange, spec: TensorSpec | None = None
) -> tuple[Shape, Shape, Shape]:
    """Return an input's shapes at the least, the typical and the greatest batch.

    Args:
        dims: as the network states them; free ones are -1.
        spec: what the free ones behind the batch are to be.

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
    if dims[0] != -1 and batch != BatchRange.of(dims[0]):
        raise InputError(f"{name!r} has a fixed batch of {dims[0]}, expected {batch}")
    return (batch.least, *sizes), (batch.typical, *sizes), (batch.most, *sizes)


def default_cache() -> Path:
    """Return where engines and timings are kept unless asked otherwise."""
    from platformdirs import user_cache_path

    return user_cache_path("supernet-engine", appauthor=False) / "tensorrt"


def cache_folder(gpu: str, capability: tuple[int, int], version: str) -> str:
    """Name the folder of what holds for one kind of GPU and one version of TensorRT."""
    model = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    return f"{model}-sm{capability[0]}{capability[1]}-tensorrt-{version}"


def engine_key(model: bytes, options: EngineOptions) -> str:
    """Name an engine by all it is built from, the GPU and TensorRT's version aside.

    Where timings are kept is left out.
    """
    return content_hash(
        {
            "model": sha256(model).hexdigest(),
            "options": options.model_dump(mode="json", exclude={"timing_cache"}),
            "tf32": TF32,
        }
    )
