"""Training on one GPU, and on two with NCCL."""

import math
import os
import subprocess
import sys

import pytest
import torch
from torch import distributed

import nas
from nas.append_log import AppendLog
from nas.config import TrainingConfig, load_recipe
from nas.task import Task
from nas.training import STRATEGIES
from nas.training.checkpoint import read_state
from nas.training.metrics import epoch_records
from nas.training.trainer import Trainer
from tests.nas.training.two_processes import new_supernet

NUM_GPUS = torch.cuda.device_count() if torch.version.cuda is not None else 0
needs_gpu = pytest.mark.skipif(NUM_GPUS < 1, reason="torch finds no NVIDIA GPU here")
needs_two = pytest.mark.skipif(
    NUM_GPUS < 2 or not distributed.is_nccl_available(), reason="two GPUs and NCCL are not here"
)
SETTINGS = ("training.device=cuda", "training.epochs=2", "training.evaluate_every=1")


def assert_learnt(run) -> None:
    records = epoch_records(run.metrics.read())
    assert [record["epoch"] for record in records] == [1, 2]
    losses = [record["loss"] for record in records]
    assert all(map(math.isfinite, losses))
    assert losses[1] < losses[0]
    assert records[-1]["largest_accuracy"] > 0.3, "chance is 0.1"


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains_digits(tmp_path, precision, optimizer):
    rate = {"sgd": 0.1, "adamw": 0.003}[optimizer]
    changes = [f"training.precision={precision}", f"training.optimizer={optimizer}"]
    recipe = load_recipe(None, [*SETTINGS, *changes, f"training.learning_rate={rate}"])
    run = nas.create_run(tmp_path / "run", recipe)
    nas.train(run)
    assert_learnt(run)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_gpu_goes_on_from_a_checkpoint(tmp_path, space, bars, strategy):
    """State of the optimiser, of the guard and of the sums go back to the GPU."""

    def trainer(epochs: int) -> Trainer:
        config = TrainingConfig(strategy=strategy, epochs=epochs, dropout=0.1)
        one = Trainer(
            new_supernet(space),
            bars,
            Task(),
            config,
            0,
            STRATEGIES[strategy](space, config),
            checkpoint_path=tmp_path / "checkpoint.safetensors",
            metrics=AppendLog(tmp_path / "metrics.jsonl"),
            evaluate=lambda supernet: {},
            device=torch.device("cuda"),
        )
        one.resume()
        return one

    trainer(1).train()
    trainer(2).train()
    assert read_state(tmp_path / "checkpoint.safetensors")["epoch"] == 2
    first, second = AppendLog(tmp_path / "metrics.jsonl").read()[-2:]
    assert math.isfinite(first["loss"])
    assert math.isfinite(second["loss"])


@pytest.mark.gpu
@needs_gpu
def test_a_bad_step_changes_nothing_on_a_gpu(tmp_path, space, bars):
    """Also where it is the very first, which a fused optimiser begins its momenta with."""

    def no_number(outputs, targets):
        return outputs.sum() * float("nan")

    config = TrainingConfig(epochs=1, batch_size=128, strategy="single-path")
    trainer = Trainer(
        new_supernet(space),
        bars,
        Task(loss_function=no_number),
        config,
        0,
        STRATEGIES["single-path"](space, config),
        checkpoint_path=tmp_path / "checkpoint.safetensors",
        metrics=AppendLog(tmp_path / "metrics.jsonl"),
        evaluate=lambda supernet: {},
        device=torch.device("cuda"),
    )
    trainer._train_epoch(lambda done, note: None)
    assert trainer._steps.guard.bad_steps == 1
    for found, before in zip(
        trainer.supernet.parameters(), new_supernet(space).parameters(), strict=True
    ):
        assert torch.equal(found.detach().cpu(), before.detach())
        momentum = trainer._steps.optimizer.state[found]["momentum_buffer"]
        assert not momentum.any()


@pytest.mark.gpu
@needs_two
def test_two_gpus_train_digits(tmp_path):
    out, recipe = tmp_path / "run", tmp_path / "recipe.toml"
    recipe.write_text("")
    changes = [word for text in SETTINGS for word in ("--set", text)]
    start = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    subprocess.run(
        [*start, "-m", "nas", "train", recipe, "--out", out, *changes],
        check=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert_learnt(nas.open_run(out))
