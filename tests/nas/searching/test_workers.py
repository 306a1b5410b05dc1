"""Real processes: what raises, what is killed, what outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from nas.searching import workers
from nas.searching.measured_log import Failure
from nas.searching.workers import Workers
from search_spaces import Architecture, Dimension, SearchSpace

SPACE = SearchSpace("line@1", [Dimension("x", tuple(range(12)))])
ALL = [SPACE.decode(np.array([i])) for i in range(12)]


def evaluate(folder: Path, architecture: Architecture) -> dict[str, float]:
    """Counts each call in a file; some options are trouble."""
    x = architecture.values["x"]
    with (folder / f"{x}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if x == 3:
        raise ValueError("three is no good")
    if x == 5 and len((folder / "5").read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if x == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"loss": float(x), "pid": float(os.getpid())}


def start(folder: Path):
    return partial(evaluate, folder)


def start_nothing():
    raise RuntimeError("no data here")


@pytest.fixture
def quick_processes(monkeypatch):
    """Forks of a process that has imported everything once, instead of fresh interpreters."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    monkeypatch.setattr(workers, "get_context", lambda method: context)


@pytest.fixture
def calls(tmp_path):
    return lambda: {int(p.name): len(p.read_text().splitlines()) for p in tmp_path.iterdir()}


def test_in_this_process_what_raises_has_failed(tmp_path, calls):
    harmless = [one for one in ALL if one.values["x"] not in (5, 7)]
    with Workers(partial(start, tmp_path), 1) as evaluated:
        answers = dict(evaluated(harmless))
    assert [a["loss"] for a in answers.values() if not isinstance(a, Failure)] == [
        0, 1, 2, 4, 6, 8, 9, 10, 11,
    ]  # fmt: skip
    assert answers[3] == Failure("ValueError: three is no good")
    assert set(calls().values()) == {1}


@pytest.mark.usefixtures("quick_processes")
def test_a_killed_process_loses_nothing_and_counts_nothing_twice(tmp_path, calls):
    """5 kills its process the first time, 7 every time."""
    with Workers(partial(start, tmp_path), 2) as evaluated:
        found = list(evaluated(ALL))
        positions = [position for position, _ in found]
        assert sorted(positions) == list(range(12))
        answers = dict(found)
        assert isinstance(answers[3], Failure)
        assert answers[5]["loss"] == 5.0
        assert "killed 2 times" in answers[7].reason
        for x in set(range(12)) - {3, 7}:
            assert answers[x]["loss"] == x
            assert answers[x]["pid"] != os.getpid()
        assert len(list(evaluated(ALL[:2]))) == 2, "and the next batch is evaluated too"


@pytest.mark.usefixtures("quick_processes")
def test_processes_that_cannot_start_say_why():
    with Workers(start_nothing, 2) as evaluated:
        answers = dict(evaluated(ALL[:2]))
    words = "a process could not start: RuntimeError: no data here"
    assert answers == {0: Failure(words), 1: Failure(words)}


def test_nothing_to_do(tmp_path):
    with Workers(partial(start, tmp_path), 2) as evaluated:
        assert list(evaluated([])) == []


ORPHANS = """
import sys, time
from functools import partial
from pathlib import Path
import numpy as np
from nas.searching.workers import Workers
from tests.nas.searching.test_workers import ALL, sleeping

if __name__ == "__main__":
    with Workers(partial(sleeping, Path(sys.argv[1])), 2) as evaluated:
        list(evaluated(ALL[:2]))
"""


def sleeping(folder: Path):
    (folder / f"{os.getpid()}").touch()

    def evaluate(architecture):
        time.sleep(60)
        return {}

    return evaluate


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at /proc")
def test_workers_end_with_the_process_that_started_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    folder = tmp_path / "pids"
    folder.mkdir()
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, script, folder], env={**os.environ, "PYTHONPATH": str(root)}
    )
    deadline = time.monotonic() + 300  # of a busy machine; seconds on an idle one
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(path.name) for path in folder.iterdir()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))
