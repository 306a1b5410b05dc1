import pytest
import torch

import nas
from nas.append_log import AppendLog
from nas.config import TrainingConfig, load_recipe
from nas.pipeline import create_run
from nas.run_directory import open_run
from nas.task import Task
from nas.training import STRATEGIES
from nas.training.checkpoint import load_checkpoint, read_state
from nas.training.trainer import Trainer
from search_spaces.errors import UnfinishedError
from search_spaces.supernet import Supernet
from tests.conftest import ROOT

CONFIG = TrainingConfig(epochs=2, batch_size=32, num_random=1, warm_up_epochs=0.5)  # 8 steps
LITTLE = ("data.max_samples=100", "training.epochs=2", "training.num_random=1")


@pytest.fixture
def new_trainer(space, bars):
    """Makes a trainer of a folder, each a new one, as after a restart."""

    def make(folder) -> Trainer:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            supernet = Supernet(space)
        return Trainer(
            supernet,
            bars,
            Task(),
            CONFIG,
            0,
            STRATEGIES["sandwich"](space, CONFIG),
            checkpoint_path=folder / "checkpoint.safetensors",
            metrics=AppendLog(folder / "metrics.jsonl"),
            evaluate=lambda supernet: {},
        )

    return make


def test_legs_of_one_step_end_as_the_whole_does_bit_for_bit(tmp_path, space, new_trainer):
    whole = new_trainer(tmp_path / "whole")
    whole.resume()
    whole.train()
    legs, messages = 0, []
    while legs < 20:
        legs += 1
        trainer = new_trainer(tmp_path / "legs")
        trainer.resume()
        try:
            trainer.train(ends_at=0.0)  # long over: every leg does one step
        except UnfinishedError as error:
            messages.append(str(error))
        else:
            break
    assert legs == whole.num_steps == 8
    assert messages[0] == ("trained 1 of 8 steps (12%), epoch 1 of 2; the same command goes on")
    first, second = (
        load_checkpoint(tmp_path / name / "checkpoint.safetensors", space.name)[0]
        for name in ("whole", "legs")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    records = [AppendLog(tmp_path / name / "metrics.jsonl").read() for name in ("whole", "legs")]
    assert [one["losses"] for one in records[0]] == [one["losses"] for one in records[1]]


def test_without_an_end_nothing_stops(tmp_path, new_trainer):
    trainer = new_trainer(tmp_path)
    trainer.resume()
    trainer.train(ends_at=float("inf"))
    assert read_state(tmp_path / "checkpoint.safetensors")["epoch"] == 2


def test_a_run_that_was_stopped_in_time_is_not_done_and_goes_on(tmp_path):
    recipe = load_recipe(ROOT / "recipes" / "digits.toml", LITTLE)
    run = create_run(tmp_path / "run", recipe)
    with pytest.raises(UnfinishedError, match="trained 1 of 6 steps"):
        nas.train(run, minutes=0)
    assert open_run(tmp_path / "run").stages["train"].state == "running"
    nas.train(tmp_path / "run")
    again = open_run(tmp_path / "run")
    assert again.stages["train"].state == "done"
    assert [record["epoch"] for record in again.metrics.read()] == [1, 2]


def test_on_the_command_line_a_leg_has_its_own_exit_code(nas_command, tmp_path):
    settings = [x for one in LITTLE for x in ("--set", one)]
    command = ("train", ROOT / "recipes" / "digits.toml", "--out", tmp_path / "run", *settings)
    nas_command(*command, "--minutes", 0).assert_refused(
        "trained 1 of 6 steps (17%), epoch 1 of 2; the same command goes on", code=4
    )
    done = nas_command(*command, "--minutes", 60)
    assert done.code == 0, done.stderr
    assert done.stdout.strip().endswith("checkpoint.safetensors")
