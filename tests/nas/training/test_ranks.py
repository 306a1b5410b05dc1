"""Two processes on this machine that train together."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import multiprocessing

from nas.append_log import AppendLog
from nas.data import input_tensors
from nas.training.checkpoint import load_checkpoint
from nas.training.device import training_device
from nas.training.ranks import Ranks
from search_spaces import InputError
from search_spaces.supernet import resize
from tests.nas.training.two_processes import (
    JOBS,
    ONE_STEP,
    SHORT,
    SIZE,
    Three,
    free_port,
    new_supernet,
    work,
)


@pytest.fixture(scope="module")
def done(tmp_path_factory, bars):
    """The folder of what two processes left."""
    folder = tmp_path_factory.mktemp("ranks")
    for job in JOBS:
        (folder / job.__name__).mkdir()
    ports = [free_port() for _ in JOBS]
    multiprocessing.spawn(work, (folder, ports, bars), nprocs=SIZE)
    return folder


def of_both(folder):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(SIZE)]


def ends(folder):
    return [(folder / f"{rank}.end").read_text() for rank in range(SIZE)]


def test_means_and_what_the_first_has_reach_all(done):
    first, second = of_both(done / "reduce")
    images, number = first["means"]
    np.testing.assert_array_equal(np.ravel(images), 1.5 * np.arange(24))
    assert number == 0.5
    assert second["means"] == first["means"]
    assert first["figures"] == second["figures"] == {"rank": 0, "share": 0.1 + 0.2, "none": None}
    assert first["sent"] == second["sent"] == {"a": [[0.0] * 3] * 2, "b": 0}


def test_the_others_find_what_the_first_made(done):
    assert [one["made"] for one in of_both(done / "reduce")] == [False, True]


def test_gradients_are_those_of_one_process_that_adds_up_the_halves(done, space, bars):
    """Every half with norm statistics of its own."""
    folder = done / "one_step"
    halves = [np.array(one["batch"]) for one in of_both(folder)]
    assert [len(half) for half in halves] == [ONE_STEP.batch_size // SIZE] * SIZE
    assert not set(halves[0]) & set(halves[1])
    supernet = new_supernet(space).to(memory_format=torch.channels_last)  # which rounds as it does
    largest, middle, smallest = (one.architecture for one in Three(space).subnets)

    def run(inputs, architecture):
        return supernet(resize(inputs, supernet.inputs(architecture).values()), architecture)

    for half in halves:
        inputs = input_tensors(bars, bars.train, half)
        targets = torch.from_numpy(bars.train.targets[half])
        outputs = run(inputs, largest)
        teacher = outputs.detach().softmax(dim=1)
        F.cross_entropy(outputs, targets).backward()
        F.cross_entropy(run(inputs, middle), teacher).backward()
        last = run(inputs, smallest)
        both = F.cross_entropy(last, targets) + F.cross_entropy(last, teacher)
        (0.5 * both).backward()
    found = [load_file(folder / f"{rank}.safetensors") for rank in range(SIZE)]
    trained = [(n, p.grad) for n, p in supernet.named_parameters() if p.grad is not None]
    expected = {name: gradient / SIZE for name, gradient in trained}
    assert found[0].keys() == found[1].keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(found[0][name], found[1][name])
        torch.testing.assert_close(found[0][name], gradient, rtol=1e-5, atol=1e-6)


def test_expected_losses_are_means_over_both_halves(done, space, bars):
    first, second = of_both(done / "one_step")
    assert first["losses"] == second["losses"]
    supernet = new_supernet(space)
    for row, found in zip((space.largest(), space.smallest()), first["losses"], strict=True):
        architecture, losses = space.decode(row[0]), []
        for half in (first["fresh"], second["fresh"]):
            index = np.array(half)
            inputs = input_tensors(bars, bars.train, index)
            sized = resize(inputs, supernet.inputs(architecture).values())
            targets = torch.from_numpy(bars.train.targets[index])
            losses.append(F.cross_entropy(supernet(sized, architecture), targets).item())
        assert found == pytest.approx(np.mean(losses), abs=1e-6)


def test_both_end_with_the_weights_of_the_checkpoint(done, space):
    folder = done / "short_training"
    first, second = (load_file(folder / f"{rank}.safetensors") for rank in range(SIZE))
    tensors, state = load_checkpoint(folder / "checkpoint.safetensors", space.name)
    assert state["epoch"] == SHORT.epochs
    for name, weight in first.items():
        assert torch.isfinite(weight).all()
        assert torch.equal(weight, second[name])
        assert torch.equal(weight, tensors[f"weights.{name}"])


def test_what_happens_is_written_once(done):
    """A loss that was bad on the second alone, a fall that the first alone looked at."""
    records = AppendLog(done / "short_training" / "metrics.jsonl").read()
    events = [(record.get("event"), record["epoch"]) for record in records]
    assert events == [
        ("skipped", 1),
        (None, 1),
        ("roll-back", 2),
        (None, 2),
    ]
    assert records[0]["steps"] == 1
    assert [len(one["looks"]) for one in of_both(done / "short_training")] == [3, 0]


def test_of_an_error_one_process_speaks(done):
    assert ends(done / "second_fails") == ["said elsewhere", "of the second"]
    said, silent = sorted(ends(done / "both_fail"), key=lambda end: end == "said elsewhere")
    assert silent == "said elsewhere"
    assert "33" in said
    assert "2 processes" in said
    assert "training.batch_size" in said


def test_all_other_jobs_ended_well(done):
    for job in ("reduce", "one_step", "short_training"):
        assert ends(done / job) == ["well", "well"]


def test_one_process_alone_is_its_own_first():
    alone, tensors = Ranks(), [torch.tensor([1.0, 3.0])]
    alone.mean_(tensors)
    assert tensors[0].tolist() == [1.0, 3.0]
    assert alone.from_first(lambda: "made") == "made"
    assert alone.is_first


# --- devices --------------------------------------------------------------------------------------


def test_every_process_takes_the_gpu_of_its_number(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert training_device("auto", 1) == training_device("cuda", 1) == torch.device("cuda", 1)
    assert training_device("cpu", 1) == torch.device("cpu")
    assert taken == [1, 1]
    with pytest.raises(InputError, match=r"2 GPUs.*training\.device"):
        training_device("auto", 2)
    with pytest.raises(InputError, match=r"cuda:1, one GPU for several"):
        training_device("cuda:1", 0)
