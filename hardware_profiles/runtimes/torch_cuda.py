"""PyTorch on an NVIDIA GPU: networks captured as CUDA graphs, timed by CUDA events."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from hardware_profiles.profile_device import Timer, describe_machine, processor_name
from hardware_profiles.runtimes.nvidia_driver import driver_version
from hardware_profiles.runtimes.runtime import RuntimeSettings, Workload
from hardware_profiles.runtimes.torch_network import DTYPES, check_settings, load
from hardware_profiles.target import Target
from search_spaces import InputError

PRECISIONS = ("fp32", "fp16", "bf16")
WARM_UP_SECONDS = 0.2  # as trtexec: an idle GPU needs it to raise its clocks
EAGER_RUNS = 3  # before the capture: libraries choose their kernels and take their memory
PROVIDER = "cuda-graphs"
LAUNCHED = "launches"  # every run anew


class TorchCuda:
    """Times the torch module, captured as a CUDA graph: eval and inference mode, channels last.

    fp32 is IEEE single precision: TF32 is off. cuDNN chooses kernels by its heuristics, so that two
    profiles choose alike.

    Raises:
        InputError: no GPU that this torch can use, int8, bf16 on a GPU without it, a provider, or
            more than one thread.
    """

    def __init__(self, settings: RuntimeSettings) -> None:
        check_settings("torch-cuda", settings, PRECISIONS, on_gpu=True)
        self._device = cuda_device("torch-cuda")
        if settings.precision == "bf16" and not torch.cuda.is_bf16_supported(
            including_emulation=False
        ):
            raise InputError(
                f"{torch.cuda.get_device_name(self._device)} only emulates bf16; use fp32 or fp16"
            )
        self._settings = settings
        self.target = cuda_target(
            settings, self._device, "torch-cuda", torch.__version__, "TF32 off, channels last"
        )

    @contextmanager
    def open(self, workload: Workload) -> Iterator[Timer]:
        """Make and capture the network; see `Runtime.open`."""
        module, inputs = load(
            workload, self._settings.batch_size, DTYPES[self._settings.precision], self._device
        )
        with captured(lambda: module(*inputs), self._device) as timer:
            yield timer


def cuda_device(runtime: str) -> torch.device:
    """Return torch's current GPU.

    Raises:
        InputError: there is none that this torch can use; the message says why.
    """
    cuda = torch.version.cuda
    with warnings.catch_warnings():  # torch warns of what the error says
        warnings.simplefilter("ignore")
        found = cuda is not None and torch.cuda.is_available()
    if found:
        return torch.device("cuda", torch.cuda.current_device())
    if cuda is None:
        raise InputError(
            f"{runtime} needs an NVIDIA GPU and a torch that is built with CUDA; this one, "
            f"{torch.__version__}, is not: pip install torch --index-url "
            "https://download.pytorch.org/whl/cu130 (or the CUDA of your driver)"
        )
    raise InputError(
        f"{runtime} needs an NVIDIA GPU; torch {torch.__version__}, built for CUDA {cuda}, finds "
        "none: see what nvidia-smi and CUDA_VISIBLE_DEVICES say"
    )


def cuda_target(
    settings: RuntimeSettings,
    device: torch.device,
    runtime: str,
    version: str,
    notes: str,
    provider: str = PROVIDER,
) -> Target:
    """Describe a runtime on a GPU; the CPU beside it only launches."""
    machine = describe_machine(settings.cores)
    properties = torch.cuda.get_device_properties(device)
    kilohertz = getattr(properties, "clock_rate", 0)
    return Target(
        device=properties.name,
        host=processor_name(),
        runtime=runtime,
        runtime_version=version,
        provider=provider,
        precision=settings.precision,
        batch_size=settings.batch_size,
        cores=machine["cores"],
        operating_system=machine["operating_system"],
        frequency_mhz=kilohertz / 1000 if kilohertz else None,
        notes=(
            f"{machine['notes']}; driver {driver_version()}, CUDA {torch.version.cuda}, "
            f"compute capability {properties.major}.{properties.minor}, {notes}"
        ),
    )


@contextmanager
def captured(enqueue: Callable[[], object], device: torch.device) -> Iterator[Timer]:
    """Capture what `enqueue` puts on torch's current stream, and time its replays.

    The own times are between two events that are nodes of the graph, before the work and after it:
    the GPU's time, without the launch. The wall times are of a launch and waiting for its end.
    """
    cuda: Any = torch.cuda  # whose classes are not typed
    stream = cuda.Stream(device)
    start, end = (cuda.Event(enable_timing=True, external=True) for _ in range(2))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.inference_mode(), ieee_arithmetic():
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(EAGER_RUNS):
                enqueue()
        stream.synchronize()
        # as trtexec: other threads may go on using the GPU while this one captures
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            start.record(stream)
            outputs = enqueue()  # noqa: F841 - they lie in the graph's memory and live as long
            end.record(stream)

    def timer(n: int) -> tuple[list[int], list[int]]:
        wall, own = [], []
        with torch.cuda.stream(stream):
            for _ in range(n):
                began = time.perf_counter_ns()
                graph.replay()
                stream.synchronize()
                wall.append(time.perf_counter_ns() - began)
                own.append(max(round(start.elapsed_time(end) * 1e6), 1))
        return wall, own

    try:
        _warm_up(timer)
        yield timer
    finally:
        stream.synchronize()
        graph.reset()


@contextmanager
def launched(enqueue: Callable[[], object], device: torch.device) -> Iterator[Timer]:
    """Time what `enqueue` puts on torch's current stream, launched anew for every run.

    The own times are between two events around the work, where launching that is slower than the
    work shows; the wall times are of all launches and waiting for their end.
    """
    cuda: Any = torch.cuda  # whose classes are not typed
    stream = cuda.Stream(device)
    start, end = (cuda.Event(enable_timing=True) for _ in range(2))

    def timer(n: int) -> tuple[list[int], list[int]]:
        wall, own = [], []
        with (
            torch.cuda.device(device),
            torch.inference_mode(),
            ieee_arithmetic(),
            torch.cuda.stream(stream),
        ):
            for _ in range(n):
                began = time.perf_counter_ns()
                start.record(stream)
                enqueue()
                end.record(stream)
                stream.synchronize()
                wall.append(time.perf_counter_ns() - began)
                own.append(max(round(start.elapsed_time(end) * 1e6), 1))
        return wall, own

    stream.wait_stream(torch.cuda.current_stream(device))
    _warm_up(timer)
    try:
        yield timer
    finally:
        stream.synchronize()


def _warm_up(timer: Timer) -> None:
    spent = 0
    while spent < WARM_UP_SECONDS * 1e9:
        spent += sum(timer(1)[0])


@contextmanager
def ieee_arithmetic() -> Iterator[None]:
    """Turn TF32 and cuDNN's trials of kernels off inside; put everything back as it was.

    Both of torch's ways to say TF32 are kept in step, since torch refuses to compute where they
    contradict each other. A graph keeps the kernels it was captured with.
    """
    cudnn: Any = torch.backends.cudnn
    operations = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    before = [operation.fp32_precision for operation in operations]
    benchmark = cudnn.benchmark
    try:
        legacy = torch.get_float32_matmul_precision()
    except RuntimeError:  # the two contradict each other already; the newer one counts
        legacy = None
    try:
        if legacy is not None:
            torch.set_float32_matmul_precision("highest")
        for operation in operations:
            operation.fp32_precision = "ieee"
        cudnn.benchmark = False
        yield
    finally:
        if legacy is not None:
            torch.set_float32_matmul_precision(legacy)
        for operation, precision in zip(operations, before, strict=True):
            operation.fp32_precision = precision
        cudnn.benchmark = benchmark
