"""An ONNX file becomes a TensorRT engine that was proven to answer like it, and timed."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from hardware_profiles.profile_device import (
    BUDGET_PASSES,
    DeviceError,
    Measurement,
    measure,
    undisturbed,
)
from hardware_profiles.runtimes.nvidia_driver import driver_version
from hardware_profiles.runtimes.runtime import RuntimeSettings
from hardware_profiles.runtimes.tensorrt_build import (
    TIMING_CACHE_NAME,
    build_engine,
    cache_folder,
    default_cache,
    error_log,
    import_tensorrt,
    start_runtime,
)
from hardware_profiles.runtimes.tensorrt_engine import Engine, deserialize
from hardware_profiles.runtimes.tensorrt_options import DEFAULTS, EngineOptions
from hardware_profiles.runtimes.torch_cuda import (
    LAUNCHED,
    PROVIDER,
    cuda_device,
    cuda_target,
)
from hardware_profiles.target import Precision, Target
from nas.exporting.parity import Arrays, Parity, gate, run_onnx
from nas.exporting.parity import compare as compare_fp32
from nas.exporting.plan_info import GpuSetup, PlanInfo, check_can_build, check_plan_fits
from nas.exporting.plan_model import ModelInputs, check_precision, model_inputs, read_model
from search_spaces import InputError, TensorSpec
from search_spaces.errors import ParityError

EXPORT = "exporting TensorRT engines"

Compare = Callable[[Arrays, Arrays], Parity]
"""Compares outputs with those of the reference; its limits are those of the precision."""

Measured = tuple[Target, Measurement]


@dataclass(frozen=True)
class Plan:
    """An engine that may leave.

    Args:
        engine: serialised; the contents of a .plan file.
        parity: with ONNX Runtime's answers, by "batch 1" and so on.
        graph: its latency at the typical batch, replayed as a CUDA graph.
        launched: likewise, every run launched anew; its wall times hold the launching.
    """

    engine: bytes = field(repr=False)
    info: PlanInfo
    parity: Mapping[str, Parity]
    graph: Measured
    launched: Measured


def gpu_setup() -> GpuSetup:
    """Describe the GPU and the software that engines are built with here.

    Raises:
        MissingExtraError: TensorRT is not installed.
        InputError: no GPU that torch can use.
    """
    trt = import_tensorrt(EXPORT)
    device = cuda_device(EXPORT)
    return GpuSetup(
        gpu=torch.cuda.get_device_name(device),
        compute_capability=torch.cuda.get_device_capability(device),
        tensorrt_version=str(trt.__version__),
        driver_version=driver_version(),
        platform=f"{platform.system()} {platform.machine()}",
    )


def default_timing_cache(setup: GpuSetup) -> Path:
    """Return the file of kernel timings that profiles on this setup keep too."""
    folder = cache_folder(setup.gpu, setup.compute_capability, setup.tensorrt_version)
    return default_cache() / folder / TIMING_CACHE_NAME


def build_plan(
    model: bytes,
    samples: Arrays,
    precision: Precision,
    options: EngineOptions = DEFAULTS,
    *,
    compare: Compare = compare_fp32,
    reference: bytes | None = None,
    batch_sizes: Sequence[int] | None = None,
    specs: Mapping[str, TensorSpec] | None = None,
) -> Plan:
    """Build an engine on torch's current GPU, prove its answers, and time it.

    Args:
        model: serialised ONNX that computes in `precision`.
        samples: inputs by name, each n x ..., that answers are compared on.
        compare: with the limits of the precision; by default those of fp32.
        reference: serialised ONNX that the engine has to answer like, the fp32 file say; by default
            `model`. ONNX Runtime on a CPU lacks much of bf16.
        batch_sizes: to compare at; by default the least, the typical and the greatest.
        specs: the inputs, where other sizes than the batch are free in `model`: the engine is of
            the sizes that they state.

    Raises:
        MissingExtraError: TensorRT is not installed.
        InputError: no GPU; a file of another precision; what this GPU, this TensorRT or the options
            do not allow.
        ParityError: it answers differently; nothing is returned.
    """
    loaded = read_model(model)
    check_precision(loaded, precision)
    inputs = model_inputs(loaded, options.batch, specs)
    sizes = _sizes_to_compare(options, batch_sizes)
    setup = gpu_setup()
    check_can_build(setup, precision, options.hardware_compatible)
    expected = _expected(reference or model, samples, inputs.fixed_batch)
    trt, device = import_tensorrt(EXPORT), cuda_device(EXPORT)
    log = error_log(trt)
    plan = build_engine(trt, log, model, options, specs)
    loaded_plan = deserialize(start_runtime(trt, log), plan, host_code=options.version_compatible)
    if loaded_plan is None:
        raise InputError(f"TensorRT does not load what it built: {log.last()}")
    engine = Engine(trt, log, loaded_plan, device)
    parity = _parity(engine.run, samples, expected, sizes, compare)
    graph, launched = _time(engine, inputs, options.batch.typical, precision, device, setup)
    info = PlanInfo(
        built_on=setup,
        onnx_sha256=sha256(model).hexdigest(),
        precision=precision,
        batch=options.batch,
        inputs=inputs.sizes,
        free=inputs.free,
        workspace_mb=options.workspace_mb,
        version_compatible=options.version_compatible,
        hardware_compatible=options.hardware_compatible,
    )
    return Plan(plan, info, parity, graph, launched)


def check_plan(
    plan: bytes,
    info: PlanInfo,
    samples: Arrays,
    expected: Arrays,
    *,
    compare: Compare = compare_fp32,
    trusted: bool = False,
) -> dict[str, Parity]:
    """Load an exported engine here and compare its answers with stored ones.

    Args:
        plan: serialised; whoever calls has compared its hash.
        samples: inputs by name, each n x ...; `expected`: outputs likewise.
        trusted: the engine comes from somebody whose code may run here, as that does which lies in
            a version-compatible one.

    Raises:
        MissingExtraError: TensorRT is not installed.
        InputError: no GPU; it does not fit this machine, is not trusted, or TensorRT refuses it.
        ParityError: it answers differently.
    """
    check_plan_fits(info, gpu_setup())
    if info.version_compatible and not trusted:
        raise InputError(
            "a version-compatible engine carries code that runs when it is loaded: say that it is "
            "trusted, or build it anew from its ONNX file"
        )
    trt, device = import_tensorrt(EXPORT), cuda_device(EXPORT)
    log = error_log(trt)
    loaded = deserialize(start_runtime(trt, log), plan, host_code=info.version_compatible)
    if loaded is None:
        raise InputError(f"TensorRT does not load this engine: {log.last()}")
    engine = Engine(trt, log, loaded, device)
    sizes = sorted({info.batch.least, info.batch.typical, info.batch.most})
    return _parity(engine.run, samples, expected, sizes, compare)


def _sizes_to_compare(options: EngineOptions, asked: Sequence[int] | None) -> list[int]:
    batch = options.batch
    sizes = sorted(set(asked or (batch.least, batch.typical, batch.most)))
    outside = [size for size in sizes if size not in batch]
    if outside:
        raise InputError(f"expected batch sizes within {batch}, got {outside}")
    return sizes


def _expected(model: bytes, samples: Arrays, fixed_batch: int | None) -> dict[str, Any]:
    """Return ONNX Runtime's answers to the samples, by name.

    Raises:
        InputError: it does not run the file here.
        ParityError: no samples, or fewer than a fixed batch holds.
    """
    n = min((len(one) for one in samples.values()), default=0)
    size = fixed_batch or max(n, 1)
    whole = n - n % size
    if not whole:
        raise ParityError(f"expected at least {size} samples to compare on, got {n}")
    try:
        return run_onnx(model, {name: one[:whole] for name, one in samples.items()}, size)
    except DeviceError as error:
        raise InputError(
            f"expected a file that ONNX Runtime here can answer, to compare with: {error}; name "
            "another one as the reference"
        ) from None


def _parity(
    run: Callable[[Arrays, int], Arrays],
    samples: Arrays,
    expected: Arrays,
    sizes: Sequence[int],
    compare: Compare,
) -> dict[str, Parity]:
    """Compare at every batch size; raise ParityError for the first one beyond its limits."""
    n = len(next(iter(expected.values())))
    some = {name: one[:n] for name, one in samples.items()}
    parities = {}
    for size in sizes:
        found = run(some, size)
        names = [*(n for n in expected if n in found), *(n for n in found if n not in expected)]
        parities[f"batch {size}"] = compare({name: found[name] for name in names}, expected)
    gate([(f"engine, {name}", parity) for name, parity in parities.items()])
    return parities


def _time(
    engine: Engine,
    inputs: ModelInputs,
    batch_size: int,
    precision: Precision,
    device: torch.device,
    setup: GpuSetup,
) -> tuple[Measured, Measured]:
    """Time the engine as a CUDA graph and launch by launch, in turns."""
    shapes = {name: (batch_size, *sizes) for name, sizes in inputs.sizes.items()}
    settings = RuntimeSettings(batch_size=batch_size, precision=precision)
    targets = [
        cuda_target(
            settings,
            device,
            "tensorrt",
            setup.tensorrt_version,
            "TF32 off, strongly typed",
            provider,
        )
        for provider in (PROVIDER, LAUNCHED)
    ]
    with undisturbed():
        graph, launched = measure(
            [
                lambda: engine.timer(shapes, graph=True),
                lambda: engine.timer(shapes, graph=False),
            ],
            BUDGET_PASSES,
        )
    return (targets[0], graph), (targets[1], launched)
