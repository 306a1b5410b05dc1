"""A real training, killed and stopped while it runs."""

import signal
import subprocess
import time

import numpy as np
import pytest

import nas
from nas.config import Recipe, load_recipe
from nas.training.checkpoint import read_state
from tests.nas.command_line import nas_script

EPOCHS = 6
PATIENCE = 90  # seconds, of a test that otherwise hangs


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Recipe:
    """A training of many short epochs."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "data.npz"
    images = rng.integers(0, 256, (120, 8, 8), dtype=np.uint8)
    np.savez(path, x=images, y=images[:, 3, 3] // 128)
    return load_recipe(
        None,
        [
            f"data.source=npz:{path}",
            f"training.epochs={EPOCHS}",
            "training.batch_size=16",
            "training.evaluate_every=4",
        ],
    )


@pytest.fixture(scope="module")
def uninterrupted(recipe, tmp_path_factory) -> dict:
    """The state of the checkpoint of a training that nothing stopped: the hash of its weights is
    in it.
    """
    run = nas.create_run(tmp_path_factory.mktemp("whole") / "run", recipe)
    return read_state(nas.train(run))


def start(run) -> subprocess.Popen:
    """`nas train RUN` in a process of its own."""
    return subprocess.Popen(
        [nas_script(), "train", run.path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs ignore Ctrl-C, and so would this child of one
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def checkpoint_place(run) -> tuple[int, int]:
    """Epochs that are done, and steps of the next one; below both without a checkpoint."""
    if not run.checkpoint_path.exists():
        return -1, 0
    state = read_state(run.checkpoint_path)
    return state["epoch"], state["step"]


def wait_for_a_checkpoint(run, process: subprocess.Popen, place: tuple[int, int]) -> None:
    """Wait until so many epochs, and so many steps of the next one, are done."""
    deadline = time.monotonic() + PATIENCE
    while checkpoint_place(run) < place:
        over = process.poll() is not None
        assert not over or checkpoint_place(run) >= place, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_training_that_was_stopped_ends_as_if_it_had_not_been(
    tmp_path, recipe, uninterrupted, nas_command, sent, code
):
    run = nas.create_run(tmp_path / "run", recipe)
    stopped = nas_command("train", run.path, stop_at=(run.metrics.path, 2), signal_number=sent)
    assert stopped.code == code, stopped.stderr
    assert 1 <= read_state(run.checkpoint_path)["epoch"] < EPOCHS
    if sent == signal.SIGINT:
        assert stopped.stderr.splitlines()[-1].startswith("nas: interrupted")
        assert "Traceback" not in stopped.stderr
    answer = nas_command("train", run.path)
    assert answer.code == 0, answer.stderr
    assert read_state(run.checkpoint_path) == uninterrupted
    assert [record["epoch"] for record in run.metrics.read()] == list(range(1, EPOCHS + 1))


@pytest.mark.slow
def test_killed_at_random_moments_training_ends_with_the_same_weights(
    tmp_path, recipe, uninterrupted, nas_command
):
    """Twenty trainings with a checkpoint after every step, each killed somewhere."""
    rng = np.random.default_rng(0)
    often = {"checkpoint_minutes": 1e-9}
    recipe = recipe.model_copy(update={"training": recipe.training.replaced(**often)})
    places = []
    for number in range(20):
        run = nas.create_run(tmp_path / f"run{number}", recipe)
        process = start(run)
        wait_for_a_checkpoint(run, process, (rng.integers(EPOCHS), rng.integers(4)))
        time.sleep(rng.uniform(0, 0.1))  # a step or two, checkpoints included
        process.kill()
        process.communicate(timeout=PATIENCE)
        places.append(checkpoint_place(run))
        answer = nas_command("train", run.path)
        assert answer.code == 0, answer.stderr
        assert read_state(run.checkpoint_path) == uninterrupted, f"killed at {places[-1]}"
        assert [one["epoch"] for one in run.metrics.read()] == list(range(1, EPOCHS + 1))
    assert len(set(places)) > 8, "kills at many moments"
    assert any(step > 0 for _, step in places), "within epochs too"
