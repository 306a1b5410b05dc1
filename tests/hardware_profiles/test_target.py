import os
import platform
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime
import pytest
from pydantic import ValidationError

from hardware_profiles.profile_device import (
    DeviceError,
    accelerator_name,
    describe_machine,
    describe_target,
    pinned,
    processor_name,
    undisturbed,
)
from hardware_profiles.target import Target

TARGET = Target(
    device="board", runtime="onnxruntime", runtime_version="1.20.0", provider="CPUExecutionProvider"
)
OTHER = {
    "device": "another board",
    "runtime": "tensorrt",
    "runtime_version": "1.20.1",
    "provider": "CUDAExecutionProvider",
    "precision": "fp16",
    "batch_size": 2,
    "threads": 4,
    "operating_system": "Linux 6.1 aarch64",
    "host": "a CPU",
    "cores": "0,2",
    "governor": "performance",
}
NOT_COMPARED = {"notes", "frequency_mhz"}


@pytest.mark.parametrize(
    "fields", [{"notes": "fan at full speed, clocks locked"}, {"frequency_mhz": 2400.0}]
)
def test_id_ignores_what_does_not_hinder_comparison(fields):
    noted = TARGET.model_copy(update=fields)
    assert noted != TARGET
    assert noted.id == TARGET.id
    assert noted.differences(TARGET) == []


@pytest.mark.parametrize("name", sorted(set(Target.model_fields) - NOT_COMPARED))
def test_id_depends_on_everything_else(name):
    assert OTHER[name] != getattr(TARGET, name)
    other = TARGET.model_copy(update={name: OTHER[name]})
    assert other.id != TARGET.id
    assert other.differences(TARGET) == TARGET.differences(other) == [name]


def test_id_survives_json():
    assert Target.model_validate_json(TARGET.model_dump_json()).id == TARGET.id
    assert len(TARGET.id) == 10


def test_text_says_what_a_latency_depends_on():
    assert str(TARGET) == "board, onnxruntime 1.20.0 CPUExecutionProvider, fp32, batch 1, 1 thread"
    assert str(TARGET.model_copy(update=OTHER)).endswith("fp16, batch 2, 4 threads, cores 0,2")


@pytest.mark.parametrize(
    "values",
    [
        {"device": ""},
        {"runtime": ""},
        {"threads": 0},
        {"batch_size": 0},
        {"precision": "fp64"},
        {"cores": ""},
        {"cores": "0-3"},
        {"cores": "0,"},
        {"frequency_mhz": float("nan")},
        {"surplus": 1},
    ],
)
def test_bad_values_are_refused(values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        Target.model_validate(TARGET.model_dump() | values)


def test_targets_do_not_change():
    with pytest.raises(ValidationError):
        TARGET.threads = 8


# --- this machine ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("threads", "batch_size"), [(1, 1), (2, 8)])
def test_a_device_describes_itself(threads, batch_size):
    target = Target.model_validate(describe_target(threads, batch_size))
    assert target.device == processor_name()
    assert (target.runtime, target.runtime_version) == ("onnxruntime", onnxruntime.__version__)
    assert target.provider in onnxruntime.get_available_providers()
    assert (target.precision, target.batch_size, target.threads) == ("fp32", batch_size, threads)
    assert platform.system() in target.operating_system
    assert platform.machine() in target.operating_system
    assert target.cores == "any"
    assert target.host == ""
    assert target.notes == f"kernel {platform.release()}"


def test_pinned_cores_are_part_of_it():
    target = Target.model_validate(describe_target(cores=(3, 1)))
    assert target.cores == "3,1"
    assert target.core_numbers == (3, 1)
    assert Target.model_validate(describe_target()).core_numbers == ()


def files(monkeypatch, contents):
    """Let the system hold these files and no others."""

    def read_text(path, *_, **__):
        if str(path) not in contents:
            raise PermissionError(path)
        return contents[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)


def test_what_may_not_be_read_is_unknown(monkeypatch):
    files(monkeypatch, {})
    target = Target.model_validate(describe_target())
    assert target.governor == "unknown"
    assert target.frequency_mhz is None
    assert target.device.strip()


CLOCK = "/sys/devices/system/cpu/cpu{}/cpufreq/"


def test_clocks_are_those_of_the_first_pinned_core(monkeypatch):
    contents = {}
    for core, governor in enumerate(["performance", "powersave", "schedutil"]):
        contents[CLOCK.format(core) + "scaling_governor"] = governor + "\n"
        contents[CLOCK.format(core) + "cpuinfo_max_freq"] = f"{1_200_000 + core}\n"
    files(monkeypatch, contents)
    assert describe_machine()["governor"] == "performance"
    assert describe_machine()["frequency_mhz"] == 1200.0
    assert describe_machine((2, 1))["governor"] == "schedutil"
    assert describe_machine((2, 1))["frequency_mhz"] == 1200.002
    contents[CLOCK.format(0) + "cpuinfo_max_freq"] = "<unknown>\n"
    contents[CLOCK.format(0) + "scaling_governor"] = "\n"
    assert describe_machine()["frequency_mhz"] is None
    assert describe_machine()["governor"] == "unknown"


def test_the_name_of_a_processor_is_the_systems(monkeypatch):
    name = processor_name()
    assert name == name.strip() != ""
    cpuinfo = Path("/proc/cpuinfo")
    if os.path.exists(cpuinfo) and "model name" in cpuinfo.read_text():
        assert f": {name}\n" in cpuinfo.read_text()
    board = {"/proc/device-tree/model": "Raspberry Pi 5 Model B\0"}
    files(monkeypatch, board | {"/proc/cpuinfo": "model name\t: another\n"})
    assert processor_name() == "Raspberry Pi 5 Model B"
    files(monkeypatch, {"/proc/cpuinfo": "processor\t: 0\nmodel name\t: A CPU: 2 GHz \n"})
    assert processor_name() == "A CPU: 2 GHz"
    files(monkeypatch, {"/proc/cpuinfo": "Features\t: fp asimd\n"})
    generic = platform.processor() or platform.machine()
    assert processor_name() == generic
    arm = {"/proc/cpuinfo": "CPU implementer\t: 0x41\nCPU part\t: 0xd0c\nCPU part\t: 0xd0d\n"}
    files(monkeypatch, arm | {"/proc/device-tree/model": "linux,dummy-virt\0"})
    assert processor_name() == f"{generic} 0x41 0xd0c"


def test_names_of_devices_are_printable_and_short(monkeypatch):
    files(monkeypatch, {"/proc/cpuinfo": "model name\t: A\x1b[2J CPU\x07" + "u" * 300 + "\n"})
    assert processor_name().startswith("A[2J CPUu")
    assert len(processor_name()) == 100
    assert Target.model_validate(describe_target()).device == processor_name()


def test_an_unknown_provider_is_named_with_those_that_are_there():
    with pytest.raises(DeviceError, match=r"has no NoProvider; it has .*CPUExecutionProvider"):
        describe_target(provider="NoProvider")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("NVIDIA H200\nNVIDIA L4\n", "NVIDIA H200"),
        ("", None),
        (FileNotFoundError(), None),
        (subprocess.TimeoutExpired("nvidia-smi", 20), None),
    ],
    ids=str,
)
def test_an_accelerator_has_the_name_that_its_driver_tells(monkeypatch, answer, expected):
    def check_output(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(subprocess, "check_output", check_output)
    assert accelerator_name("CPUExecutionProvider") is None
    for provider in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
        assert accelerator_name(provider) == expected
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [provider])  # noqa: B023
        target = Target.model_validate(describe_target(provider=provider))
        assert target.device == (expected or processor_name())
        assert target.host == (processor_name() if expected else "")


# --- pinning --------------------------------------------------------------------------------------

pinning = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system pins no processes"
)


@pinning
def test_a_process_is_pinned_inside_and_free_after():
    before = os.sched_getaffinity(0)
    with pinned([max(before)]):
        assert os.sched_getaffinity(0) == {max(before)}
        with pinned(()):
            assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(ZeroDivisionError), pinned([max(before)]):
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before


@pinning
@pytest.mark.parametrize("cores", [[99999], [-1]])
def test_cores_that_are_not_there_are_named(cores):
    before = os.sched_getaffinity(0)
    message = rf"expected cores among \[.*\], got \[{cores[0]}\]"
    with pytest.raises(DeviceError, match=message), pinned(cores):
        raise AssertionError("not reached")
    assert os.sched_getaffinity(0) == before


def test_a_system_that_pins_nothing_says_so(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pytest.raises(DeviceError, match="leave --cores out"), pinned([0]):
        raise AssertionError("not reached")
    with pinned(()):
        pass


@contextmanager
def another_thread() -> Iterator[int]:
    """Its number in the system."""
    started, over = threading.Event(), threading.Event()

    def wait():
        started.set()
        over.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()
    try:
        yield thread.native_id
    finally:
        over.set()
        thread.join()


all_threads = pytest.mark.skipif(
    not os.path.isdir("/proc/self/task"), reason="only Linux lists the threads of a process"
)


@pinning
@all_threads
def test_every_thread_is_pinned():
    before = os.sched_getaffinity(0)
    core = max(before)
    with another_thread() as number:
        with pinned([core]):
            assert os.sched_getaffinity(number) == {core}
        assert os.sched_getaffinity(number) == before


@pinning
@all_threads
def test_a_thread_that_is_over_leaves_no_other_unpinned(monkeypatch):
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one core")
    with another_thread() as number:
        monkeypatch.setattr(os, "listdir", lambda _: ["999999999", str(number)])
        with pinned([max(before)]):
            assert os.sched_getaffinity(number) == {max(before)}


# --- priority -------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "setpriority"), reason="no priorities on this system")
def test_the_priority_is_that_of_before_again():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with pytest.raises(ZeroDivisionError), undisturbed():
        inside = os.getpriority(os.PRIO_PROCESS, 0)
        raise ZeroDivisionError
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    if inside == before:
        pytest.skip("this system grants no greater priority")
    assert inside < before


@pytest.mark.parametrize(("granted", "expected"), [(-20, -20), (-5, -5), (0, 0), (9, 0)])
def test_the_priority_is_the_greatest_that_is_granted(monkeypatch, granted, expected):
    now = [0]

    def setpriority(which, who, priority):
        if priority < granted and priority != 0:
            raise PermissionError
        now[0] = priority

    monkeypatch.setattr(os, "PRIO_PROCESS", 0, raising=False)
    monkeypatch.setattr(os, "getpriority", lambda which, who: now[0], raising=False)
    monkeypatch.setattr(os, "setpriority", setpriority, raising=False)
    with undisturbed():
        assert now == [expected]
    assert now == [0]


@pinning
def test_undisturbed_is_pinned_too():
    before = os.sched_getaffinity(0)
    with undisturbed([max(before)]):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(DeviceError, match="expected cores among"), undisturbed([99999]):
        raise AssertionError("not reached")
