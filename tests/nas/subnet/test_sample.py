import json

import numpy as np
import pytest
import torch

from nas.append_log import AppendLog
from nas.subnet.evaluator import SubnetEvaluator
from nas.subnet.sample import AccuracySamples, load_samples, sample_accuracy
from nas.task import Task
from search_spaces import InputError
from search_spaces.supernet import Supernet

SUPERNET = "a" * 64
NUM_SUBNETS = 8


class Counting(SubnetEvaluator):
    """The evaluator, which also counts what it extracts."""

    extracted = 0

    def subnet(self, architecture):
        self.extracted += 1
        return super().subnet(architecture)


@pytest.fixture
def evaluator(space, bars):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Counting(Supernet(space), bars, Task(), calibration_samples=32, seed=0)


@pytest.fixture
def log(tmp_path):
    return AppendLog(tmp_path / "samples.jsonl")


def sample(evaluator, space, log, supernet=SUPERNET, seed=0):
    return sample_accuracy(evaluator, space, log, supernet, NUM_SUBNETS, seed)


def assert_same(first: AccuracySamples, second: AccuracySamples) -> None:
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_samples_spread_from_the_smallest_to_the_largest(evaluator, space, log):
    samples = sample(evaluator, space, log)
    assert samples.population.shape == (NUM_SUBNETS, space.num_dimensions)
    ids = {space.decode(genome).id for genome in samples.population}
    assert len(ids) == NUM_SUBNETS
    assert {space.decode(g[0]).id for g in (space.smallest(), space.largest())} <= ids
    macs = np.sort(np.log(space.layers.costs(samples.population).macs))
    steps = np.diff(macs)
    assert steps.max() < 3 * steps.mean()


def test_samples_are_the_scores_of_the_evaluator(evaluator, space, log):
    samples = sample(evaluator, space, log)
    for i in (0, NUM_SUBNETS - 1):
        architecture = space.decode(samples.population[i])
        score = evaluator.score(evaluator.subnet(architecture), architecture, "validation")
        assert samples.accuracy[i] == score.accuracy
        assert samples.loss[i] == score.loss
        assert tuple(samples.accuracy_halves[i]) == score.accuracy_halves
        assert tuple(samples.loss_halves[i]) == score.loss_halves


@pytest.mark.parametrize("torn", [b"", b'{"architecture_id": "5'])
def test_only_what_the_log_lacks_is_measured(evaluator, space, log, torn):
    whole = sample(evaluator, space, log)
    assert evaluator.extracted == NUM_SUBNETS
    log.keep_first(5)
    with log.path.open("ab") as file:
        file.write(torn)
    evaluator.extracted = 0
    assert_same(sample(evaluator, space, log), whole)
    assert evaluator.extracted == NUM_SUBNETS - 5
    evaluator.extracted = 0
    assert_same(sample(evaluator, space, log), whole)
    assert evaluator.extracted == 0
    assert len(log.read()) == NUM_SUBNETS


def test_samples_of_another_supernet_are_kept_apart(evaluator, space, log):
    first = sample(evaluator, space, log)
    sample(evaluator, space, log, supernet="b" * 64)
    assert evaluator.extracted == 2 * NUM_SUBNETS
    assert_same(load_samples(log, space, SUPERNET), first)
    with pytest.raises(InputError, match="no samples"):
        load_samples(log, space, "c" * 64)


def test_samples_follow_the_seed(evaluator, space, log, tmp_path):
    first = sample(evaluator, space, log)
    again = sample(evaluator, space, AppendLog(tmp_path / "again.jsonl"))
    other = sample(evaluator, space, AppendLog(tmp_path / "other.jsonl"), seed=1)
    assert_same(first, again)
    assert not np.array_equal(first.population, other.population)


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": None},
        {"accuracy": "high"},
        {"accuracy": float("nan")},
        {"loss_halves": 0.5},
        {"accuracy_halves": [0.5, 0.5, 0.5]},
        {"values": None},
        {"values": [1, 2]},
        {"values": {"width": 0.123}},
        {"values": {}},
    ],
)
def test_damaged_records_are_refused(evaluator, space, log, change):
    sample(evaluator, space, log)
    lines = log.path.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    log.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"samples\.jsonl"):
        load_samples(log, space, SUPERNET)


# --- repeatability --------------------------------------------------------------------------------


def samples_with(accuracy_halves, loss_halves) -> AccuracySamples:
    n = len(accuracy_halves)
    halves = np.array(accuracy_halves, float), np.array(loss_halves, float)
    means = [half.mean(axis=1) for half in halves]
    return AccuracySamples(np.zeros((n, 1), np.int16), *means, *halves)


def test_repeatability_is_kendall_between_the_halves():
    agreeing = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]
    one_swap = [[0.1, 0.2], [0.3, 0.1], [0.5, 0.6]]  # of 3 pairs 2 agree, 1 does not
    found = samples_with(agreeing, one_swap).repeatability()
    assert found == {"accuracy": pytest.approx(1), "loss": pytest.approx(1 / 3)}


def test_repeatability_of_a_constant_is_zero():
    constant = [[0.5, 0.5]] * 4
    falling = [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]
    found = samples_with(constant, falling).repeatability()
    assert found == {"accuracy": 0.0, "loss": pytest.approx(-1)}


# --- what is ranked, and which samples ------------------------------------------------------------


def test_the_quantity_is_what_repeats_better():
    agreeing, crossing = [[0.1, 0.2], [0.3, 0.4]], [[0.1, 0.4], [0.3, 0.2]]
    by_loss, by_error = samples_with(crossing, agreeing), samples_with(agreeing, crossing)
    assert by_loss.quantity()[0] == "loss"
    np.testing.assert_array_equal(by_loss.quantity()[1], by_loss.loss)
    assert by_error.quantity()[0] == "error"
    np.testing.assert_array_equal(by_error.quantity()[1], 1 - by_error.accuracy)


@pytest.mark.parametrize(("n", "kept"), [(None, 5), (9, 5), (5, 5), (3, 3)])
def test_some_samples_are_spread_over_all(n, kept):
    halves = np.arange(10.0).reshape(5, 2)
    samples = samples_with(halves, halves)
    chosen = samples.evenly(n)
    wanted = np.linspace(0, 4, kept).astype(int)
    for name, values in vars(chosen).items():
        np.testing.assert_array_equal(values, getattr(samples, name)[wanted])
