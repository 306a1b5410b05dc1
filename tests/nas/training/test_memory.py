"""What a training holds does not grow with its epochs."""

import gc

import pytest
import torch

import nas
from nas.config import load_recipe
from nas.supernet_trainer import supernet_trainer
from tests.nas.command_line import python

EARLY, LATE = 3, 8  # epochs
SMALL = (
    f"training.epochs={LATE}",
    "training.batch_size=32",
    "training.num_random=1",
    "training.dropout=0.1",
    "training.evaluate_every=1",
    "training.shift=0",
    "data.max_samples=64",
    "accuracy.calibration_samples=64",
)
TAUGHT = 'training.teachers=["python:tests.nas.own_teachers:ten_classes"]'


@pytest.fixture
def what_was_there_is_passed_over():
    """Of all that other tests have made and imported the collector then takes no note."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def held() -> tuple[int, int]:
    """Tensors that Python knows, and their elements; without those of layers that are kept, in a
    bounded number, to know how others are made: they have no values.
    """
    gc.collect()
    tensors = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
    sizes = [one.numel() for one in tensors if one.device.type != "meta"]
    return len(sizes), sum(sizes)


@pytest.mark.parametrize(
    "changes",
    [(), pytest.param(("training.optimizer=adamw", TAUGHT), marks=pytest.mark.slow)],
    ids=["plain", "taught"],
)
@pytest.mark.usefixtures("what_was_there_is_passed_over")
def test_the_number_of_tensors_does_not_grow(tmp_path, changes):
    run = nas.create_run(tmp_path / "run", load_recipe(None, [*SMALL, *changes]))
    trainer, found = supernet_trainer(run, run.metrics), {}
    trainer.resume()

    def report(done: int, note: str) -> None:
        epochs, steps = divmod(done, trainer.steps_per_epoch)
        if steps == 0:
            found[epochs] = held()

    trainer.train(report)
    assert sorted(found) == list(range(1, LATE + 1))
    assert found[LATE] == found[EARLY]
    assert found[LATE] > (len(list(trainer.supernet.parameters())), 0), "they are seen"


RESIDENT = """
import ctypes
import sys
from pathlib import Path
import nas
from nas.supernet_trainer import supernet_trainer

run = nas.open_run(sys.argv[1])
trainer = supernet_trainer(run, run.metrics)
trainer.resume()
# what the allocator keeps for later is no growth
trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)

def report(done, note):
    if done % trainer.steps_per_epoch == 0:
        trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(pages * 4096)

trainer.train(report)
"""


@pytest.mark.slow
def test_resident_memory_does_not_grow(tmp_path):
    """In the last 128 steps, after four evaluations; the gradients of one step are 0.4 MiB."""
    more = ("training.epochs=32", "training.batch_size=8", "training.evaluate_every=4")
    recipe = load_recipe(None, [*SMALL, *more, "training.num_random=0"])
    run = nas.create_run(tmp_path / "run", recipe)
    answer = python(RESIDENT, run.path)
    assert answer.returncode == 0, answer.stderr
    resident = [int(line) for line in answer.stdout.splitlines()]
    assert len(resident) == 32
    assert max(resident[16:]) - max(resident[:16]) < 8 * 2**20
