"""What a training does about losses, accuracies and memory that go wrong."""

import math
from itertools import pairwise

import pytest
import torch

from nas.config import TrainingConfig
from nas.training.checkpoint import load_checkpoint
from nas.training.metrics import epoch_records, event_records
from nas.training.trainer import ROLL_BACKS
from search_spaces import InputError
from tests.nas.training.small_training import CONFIG, EVERY_STEP, LOSS, assert_same
from tests.nas.training.small_training import SmallTraining as Training

NAN = math.nan
FAST = CONFIG.replaced(num_random=0, epochs=3, evaluate_every=1)  # four steps an epoch
LONG = FAST.replaced(batch_size=4, epochs=2, learning_rate=0.01)  # 32 steps an epoch


def weights_after_steps(training: Training) -> list[torch.Tensor]:
    """Train, and return the weights before the first step and after every one."""
    trainer = training.trainer()
    trainer.resume()
    seen = [torch.nn.utils.parameters_to_vector(trainer.supernet.parameters()).detach()]

    def report(done: int, note: str) -> None:
        seen.append(torch.nn.utils.parameters_to_vector(trainer.supernet.parameters()).detach())

    trainer.train(report)
    return seen


def moved(seen: list[torch.Tensor]) -> list[bool]:
    return [not torch.equal(a, b) for a, b in pairwise(seen)]


# --- skipping -------------------------------------------------------------------------------------


def test_losses_that_are_no_numbers_are_skipped_and_recorded(tmp_path, space, bars):
    bad = {(0, 1, 0): NAN, (0, 1, 2): math.inf}
    training = Training(tmp_path, space, bars, FAST, faults=lambda at: bad.get(at, 1.0))
    seen = weights_after_steps(training)
    assert moved(seen) == [True] * 4 + [False, True, False, True] + [True] * 4
    records = training.metrics.read()
    assert event_records(records) == [{"event": "skipped", "epoch": 2, "steps": 2}]
    assert [record["epoch"] for record in epoch_records(records)] == [1, 2, 3]
    assert all(math.isfinite(record["loss"]) for record in epoch_records(records))
    assert all(weight.isfinite().all() for weight in training.tensors().values())


def test_a_spike_is_skipped(tmp_path, space, bars):
    """In the second epoch, long after the warm-up of the guard."""
    spike = (0, 1, 5)
    faults = lambda at: 1e4 if at == spike else 1.0  # noqa: E731
    training = Training(tmp_path, space, bars, LONG, faults=faults)
    seen = weights_after_steps(training)
    assert [i for i, one in enumerate(moved(seen)) if not one] == [32 + 5]
    (event,) = event_records(training.metrics.read())
    assert event == {"event": "skipped", "epoch": 2, "steps": 1}


def test_a_spike_is_skipped_where_a_network_is_trained_alone(tmp_path, space, bars):
    alone = space.decode(space.smallest()[0])
    faults = lambda at: 1e4 if at == (0, 1, 5) else 1.0  # noqa: E731
    training = Training(tmp_path, space, bars, LONG, faults=faults, alone=alone)
    seen = weights_after_steps(training)
    assert [i for i, one in enumerate(moved(seen)) if not one] == [32 + 5]
    (event,) = event_records(training.metrics.read())
    assert event == {"event": "skipped", "epoch": 2, "steps": 1}


def of_strategy(strategy: str, **settings) -> TrainingConfig:
    return TrainingConfig(
        strategy=strategy, epochs=3, batch_size=4, learning_rate=0.01, evaluate_every=1, **settings
    )


ONLY_OTHERS = {
    "single-path": of_strategy("single-path"),
    "progressive": of_strategy("progressive", full_share=0.3),  # of random subnets from step 29 on
    "sorted": of_strategy("sorted", num_random=1),
}


@pytest.mark.parametrize("strategy", ONLY_OTHERS)
def test_a_spike_is_skipped_where_a_step_does_not_train_the_largest(
    tmp_path, space, bars, strategy
):
    spike = (0, 2, 20)
    faults = lambda at: 1e4 if at == spike else 1.0  # noqa: E731
    training = Training(tmp_path, space, bars, ONLY_OTHERS[strategy], faults=faults)
    seen = weights_after_steps(training)
    assert [i for i, one in enumerate(moved(seen)) if not one] == [2 * 32 + 20]
    (event,) = [one for one in event_records(training.metrics.read()) if one["event"] == "skipped"]
    assert event == {"event": "skipped", "epoch": 3, "steps": 1}


def test_spikes_of_random_subnets_lead_back_and_are_the_same_bit_for_bit_when_stopped(
    tmp_path, space, bars
):
    """What is remembered of every role is in the checkpoint."""

    def disturbed(folder, minutes):
        config = ONLY_OTHERS["single-path"].replaced(checkpoint_minutes=minutes)
        bad = lambda at: (at[:2] == (0, 2) and at[2] >= 5) or at == (1, 2, 3)  # noqa: E731
        faults = lambda at: 1e4 if bad(at) else 1.0  # noqa: E731
        return Training(folder, space, bars, config, faults=faults)

    whole = disturbed(tmp_path / "whole", 5.0)
    whole.go_on()
    kinds = [event["event"] for event in event_records(whole.metrics.read())]
    assert kinds == ["skipped", "roll-back", "skipped"]
    stopped = disturbed(tmp_path / "stopped", EVERY_STEP)
    for stop_after in (30, 39, 7, 9, 3):
        stopped.go_on(stop_after)
    stopped.go_on()
    assert_same(whole, stopped)


# --- rolling back ---------------------------------------------------------------------------------


def test_a_loss_that_stays_bad_ends_training_and_names_the_function(tmp_path, space, bars):
    faults = lambda at: NAN if at[1] >= 1 else 1.0  # noqa: E731
    training = Training(tmp_path, space, bars, FAST, faults=faults)
    with pytest.raises(InputError) as error:
        training.go_on()
    message = str(error.value)
    assert "epoch 2" in message
    assert "training.learning_rate" in message
    assert LOSS in message
    assert "\n" not in message
    events = [one for one in event_records(training.metrics.read()) if one["event"] == "roll-back"]
    assert [(event["epoch"], event["to_epoch"]) for event in events] == [(2, 1)] * ROLL_BACKS
    assert [event["learning_rate_factor"] for event in events] == [0.5, 0.25, 0.125]
    with pytest.raises(InputError, match=r"training\.learning_rate"):
        training.go_on()  # again, and not for ever


def test_bad_losses_in_a_row_end_an_epoch_early(tmp_path, space, bars):
    faults = lambda at: NAN if at[:2] == (0, 1) and at[2] >= 7 else 1.0  # noqa: E731
    training = Training(tmp_path, space, bars, LONG, faults=faults)
    training.go_on()
    steps = [step for *attempt, step in training.places if attempt == [0, 1]]
    assert steps == list(range(20)), "looked at every ten steps"
    skipped, back = event_records(training.metrics.read())
    assert skipped == {"event": "skipped", "epoch": 2, "steps": 13}
    assert back["reason"].startswith("13 losses in a row")
    assert [record["epoch"] for record in epoch_records(training.metrics.read())] == [1, 2]


def falls_in_the_third(roll_backs: int, epoch: int) -> float:
    return 0.3 if (roll_backs, epoch) == (0, 3) else 0.9


def test_a_collapse_goes_back_to_the_good_checkpoint(tmp_path, space, bars):
    """With the weights of then, half of the rate, and other draws."""
    training = Training(tmp_path, space, bars, FAST, accuracies=falls_in_the_third)
    trainer = training.trainer()
    trainer.resume()
    orders, batches = {}, trainer._steps.batches
    good, after = [], []

    def recording(index, generator):
        if trainer.next_epoch == 2 and trainer.next_step == 0:
            weights = torch.nn.utils.parameters_to_vector(trainer.supernet.parameters())
            (after if trainer._draws.roll_backs else good).append(weights.detach())
        orders.setdefault((trainer._draws.roll_backs, trainer.next_epoch), []).extend(
            index.tolist()
        )
        return batches(index, generator)

    trainer._steps.batches = recording
    trainer.train()
    assert torch.equal(good[0], after[0])
    assert orders[0, 2] != orders[1, 2]
    (event,) = event_records(training.metrics.read())
    assert event["event"] == "roll-back"
    assert (event["epoch"], event["to_epoch"], event["learning_rate_factor"]) == (3, 2, 0.5)
    assert "90.0%" in event["reason"]
    assert "30.0%" in event["reason"]
    records = epoch_records(training.metrics.read())
    assert [record["epoch"] for record in records] == [1, 2, 3]
    whole = Training(tmp_path / "whole", space, bars, FAST, accuracies=lambda *_: 0.9)
    whole.go_on()
    rates = [record["learning_rate"] for record in whole.metrics.read()]
    expected = [*rates[:2], rates[2] / 2]
    assert [record["learning_rate"] for record in records] == pytest.approx(expected)


def test_a_collapse_that_comes_again_ends_training(tmp_path, space, bars):
    falls = lambda _, epoch: 0.3 if epoch == 2 else 0.9  # noqa: E731
    training = Training(tmp_path, space, bars, FAST.replaced(batch_size=128), accuracies=falls)
    with pytest.raises(InputError, match=r"epoch 2: the smallest subnet fell from 90.*30"):
        training.go_on()


@pytest.mark.parametrize(("best", "after"), [(0.7, 0.1), (0.9, 0.5)])
def test_what_has_not_learnt_or_falls_a_little_is_no_collapse(tmp_path, space, bars, best, after):
    """With four classes the best has to be above 0.75 before it can collapse."""
    accuracies = lambda _, epoch: after if epoch == 2 else best  # noqa: E731
    config = FAST.replaced(batch_size=128, epochs=2)
    training = Training(tmp_path, space, bars, config, accuracies=accuracies)
    training.go_on()
    assert not event_records(training.metrics.read())


def test_stopped_amid_faults_is_the_same_bit_for_bit(tmp_path, space, bars):
    """Skipped steps, a collapse and the way back from it are in the checkpoint."""

    def disturbed(folder, minutes):
        config = FAST.replaced(checkpoint_minutes=minutes)
        bad = {(0, 0, 1): NAN, (0, 2, 1): NAN, (1, 2, 2): NAN}
        faults = lambda at: bad.get(at, 1.0)  # noqa: E731
        return Training(folder, space, bars, config, faults=faults, accuracies=falls_in_the_third)

    whole = disturbed(tmp_path / "whole", 5.0)
    whole.go_on()
    kinds = [event["event"] for event in event_records(whole.metrics.read())]
    assert kinds == ["skipped", "skipped", "roll-back", "skipped"]
    stopped = disturbed(tmp_path / "stopped", EVERY_STEP)
    for stop_after in (2, 1, 5, 2, 3):
        stopped.go_on(stop_after)
    stopped.go_on()
    assert_same(whole, stopped)


def test_the_good_checkpoint_is_of_an_evaluated_epoch(tmp_path, space, bars):
    config = FAST.replaced(epochs=3, evaluate_every=2, batch_size=128)
    training = Training(tmp_path, space, bars, config)
    training.go_on(stop_after=2)
    good = training.path.with_name(f"good-{training.path.name}")
    assert load_checkpoint(good, space.name)[1]["epoch"] == 2
    training.go_on()
    assert load_checkpoint(good, space.name)[1]["epoch"] == 3


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"),
    ],
)
def test_out_of_memory_says_what_to_lower(tmp_path, space, bars, monkeypatch, error):
    trainer = Training(tmp_path, space, bars).trainer()

    def forward(*_):
        raise error

    monkeypatch.setattr(trainer.supernet, "forward", forward)
    with pytest.raises(InputError, match=r"training\.batch_size=32.*lower") as raised:
        trainer.train()
    assert "\n" not in str(raised.value)


OUT_OF_MEMORY = (
    MemoryError("Unable to allocate 2.00 GiB for an array"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_while_a_batch_is_made_says_what_to_lower(
    tmp_path, space, bars, monkeypatch, error
):
    def augment(*_):
        raise error

    monkeypatch.setattr("nas.training.batches.augment", augment)
    with pytest.raises(InputError, match=r"training\.batch_size=32.*lower") as raised:
        Training(tmp_path, space, bars).go_on()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_in_an_evaluation_says_what_to_lower(tmp_path, space, bars, error):
    def accuracies(*_):
        raise error

    config = FAST.replaced(epochs=1, batch_size=128)
    with pytest.raises(InputError, match=r"evaluated; .*device=cpu.*fewer valid") as raised:
        Training(tmp_path, space, bars, config, accuracies=accuracies).go_on()
    assert "\n" not in str(raised.value)


def test_other_errors_of_an_evaluation_are_not_taken_for_memory(tmp_path, space, bars):
    def accuracies(*_):
        raise RuntimeError("shapes do not fit")

    config = FAST.replaced(epochs=1, batch_size=128)
    with pytest.raises(RuntimeError, match="shapes"):
        Training(tmp_path, space, bars, config, accuracies=accuracies).go_on()


def test_other_errors_of_a_step_are_not_taken_for_memory(tmp_path, space, bars, monkeypatch):
    trainer = Training(tmp_path, space, bars).trainer()

    def forward(*_):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(trainer.supernet, "forward", forward)
    with pytest.raises(RuntimeError, match="shapes"):
        trainer.train()
