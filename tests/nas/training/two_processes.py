"""What each of two processes does in the tests of training together; they leave files behind."""

import json
import os
import socket
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from nas.append_log import AppendLog
from nas.config import TrainingConfig
from nas.data import Dataset
from nas.task import Task
from nas.training import STRATEGIES
from nas.training.ranks import Ranks, SaidElsewhere, torchrun_ranks
from nas.training.strategy import Strategy, TrainingStep, TrainingSubnet
from nas.training.trainer import Trainer
from search_spaces import InputError, SearchSpace, build_space
from search_spaces.supernet import Supernet

SIZE = 2
ONE_STEP = TrainingConfig(
    epochs=1, batch_size=32, shift=0, rotate=0, scale=0, momentum=0, clip_norm=1e9, warm_up_epochs=0
)
SHORT = TrainingConfig(
    epochs=2, batch_size=32, num_random=1, warm_up_epochs=0.5, evaluate_every=1, dropout=0.2
)
COLLAPSE = (0.9, 0.1, 0.9)  # accuracy of the smallest at every look: of the second, a fall


def new_supernet(space: SearchSpace) -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(space)


class Three(Strategy):
    """The largest, another one and the smallest, each learning otherwise."""

    def __init__(self, space: SearchSpace) -> None:
        drawn = space.sample(1, np.random.default_rng(0))
        rows = np.concatenate([space.largest(), drawn, space.smallest()])
        largest, middle, smallest = map(space.decode, rows)
        self.subnets = (
            TrainingSubnet(largest, "largest", "labels"),
            TrainingSubnet(middle, "random", "teacher"),
            TrainingSubnet(smallest, "smallest", "both", loss_weight=0.5),
        )

    def step(self, context) -> TrainingStep:
        return TrainingStep(self.subnets, self.subnets[0].architecture)


def trainer_of(
    folder: Path, space, data, config, ranks, *, strategy=None, task=None, evaluate=None
) -> Trainer:
    return Trainer(
        new_supernet(space),
        data,
        task or Task(),
        config,
        0,
        strategy or STRATEGIES[config.strategy](space, config),
        checkpoint_path=folder / "checkpoint.safetensors",
        metrics=AppendLog(folder / "metrics.jsonl"),
        evaluate=evaluate or (lambda supernet: {}),
        ranks=ranks,
    )


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    return {name: one.detach().contiguous() for name, one in trainer.supernet.named_parameters()}


def reduce(ranks: Ranks, folder: Path, space: SearchSpace, data: Dataset) -> None:
    """Means and what the first process has, of several types and layouts."""
    images = torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    tensors = [images * (ranks.rank + 1), torch.tensor(float(ranks.rank)).double()]
    ranks.mean_(tensors)
    assert tensors[0].is_contiguous(memory_format=torch.channels_last)
    own = {"a": torch.full((2, 3), float(ranks.rank)), "b": torch.tensor(ranks.rank)}
    sent = ranks.tensors_from_first(own)
    figures = ranks.from_first(lambda: {"rank": ranks.rank, "share": 0.1 + 0.2, "none": None})
    result = {"means": [one.tolist() for one in tensors], "figures": figures}
    result["sent"] = {name: one.tolist() for name, one in sent.items()}
    result["made"] = ranks.first_then_others(lambda: (folder / "made").exists() or _touch(folder))
    (folder / f"{ranks.rank}.json").write_text(json.dumps(result))


def _touch(folder: Path) -> bool:
    (folder / "made").touch()
    return False


def one_step(ranks: Ranks, folder: Path, space: SearchSpace, data: Dataset) -> None:
    """The gradients of one step, and losses without a step."""
    trainer = trainer_of(folder, space, data, ONE_STEP, ranks, strategy=Three(space))
    batches, seen = trainer._steps.batches, []

    def recording(index, generator):
        seen.append(index.tolist())
        return batches(index, generator)

    trainer._steps.batches = recording  # type: ignore[assignment]
    losses = trainer._steps.judge(0, 0)(np.concatenate([space.largest(), space.smallest()]))
    trainer._steps.per_epoch = 1
    trainer.train()
    gradients = {
        name: one.grad.contiguous()
        for name, one in trainer.supernet.named_parameters()
        if one.grad is not None
    }
    save_file(gradients, folder / f"{ranks.rank}.safetensors")
    result = {"losses": losses.tolist(), "fresh": seen[0], "batch": seen[1]}
    (folder / f"{ranks.rank}.json").write_text(json.dumps(result))


def short_training(ranks: Ranks, folder: Path, space: SearchSpace, data: Dataset) -> None:
    """Whole epochs with augmentation and dropout, a bad loss on one process, a fall and a
    roll-back.
    """
    looks = []

    def evaluate(supernet: Supernet) -> dict[str, float]:
        looks.append(COLLAPSE[len(looks)])
        return {"smallest_accuracy": looks[-1], "largest_accuracy": 1.0}

    losses = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        losses.append(torch.nn.functional.cross_entropy(outputs, targets))
        bad = ranks.rank == 1 and len(losses) == 3
        return losses[-1] * (float("nan") if bad else 1.0)

    task = Task(loss_function=loss, distillation_function=_cross_entropy)
    trainer = trainer_of(folder, space, data, SHORT, ranks, task=task, evaluate=evaluate)
    trainer.resume()
    trainer.train()
    save_file(weights_of(trainer), folder / f"{ranks.rank}.safetensors")
    (folder / f"{ranks.rank}.json").write_text(json.dumps({"looks": looks}))


def _cross_entropy(outputs: Tensor, teacher: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(outputs, teacher.softmax(dim=1))


def second_fails(ranks: Ranks, folder: Path, space: SearchSpace, data: Dataset) -> None:
    """One raises where the other waits for it."""
    if ranks.rank == 1:
        raise InputError("of the second")
    ranks.mean_([torch.zeros(3)])


def both_fail(ranks: Ranks, folder: Path, space: SearchSpace, data: Dataset) -> None:
    """Both find the same out."""
    trainer_of(folder, space, data, ONE_STEP.replaced(batch_size=33), ranks)


JOBS = (reduce, one_step, short_training, second_fails, both_fail)


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def work(rank: int, folder: Path, ports: list[int], data: Dataset) -> None:
    """Do all jobs as one of the processes, each in a group of its own."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    space = build_space("mobilenet-digits", num_classes=data.num_classes)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(SIZE)}
    for job, port in zip(JOBS, ports, strict=True):
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ended = "well"
        try:
            with torchrun_ranks() as ranks:
                job(ranks, folder / job.__name__, space, data)
        except InputError as error:
            ended = str(error)
        except SaidElsewhere:
            ended = "said elsewhere"
        (folder / job.__name__ / f"{rank}.end").write_text(ended)
