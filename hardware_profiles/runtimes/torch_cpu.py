"""PyTorch on the CPU, operation by operation."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hardware_profiles.profile_device import Timer, describe_machine, processor_name, timed
from hardware_profiles.runtimes.runtime import RuntimeSettings, Workload
from hardware_profiles.runtimes.torch_network import DTYPES, check_settings, load
from hardware_profiles.target import Target

PRECISIONS = ("fp32", "bf16")  # fp16 is for storage on most CPUs: computing in it is emulated


class TorchCpu:
    """Times the torch module itself, in eval and inference mode, channels last.

    The number of threads is set while something runs and put back after it. On one thread torch
    computes in the thread that called it, so that thread's own time is the time of the work.

    Raises:
        InputError: a precision other than fp32 and bf16, or a provider.
    """

    def __init__(self, settings: RuntimeSettings) -> None:
        check_settings("torch-cpu", settings, PRECISIONS, on_gpu=False)
        self._settings = settings
        machine = describe_machine(settings.cores)
        self.target = Target(
            **machine | {"notes": f"{machine['notes']}; channels last"},
            device=processor_name(),
            runtime="torch-cpu",
            runtime_version=torch.__version__,
            provider="eager",
            precision=settings.precision,
            batch_size=settings.batch_size,
            threads=settings.threads,
        )

    @contextmanager
    def open(self, workload: Workload) -> Iterator[Timer]:
        """Make the network; see `Runtime.open`."""
        threads = self._settings.threads
        module, inputs = load(
            workload,
            self._settings.batch_size,
            DTYPES[self._settings.precision],
            torch.device("cpu"),
        )
        timer = timed(lambda: module(*inputs), time.thread_time_ns if threads == 1 else None)

        def run(n: int) -> tuple[list[int], list[int]]:
            with num_threads(threads), torch.inference_mode():
                return timer(n)

        yield run


@contextmanager
def num_threads(threads: int) -> Iterator[None]:
    """Compute on this many threads inside, on as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
