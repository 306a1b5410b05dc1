import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nas.config import TrainingConfig
from nas.data import Split, input_tensors
from nas.training.checkpoint import read_state, save_checkpoint
from nas.training.schedules import learning_rate
from nas.training.starting_weights import load_weights
from search_spaces import InputError, build_space
from search_spaces.supernet import resize
from tests.nas.training.small_training import CONFIG, EVERY_STEP, assert_same, new_supernet
from tests.nas.training.small_training import SmallTraining as Training


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, space, bars):
    training = Training(tmp_path_factory.mktemp("uninterrupted"), space, bars)
    training.go_on()
    return training


# --- resuming -------------------------------------------------------------------------------------


def test_stopped_at_the_ends_of_epochs_is_the_same_bit_for_bit(
    tmp_path, space, bars, uninterrupted
):
    training = Training(tmp_path, space, bars)
    training.go_on(stop_after=4)
    assert (read_state(training.path)["epoch"], read_state(training.path)["step"]) == (1, 0)
    training.go_on(stop_after=4)
    assert (read_state(training.path)["epoch"], read_state(training.path)["step"]) == (2, 0)
    training.go_on()
    assert_same(training, uninterrupted)
    assert any(name.startswith("optimizer.momentum_buffer.") for name in training.tensors())


def test_stopped_before_the_first_checkpoint_of_an_epoch_is_the_same_bit_for_bit(
    tmp_path, space, bars, uninterrupted
):
    training = Training(tmp_path, space, bars)
    training.go_on(stop_after=0)
    assert read_state(training.path)["epoch"] == 0
    training.go_on()
    assert_same(training, uninterrupted)


def test_stopped_within_epochs_is_the_same_bit_for_bit(tmp_path, space, bars, uninterrupted):
    often = CONFIG.replaced(checkpoint_minutes=EVERY_STEP)
    training = Training(tmp_path, space, bars, often)
    for stop_after, place in ((2, (0, 2)), (3, (1, 1)), (2, (1, 3))):
        training.go_on(stop_after)
        state = read_state(training.path)
        assert (state["epoch"], state["step"]) == place
    training.go_on()
    assert_same(training, uninterrupted)


OTHERS = {  # with a state, or draws, of their own
    "progressive": {"strategy": "progressive", "full_share": 0.2, "optimizer": "adamw"},
    "attentive": {"strategy": "attentive", "candidates": 2, "num_random": 1},
    "dropout": {"strategy": "single-path", "dropout": 0.3, "adaptive_dropout": True},
    "delayed": {"strategy": "delayed", "full_share": 0.3, "schedule": "exponential"},
    "sorted": {"strategy": "sorted", "num_random": 1},
}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_other_recipes_stopped_within_epochs_are_the_same_bit_for_bit(
    tmp_path, space, bars, changes
):
    config = CONFIG.replaced(epochs=2, batch_size=64, **changes)
    whole = Training(tmp_path / "whole", space, bars, config)
    whole.go_on()
    often = config.replaced(checkpoint_minutes=EVERY_STEP)
    stopped = Training(tmp_path / "stopped", space, bars, often)
    for stop_after, place in ((1, (0, 1)), (2, (1, 1))):
        stopped.go_on(stop_after)
        state = read_state(stopped.path)
        assert (state["epoch"], state["step"]) == place
    stopped.go_on()
    assert_same(whole, stopped)


def test_all_of_adam_is_in_the_checkpoint(tmp_path, space, bars):
    training = Training(
        tmp_path, space, bars, CONFIG.replaced(epochs=1, batch_size=128, optimizer="adamw")
    )
    training.go_on()
    states = {name.split(".")[1] for name in training.tensors() if name.startswith("optimizer.")}
    assert states == {"exp_avg", "exp_avg_sq", "step"}


def damage(path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path, space, bars, uninterrupted
):
    training = Training(tmp_path, space, bars)
    training.go_on(stop_after=9)
    assert read_state(training.path)["epoch"] == 2
    damage(training.path)
    said = training.go_on()
    assert said is not None
    assert str(training.path) in said
    assert_same(training, uninterrupted)


def test_where_both_checkpoints_are_damaged_training_does_not_start(tmp_path, space, bars):
    training = Training(tmp_path, space, bars)
    training.go_on(stop_after=5)
    damage(training.path)
    damage(tmp_path / f"earlier-{training.path.name}")
    with pytest.raises(InputError, match="checkpoint"):
        training.go_on()


def as_an_earlier_version_wrote_it(training: Training) -> None:
    """Its guard remembered less; otherwise the last checkpoint stays as it is."""
    state = read_state(training.path)
    tensors = training.tensors() | {"guard": torch.zeros(6)}
    save_checkpoint(training.path, tensors, {k: v for k, v in state.items() if k != "sha256"})


def test_an_earlier_version_s_training_is_gone_on_with_only_if_it_is_done(tmp_path, space, bars):
    training = Training(tmp_path, space, bars, CONFIG.replaced(epochs=2))
    training.go_on(stop_after=5)
    as_an_earlier_version_wrote_it(training)
    with pytest.raises(InputError, match="middle of a training by version") as error:
        training.go_on()
    assert "\n" not in str(error.value)
    for file in tmp_path.iterdir():
        file.unlink()
    training.go_on()
    as_an_earlier_version_wrote_it(training)
    weights = training.tensors()
    training.go_on()
    assert all(torch.equal(one, weights[name]) for name, one in training.tensors().items())


def test_an_unknown_optimizer_names_the_nearest(tmp_path, space, bars):
    config = CONFIG.model_copy(update={"optimizer": "adam"})
    with pytest.raises(InputError, match="'adamw'"):
        Training(tmp_path, space, bars, config).trainer()


def test_augmentation_that_targets_would_not_follow_is_refused(tmp_path, space, bars):
    maps = np.zeros((len(bars.train), 8, 8), np.int64)
    data = replace(bars, train=Split(bars.train.inputs, maps))
    with pytest.raises(InputError, match=r"training\.shift"):
        Training(tmp_path, space, data).trainer()
    still = CONFIG.model_copy(update={"shift": 0, "rotate": 0, "scale": 0, "flip": False})
    Training(tmp_path, space, data, still).trainer()


def test_training_that_is_done_does_nothing_more(uninterrupted):
    before = uninterrupted.path.read_bytes(), uninterrupted.metrics.path.read_bytes()
    uninterrupted.go_on()
    assert (uninterrupted.path.read_bytes(), uninterrupted.metrics.path.read_bytes()) == before


def test_metrics_ahead_of_the_checkpoint_and_torn_are_cut_back(
    tmp_path, space, bars, uninterrupted
):
    """As a kill leaves them between the record and the checkpoint, or within the record."""
    training = Training(tmp_path, space, bars)
    training.go_on(stop_after=4)
    training.metrics.append({"epoch": 2, "loss": -1.0})
    with training.metrics.path.open("ab") as file:
        file.write(b'{"epoch": 3, "lo')
    training.go_on()
    assert_same(training, uninterrupted)


def test_without_a_checkpoint_the_metrics_start_anew(tmp_path, space, bars, uninterrupted):
    training = Training(tmp_path, space, bars)
    training.metrics.append({"epoch": 1, "loss": -1.0})
    training.go_on()
    assert_same(training, uninterrupted)


def test_another_seed_is_another_training(tmp_path, space, bars, uninterrupted):
    training = Training(tmp_path, space, bars, seed=1)
    training.go_on()
    left, right = training.tensors(), uninterrupted.tensors()
    assert any(not torch.equal(left[name], right[name]) for name in left)


def test_every_epoch_draws_anew(tmp_path, space, bars):
    """Other subnets in every epoch; and from the same seed another order of the samples."""
    trainer = Training(tmp_path, space, bars).trainer()
    drawn: dict[int, list] = {}
    strategy, batches = trainer._steps.strategy, trainer._steps.batches
    orders: dict[int, list] = {}

    class Recording(type(strategy)):
        def __init__(self):
            pass

        def step(self, context):
            planned = strategy.step(context)
            drawn.setdefault(context.epoch, []).append(planned)
            return planned

    def recording(index, generator):
        orders.setdefault(trainer.next_epoch, []).extend(index.tolist())
        return batches(index, generator)

    trainer._steps.strategy, trainer._steps.batches = Recording(), recording
    trainer.train()
    assert list(drawn) == [0, 1, 2]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert all(sorted(order) == list(range(128)) for order in orders.values())


def test_the_global_generators_are_left_alone(tmp_path, space, bars):
    training = Training(tmp_path, space, bars, CONFIG.model_copy(update={"epochs": 1}))
    trainer = training.trainer()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    trainer.train()
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


# --- metrics and results --------------------------------------------------------------------------


def test_every_epoch_leaves_a_record(uninterrupted):
    records = uninterrupted.metrics.read()
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert ["weights" in record for record in records] == [False, True, True]
    for record in records:
        assert math.isfinite(record["loss"])
        assert record["seconds"] > 0
        assert record["samples_per_second"] > 0


def test_training_learns(uninterrupted, space, bars):
    losses = [record["loss"] for record in uninterrupted.metrics.read()]
    assert losses[-1] < 0.6 * losses[0]
    supernet = new_supernet(space)
    load_weights(supernet, uninterrupted.tensors(), uninterrupted.path)
    inputs = input_tensors(bars, bars.validation)
    labels = torch.from_numpy(bars.validation.targets)
    for genome in (space.largest()[0], space.smallest()[0]):
        architecture = space.decode(genome)
        specs = supernet.inputs(architecture).values()
        with torch.no_grad():
            logits = supernet(resize(inputs, specs), architecture)
        assert (logits.argmax(dim=1) == labels).float().mean() > 0.4, "chance is 0.25"


def test_progress_counts_every_step(tmp_path, space, bars):
    trainer = Training(tmp_path, space, bars).trainer()
    seen = []
    trainer.train(lambda done, note: seen.append(done))
    assert seen == list(range(1, trainer.num_steps + 1))
    assert trainer.num_steps == 3 * (128 // 32)


def test_a_batch_larger_than_the_data_is_all_of_it(tmp_path, space, bars):
    config = CONFIG.model_copy(update={"batch_size": 10_000, "epochs": 1})
    trainer = Training(tmp_path, space, bars, config).trainer()
    assert trainer.num_steps == 1
    trainer.train()


def test_gradients_are_clipped(tmp_path, space, bars):
    """One step of plain descent moves the weights by no more than rate times norm."""
    config = TrainingConfig(
        epochs=1,
        batch_size=128,
        learning_rate=1.0,
        warm_up_epochs=0,
        momentum=0,
        weight_decay=0,
        clip_norm=1e-3,
    )
    training = Training(tmp_path, space, bars, config)
    trainer = training.trainer()
    before = [p.detach().clone() for p in trainer.supernet.parameters()]
    trainer.train()
    moved = torch.cat(
        [
            (after.detach() - start).flatten()
            for after, start in zip(trainer.supernet.parameters(), before, strict=True)
        ]
    )
    assert float(moved.norm()) == pytest.approx(1e-3, rel=0.02)


# --- checkpoints of something else ----------------------------------------------------------------


def test_a_checkpoint_of_another_space_is_refused(tmp_path, space, bars):
    other = build_space("mobilenet-cifar", num_classes=4, input_channels=1)
    training = Training(tmp_path, space, bars)
    save_checkpoint(training.path, {}, {"space": other.name, "epoch": 1, "epochs": 3, "seed": 0})
    with pytest.raises(InputError, match=r"mobilenet-digits@1.*mobilenet-cifar@1"):
        training.trainer().resume()


def test_a_checkpoint_of_other_classes_names_the_weight(tmp_path, space, bars, uninterrupted):
    other = build_space("mobilenet-digits", num_classes=7)
    training = Training(tmp_path, other, bars)
    training.path.write_bytes(uninterrupted.path.read_bytes())
    with pytest.raises(InputError, match=r"classifier.*\(7, .*\(4, ") as error:
        training.trainer().resume()
    assert str(training.path) in str(error.value)


def test_a_checkpoint_without_some_weight_names_it(tmp_path, space, uninterrupted):
    tensors = uninterrupted.tensors()
    missing = next(name for name in tensors if name.startswith("weights."))
    del tensors[missing]
    with pytest.raises(InputError, match=missing.removeprefix("weights.")):
        load_weights(new_supernet(space), tensors, tmp_path / "file")


# --- formulas -------------------------------------------------------------------------------------


def test_the_rate_in_the_metrics_is_that_of_the_last_step(uninterrupted):
    steps = 128 // 32
    for record in uninterrupted.metrics.read():
        last = record["epoch"] - 1 / steps
        assert record["learning_rate"] == pytest.approx(learning_rate(CONFIG, last))


def test_weights_decay_but_norms_and_biases_do_not(tmp_path, space, bars):
    """With a rate of next to nothing for gradients, what shrinks is what decays."""
    config = TrainingConfig(
        epochs=1,
        batch_size=128,
        learning_rate=0.1,
        warm_up_epochs=0,
        momentum=0,
        weight_decay=1.0,
        clip_norm=1e-12,
    )
    trainer = Training(tmp_path, space, bars, config).trainer()
    with torch.no_grad():
        for parameter in trainer.supernet.parameters():
            parameter.add_(0.5)
    before = {name: p.detach().clone() for name, p in trainer.supernet.named_parameters()}
    trainer.train()
    plain = trainer.supernet.extract(space.decode(space.largest()[0]))
    seen = set()
    for name, parameter in trainer.supernet.named_parameters():
        owner, _, kind = name.removeprefix("slots.").replace(".shared", "").rpartition(".")
        module = type(plain.get_submodule(owner))
        decays = kind == "weight" and module in (nn.Conv2d, nn.Linear)
        seen.add((module, kind))
        expected = before[name] * (0.9 if decays else 1.0)
        torch.testing.assert_close(parameter.detach(), expected, atol=1e-6, rtol=1e-5, msg=name)
    assert {(nn.Conv2d, "weight"), (nn.Linear, "weight"), (nn.Linear, "bias")} <= seen
    assert (nn.BatchNorm2d, "weight") in seen
