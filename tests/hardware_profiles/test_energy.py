import sys
from types import SimpleNamespace

import pytest
import torch

from hardware_profiles import energy
from hardware_profiles.energy import energy_counter, energy_per_run_mj
from hardware_profiles.profile_device import timed


class Gpu:
    """A GPU that draws the same power all the time, with a counter that ticks now and then."""

    def __init__(self, run_ns=2_000_000, watts=300.0, tick_seconds=0.1, started=0.037):
        self.run_ns, self.watts, self.tick_seconds = run_ns, watts, tick_seconds
        self.seconds, self.runs = started, 0
        self.broken_after = float("inf")

    def timer(self, n):
        self.seconds += n * self.run_ns / 1e9
        self.runs += n
        return [self.run_ns] * n, [self.run_ns] * n

    def counter(self):
        seen = min(self.seconds, self.broken_after)
        ticks = int(seen / self.tick_seconds)
        return 1e6 + ticks * self.tick_seconds * self.watts * 1000


@pytest.mark.parametrize("run_ns", [30_000, 2_000_000, 40_000_000])
@pytest.mark.parametrize("tick_seconds", [0.02, 0.1])
@pytest.mark.parametrize("started", [0.003, 0.05, 0.097])
def test_energy_is_power_times_the_time_of_a_run(run_ns, tick_seconds, started):
    gpu = Gpu(run_ns, tick_seconds=tick_seconds, started=started)
    expected = 300.0 * run_ns / 1e6
    found = energy_per_run_mj(gpu.timer, gpu.counter, seconds=1.0)
    assert found == pytest.approx(expected, rel=0.04)


def test_it_runs_for_about_as_long_as_asked():
    gpu = Gpu(started=0.0)
    energy_per_run_mj(gpu.timer, gpu.counter, seconds=1.0)
    assert 1.0 <= gpu.seconds <= 1.4


def test_a_run_longer_than_the_window_is_measured_too():
    gpu = Gpu(run_ns=2_500_000_000)
    found = energy_per_run_mj(gpu.timer, gpu.counter, seconds=1.0)
    assert found == pytest.approx(300.0 * 2500, rel=0.05)


@pytest.mark.parametrize("broken_after", [0.0, 0.5])
def test_a_counter_that_stands_still_is_not_believed(broken_after):
    gpu = Gpu()
    gpu.broken_after = broken_after
    assert energy_per_run_mj(gpu.timer, gpu.counter, seconds=1.0) is None
    assert gpu.seconds < 4  # and not waited for without end


def test_a_counter_that_goes_back_is_not_believed():
    gpu = Gpu()
    readings = iter([5.0, 4.0, 4.0, *range(3, -1000, -1)])
    assert energy_per_run_mj(gpu.timer, lambda: next(readings), seconds=0.01) is None


def test_it_takes_the_timers_of_runtimes():
    reading = iter(range(10_000))
    found = energy_per_run_mj(timed(lambda: sum(range(200))), lambda: next(reading), seconds=0.01)
    assert found > 0


# --- the counter ----------------------------------------------------------------------------------


class NVMLError(Exception):
    pass


def nvml(energy_mj=12345, **broken):
    """NVIDIA's library, as far as it is used, with the functions in `broken` raising."""
    calls = []

    def function(name, result=None):
        def call(*arguments):
            calls.append((name, *arguments))
            if name in broken:
                raise NVMLError(name)
            return result

        return call

    names = {
        "nvmlInit": None,
        "nvmlDeviceGetHandleByUUID": "handle",
        "nvmlDeviceGetTotalEnergyConsumption": energy_mj,
    }
    functions = {name: function(name, result) for name, result in names.items()}
    return SimpleNamespace(NVMLError=NVMLError, calls=calls, **functions)


@pytest.fixture
def gpu_here(monkeypatch):
    monkeypatch.setattr(energy, "_uuid", lambda index: f"uuid-{index}")


def test_counter_reads_the_gpu_that_torch_means(monkeypatch, gpu_here):
    library = nvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    counter = energy_counter(1)
    assert counter() == 12345.0
    assert ("nvmlDeviceGetHandleByUUID", "GPU-uuid-1") in library.calls
    assert library.calls[-1] == ("nvmlDeviceGetTotalEnergyConsumption", "handle")


@pytest.mark.parametrize(
    "broken",
    ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption"],
)
def test_no_counter_where_it_cannot_be_read(monkeypatch, gpu_here, broken):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(**{broken: True}))
    assert energy_counter(0) is None


def test_no_counter_without_the_library(monkeypatch, gpu_here):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy_counter(0) is None


def test_no_counter_without_that_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    assert energy_counter(99) is None
    if not torch.cuda.is_available():
        assert energy_counter(0) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU here")
def test_a_real_counter_goes_up():
    pytest.importorskip("pynvml")
    counter = energy_counter(0)
    if counter is None:
        pytest.skip("this GPU has no energy counter")
    matrix = torch.randn(4096, 4096, device="cuda")

    def work():
        (matrix @ matrix).sum().item()

    assert energy_per_run_mj(timed(work), counter, seconds=0.5) > 0
