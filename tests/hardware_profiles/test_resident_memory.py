"""What networks add to memory, read in real helper processes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import nn

from hardware_profiles import profile_device
from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import ResidentMemory
from tests.contracts.inputs import one_input

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux has a mark that can be set back"
)

PATIENCE = 120  # seconds, of a test that otherwise hangs


def model(megabytes):
    """A network whose weights take so many megabytes."""
    side = 1000
    with torch.device("meta"):
        layers = [nn.Linear(side, side) for _ in range(megabytes // 4)]
    module = nn.Sequential(nn.Flatten(), *layers, nn.Linear(side, 2, device="meta"))
    module.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    return onnx_model(module.eval(), one_input(10, 10, 10)).SerializeToString()


@pytest.fixture
def memory():
    with closing(ResidentMemory()) as memory:
        yield memory


def children():
    """Processes that this one started and that are not over."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_memory_grows_with_the_weights(memory):
    """Every network sees its own, whatever was opened before it."""
    small, large = model(20), model(60)
    found = [memory(one) for one in (small, large, small, large)]
    assert all(20e6 <= one <= 75e6 for one in found[::2])
    assert all(60e6 <= one <= 190e6 for one in found[1::2])
    assert abs(found[2] - found[0]) < 0.1 * found[0]
    assert abs(found[3] - found[1]) < 0.1 * found[1]


@pytest.mark.parametrize("settings", [(2,), (1, 4)], ids=["two threads", "batch of four"])
def test_memory_is_read_under_the_settings_of_the_target(settings):
    with closing(ResidentMemory(*settings)) as memory:
        assert memory(model(8)) > 8e6


def test_a_network_that_cannot_be_opened_has_none_and_the_next_one_has(memory):
    assert memory(b"no network") is None
    assert memory(b"") is None
    assert memory(model(8)) > 8e6


@pytest.mark.parametrize("provider", ["NoProvider", "CUDAExecutionProvider"])
def test_other_providers_than_the_cpus_tell_nothing(provider):
    before = children()
    with closing(ResidentMemory(provider=provider)) as memory:
        assert children() == before
        assert memory(b"a network") is None


def test_no_process_is_left():
    before = children()
    with closing(ResidentMemory()) as memory:
        memory(model(8))
        assert len(children()) == len(before) + 1
    assert children() == before


def test_a_helper_that_died_is_started_anew(memory):
    before = len(children())
    for _ in range(2):
        memory._process.kill()
        memory._process.wait()
        assert memory(model(8)) is None
        assert memory(model(8)) > 8e6
        assert len(children()) == before


def test_a_device_that_starts_no_processes_tells_nothing(monkeypatch):
    def refused(*_, **__):
        raise PermissionError

    monkeypatch.setattr(subprocess, "Popen", refused)
    with closing(ResidentMemory()) as memory:
        assert memory(b"a network") is None


def test_a_system_without_forks_tells_nothing(monkeypatch):
    monkeypatch.delattr(os, "fork")
    with closing(ResidentMemory()) as memory:
        assert memory(b"a network") is None


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def ends(pid, seconds):
    """Whether a process is over before long."""
    until = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


@pytest.fixture
def helper():
    command = [sys.executable, profile_device.__file__, "--serve-memory"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        for child in forks(process.pid):
            os.kill(int(child), signal.SIGKILL)
        process.kill()


def forks(pid):
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def test_the_helper_ends_with_the_process_that_asks(helper):
    data = model(8)
    helper.stdin.write(len(data).to_bytes(8, "little") + data)
    helper.stdin.flush()
    assert int(helper.stdout.readline()) > 8e6
    helper.stdin.close()
    assert helper.wait(PATIENCE) == 0


def test_the_helper_ends_where_the_process_that_asks_is_killed_while_it_writes(helper):
    helper.stdin.write((10**6).to_bytes(8, "little") + bytes(1000))
    helper.stdin.close()
    assert ends(helper.pid, PATIENCE)


def test_the_helper_passes_over_an_interrupt(helper):
    data = model(8)
    for _ in range(2):  # by the first answer it has started
        helper.stdin.write(len(data).to_bytes(8, "little") + data)
        helper.stdin.flush()
        assert int(helper.stdout.readline()) > 8e6
        for pid in [helper.pid, *map(int, forks(helper.pid))]:
            os.kill(pid, signal.SIGINT)
    helper.stdin.close()
    assert helper.wait(PATIENCE) == 0


def test_the_helper_says_nothing_where_all_is_well():
    command = [sys.executable, "-W", "error", profile_device.__file__, "--serve-memory"]
    data = model(8)
    run = subprocess.run(
        command, input=len(data).to_bytes(8, "little") + data, capture_output=True, check=True
    )
    assert run.stderr == b""
