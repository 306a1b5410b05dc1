"""Energy per run of an NVIDIA GPU, from its own counter; absent where there is none."""

from collections.abc import Callable
from importlib import import_module

from hardware_profiles.profile_device import Timer

READ_SECONDS = 0.005  # of running between two readings of the counter
MAX_TICK_SECONDS = 1.0  # counters tick every 20 to 100 ms; one that stands longer is not one

EnergyCounter = Callable[[], float]
"""Millijoules since some moment."""


def energy_counter(gpu_index: int = 0) -> EnergyCounter | None:
    """Open the energy counter of a GPU (Volta or newer).

    It counts the whole board, with what it draws when idle. NVML stays open until the process ends.

    Args:
        gpu_index: torch's, of the GPUs that CUDA_VISIBLE_DEVICES leaves.

    Returns:
        None where it cannot be read: no `nvidia-ml-py` (extra `energy`), no driver, no such GPU, or
        a GPU without a counter (a MIG slice, say).
    """
    uuid = _uuid(gpu_index)
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return None
    if uuid is None:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")  # NVML counts GPUs in another order
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:
        return None
    return lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))


def _uuid(gpu_index: int) -> str | None:
    import torch

    if not torch.cuda.is_available() or not 0 <= gpu_index < torch.cuda.device_count():
        return None
    return str(torch.cuda.get_device_properties(gpu_index).uuid)


def energy_per_run_mj(timer: Timer, counter: EnergyCounter, seconds: float = 1.0) -> float | None:
    """Run a network again and again and return the energy of one run in millijoules.

    The counter ticks every 20 to 100 ms, so counting begins at a tick and ends at the first one
    after `seconds` of running; the runs between the two are known to a reading interval (5 ms).

    Returns:
        None where the counter stands still or goes back: nothing is guessed.
    """
    wall, _ = timer(1)
    per_reading = max(1, round(READ_SECONDS * 1e9 / max(wall[0], 1)))
    first = _next_tick(timer, counter, per_reading, 0.0)
    if first is None:
        return None
    last = _next_tick(timer, counter, per_reading, seconds)
    if last is None:
        return None
    (begin, _), (end, runs) = first, last
    return (end - begin) / runs if end > begin else None


def _next_tick(
    timer: Timer, counter: EnergyCounter, per_reading: int, seconds: float
) -> tuple[float, int] | None:
    """Run for `seconds` and then until the counter ticks: what it says, and how many runs."""
    value, runs, spent, waited = counter(), 0, 0.0, 0.0
    while waited < MAX_TICK_SECONDS:
        elapsed = sum(timer(per_reading)[0]) / 1e9
        runs, spent = runs + per_reading, spent + elapsed
        latest = counter()
        if latest != value and spent >= seconds:
            return latest, runs
        waited = 0.0 if latest != value else waited + elapsed
        value = latest
    return None
