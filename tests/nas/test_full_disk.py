"""A training whose files no longer fit."""

import resource
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

import nas
from nas.append_log import AppendLog
from nas.config import load_recipe
from nas.training.checkpoint import load_checkpoint, read_state
from tests.nas.command_line import nas_script


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "data.npz"
    images = rng.integers(0, 256, (120, 8, 8), dtype=np.uint8)
    np.savez(path, x=images, y=images[:, 3, 3] // 128)
    small = ("epochs=2", "batch_size=32", "num_random=0")
    return load_recipe(None, [f"data.source=npz:{path}", *(f"training.{one}" for one in small)])


@pytest.fixture(scope="module")
def uninterrupted(recipe, tmp_path_factory) -> dict:
    """The state of its last checkpoint: the hash of the weights is in it."""
    return read_state(nas.train(nas.create_run(tmp_path_factory.mktemp("whole") / "run", recipe)))


def train_limited(run, most_bytes: int) -> subprocess.CompletedProcess[str]:
    """`nas train RUN` where files can have so many bytes."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.run(
        [nas_script(), "train", run.path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )


def test_a_checkpoint_that_cannot_be_written_ends_training_and_the_one_before_stays(
    tmp_path, recipe, uninterrupted, nas_command
):
    run = nas.create_run(tmp_path / "run", recipe)
    assert nas_command("train", run.path, "--minutes", "0").code == 4
    before = run.checkpoint_path.read_bytes()
    answer = train_limited(run, most_bytes=50_000)
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.splitlines()[-1] == f"nas: {run.checkpoint_path}: File too large"
    assert "Traceback" not in answer.stderr
    assert not list(run.path.rglob("*.tmp"))
    assert before == run.checkpoint_path.read_bytes()
    _, state = load_checkpoint(run.checkpoint_path, run.space.name)
    assert (state["epoch"], state["step"]) == (0, 1)
    again = nas_command("train", run.path)
    assert again.code == 0, again.stderr
    assert read_state(run.checkpoint_path) == uninterrupted
    assert [record["epoch"] for record in run.metrics.read()] == [1, 2]


DEVICE = Path("/dev/full")  # where every write fails


@pytest.mark.skipif(not DEVICE.exists(), reason="no /dev/full")
def test_records_that_cannot_be_written_name_their_file(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to(DEVICE)
    with pytest.raises(OSError, match=r"No space left.*metrics\.jsonl"):
        AppendLog(tmp_path / "metrics.jsonl").append({"epoch": 1})
