"""`torchrun -m nas train`: real processes, killed and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.append_log import AppendLog
from nas.run_directory import open_run
from nas.training.checkpoint import read_state

EPOCHS = 3
PATIENCE = 300  # seconds, of a test that otherwise hangs
SETTINGS = (
    "space.name=mobilenet-digits",
    f"training.epochs={EPOCHS}",
    "training.batch_size=64",
    "training.num_random=1",
    "training.evaluate_every=1",
    "data.max_samples=256",
)


def torchrun(*arguments: object, processes: int = 2) -> subprocess.Popen:
    """Start `nas ARGUMENTS` in so many processes."""
    start = (sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}")
    return subprocess.Popen(
        [*start, "--standalone", "-m", "nas", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # a shell's background jobs ignore Ctrl-C, and so would this child of one
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def train(out, *overrides, processes: int = 2) -> subprocess.Popen:
    recipe = out.with_suffix(".toml")
    recipe.write_text("")
    changed = [word for text in (*SETTINGS, *overrides) for word in ("--set", text)]
    return torchrun("train", recipe, "--out", out, *changed, processes=processes)


def ended(process: subprocess.Popen) -> tuple[str, list[str]]:
    """What it printed, and the lines of ours among its errors."""
    printed, errors = process.communicate(timeout=PATIENCE)
    return printed, [line for line in errors.splitlines() if line.startswith("nas: ")]


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Wait for a file that a process is to write."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def workers(process: subprocess.Popen) -> list[int]:
    """Ids of the processes that torchrun started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in children.read_text().split()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A training of two processes that nothing stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    printed, errors = ended(train(run))
    assert not errors
    assert printed == f"{run / 'supernet' / 'checkpoint.safetensors'}\n"
    return open_run(run)


@pytest.mark.slow
def test_training_of_two_that_were_killed_ends_as_if_they_had_not_been(tmp_path, uninterrupted):
    out = tmp_path / "run"
    process = train(out)
    checkpoint = out / "supernet" / "checkpoint.safetensors"
    wait_for(out / "supernet" / "metrics.jsonl", process)
    while read_state(checkpoint)["epoch"] < 1:  # which follows at once
        assert process.poll() is None, process.communicate()
    for number in workers(process):
        os.kill(number, signal.SIGKILL)
    ended(process)
    assert process.returncode != 0
    assert 1 <= read_state(checkpoint)["epoch"] < EPOCHS, "killed too late to tell"
    again = torchrun("train", out)
    assert ended(again)[1] == []
    assert again.returncode == 0
    whole = uninterrupted.checkpoint_path
    assert read_state(checkpoint) == read_state(whole)
    assert checkpoint.read_bytes() == whole.read_bytes()
    records = AppendLog(out / "supernet" / "metrics.jsonl").read()
    assert [record["epoch"] for record in records] == list(range(1, EPOCHS + 1))
    assert open_run(out).stages["train"].state == "done"


@pytest.mark.slow
def test_ctrl_c_is_answered_once(tmp_path):
    out = tmp_path / "run"
    process = train(out, "training.epochs=500")
    wait_for(out / "supernet" / "metrics.jsonl", process)
    for number in (*workers(process), process.pid):  # as a terminal sends it
        os.kill(number, signal.SIGINT)
    _, errors = ended(process)
    assert process.returncode != 0
    assert errors == ["nas: interrupted; the same command goes on where it stopped"]


@pytest.mark.slow
def test_one_process_that_is_killed_takes_the_other_along(tmp_path):
    """Whichever it is; and the other says so in a line."""
    out = tmp_path / "run"
    process = train(out, "training.epochs=500")
    wait_for(out / "supernet" / "metrics.jsonl", process)
    os.kill(workers(process)[1], signal.SIGKILL)
    _, errors = ended(process)
    assert process.returncode != 0
    assert len(errors) <= 1
    assert all("goes on where it stopped" in line for line in errors)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("report", "absent"), "`nas train` alone"),
        (("train", "--frobnicate"), "--frobnicate"),
        (("train", "absent.toml"), "absent.toml"),
    ],
)
def test_what_cannot_be_is_said_once(arguments, words):
    process = torchrun(*arguments)
    printed, errors = ended(process)
    assert not printed
    assert len(errors) == 1
    assert words in errors[0]


@pytest.mark.slow
def test_a_batch_that_processes_cannot_share_is_refused_once(tmp_path):
    process = train(tmp_path / "run", processes=3)
    _, errors = ended(process)
    assert len(errors) == 1
    assert "batch of 64 cannot be shared by 3 processes" in errors[0]
    assert not (tmp_path / "run" / "supernet" / "metrics.jsonl").exists()
