import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from nas.append_log import AppendLog
from nas.config import TrainingConfig
from nas.data import Split, input_tensors
from nas.task import Task
from nas.training.checkpoint import load_checkpoint, read_state, save_checkpoint
from nas.training.starting_weights import load_weights
from nas.training.trainer import Trainer, learning_rate
from search_spaces import InputError, build_space
from search_spaces.supernet import Supernet, resize

CONFIG = TrainingConfig(
    epochs=3, batch_size=32, num_random=1, warm_up_epochs=0.5, evaluate_every=2, flip=True
)
TIMINGS = ("seconds", "samples_per_second")


def new_supernet(space, seed: int = 0) -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Supernet(space)


class Training:
    """One training in a folder; every trainer is a new one, as after a restart."""

    def __init__(self, folder, space, data, config=CONFIG, seed=0):
        self.space, self.data, self.config, self.seed = space, data, config, seed
        self.path = folder / "checkpoint.safetensors"
        self.metrics = AppendLog(folder / "metrics.jsonl")

    def trainer(self, config=None) -> Trainer:
        return Trainer(
            new_supernet(self.space),
            self.data,
            Task(),
            config or self.config,
            self.seed,
            self.path,
            self.metrics,
            evaluate=lambda supernet: {
                "weights": sum(float(p.detach().sum()) for p in supernet.parameters())
            },
        )

    def go_on(self, stop_after: int | None = None) -> None:
        """Resume and train; killed where the epoch after `stop_after` begins."""
        trainer = self.trainer()
        trainer.resume()

        def report(done: int, note: str) -> None:
            if stop_after is not None and done > stop_after * trainer.steps_per_epoch:
                raise KeyboardInterrupt

        if stop_after is None:
            trainer.train(report)
        else:
            with pytest.raises(KeyboardInterrupt):
                trainer.train(report)

    def tensors(self):
        return load_checkpoint(self.path, self.space.name)[0]

    def records(self):
        """The metrics without what the clock says."""
        return [
            {key: value for key, value in record.items() if key not in TIMINGS}
            for record in self.metrics.read()
        ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, space, bars):
    training = Training(tmp_path_factory.mktemp("uninterrupted"), space, bars)
    training.go_on()
    return training


def assert_same(first: Training, second: Training) -> None:
    left, right = first.tensors(), second.tensors()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert first.records() == second.records()
    assert read_state(first.path) == read_state(second.path)


# --- resuming -------------------------------------------------------------------------------------


def test_stopped_twice_is_the_same_bit_for_bit(tmp_path, space, bars, uninterrupted):
    training = Training(tmp_path, space, bars)
    training.go_on(stop_after=1)
    assert read_state(training.path)["epoch"] == 1
    training.go_on(stop_after=2)
    assert read_state(training.path)["epoch"] == 2
    training.go_on()
    assert_same(training, uninterrupted)
    assert any(name.startswith("optimizer.momentum_buffer.") for name in training.tensors())


def test_adamw_stopped_is_the_same_bit_for_bit(tmp_path, space, bars):
    """Both moments and the number of steps are in the checkpoint; so is what drop-path draws."""
    settings = {"optimizer": "adamw", "learning_rate": 0.003, "drop_path": 0.3, "flip": False}
    config = CONFIG.model_copy(update=settings)
    whole, stopped = (
        Training(tmp_path / name, space, bars, config) for name in ("whole", "stopped")
    )
    whole.go_on()
    stopped.go_on(stop_after=1)
    stopped.go_on()
    assert_same(whole, stopped)
    states = {name.split(".")[1] for name in whole.tensors() if name.startswith("optimizer.")}
    assert states == {"exp_avg", "exp_avg_sq", "step"}


def test_an_unknown_optimizer_names_the_nearest(tmp_path, space, bars):
    config = CONFIG.model_copy(update={"optimizer": "adam"})
    with pytest.raises(InputError, match="'adamw'"):
        Training(tmp_path, space, bars, config).trainer()


def test_drop_path_grows_and_is_given_to_those_that_learn_from_labels(tmp_path, space, bars):
    config = CONFIG.model_copy(update={"drop_path": 0.6})
    trainer = Training(tmp_path, space, bars, config).trainer()
    given: list = []
    forward = trainer.supernet.forward

    def recording(inputs, architecture, regularisation=None):
        given.append(None if regularisation is None else regularisation.drop_path)
        return forward(inputs, architecture, regularisation)

    trainer.supernet.forward = recording
    trainer.train()
    labels = given[::3]  # the largest; then one random one and the smallest
    assert given[1::3] == given[2::3] == [None] * len(labels)
    assert labels == pytest.approx([0.6 * step / 12 for step in range(12)])


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
    training.go_on(stop_after=1)
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
    """Other subnets in every epoch; and with them, from the same generator, another order."""
    trainer = Training(tmp_path, space, bars).trainer()
    drawn: dict[int, list] = {}
    strategy = trainer._strategy

    class Recording:
        def step(self, epoch, rng):
            subnets = strategy.step(epoch, rng)
            drawn.setdefault(epoch, []).append([subnet.architecture.id for subnet in subnets])
            return subnets

    trainer._strategy = Recording()
    trainer.train()
    assert list(drawn) == [0, 1, 2]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


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


def test_a_loss_that_is_no_number_ends_training_with_the_way_out(tmp_path, space, bars):
    config = CONFIG.model_copy(update={"learning_rate": 1e30, "clip_norm": 1e30})
    training = Training(tmp_path, space, bars, config)
    with pytest.raises(InputError, match=r"training\.learning_rate"):
        training.go_on()
    assert not training.path.exists()


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


def test_an_unknown_strategy_names_the_nearest(tmp_path, space, bars):
    config = CONFIG.model_copy(update={"strategy": "sandwhich"})
    with pytest.raises(InputError, match="'sandwich'"):
        Training(tmp_path, space, bars, config).trainer()


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
    state = {"space": other.name, "epoch": 1, "epochs": 3, "seed": 0}
    save_checkpoint(training.path, uninterrupted.tensors(), state)
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


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, 0.4 * 0.1 / 2.1),
        (1.0, 0.4 * 1.1 / 2.1),
        (2.0, 0.4),
        (2.0 + 18 / 4, 0.4 * (0.5 + math.sqrt(0.125))),
        (2.0 + 9, 0.2),
        (2.0 + 18 * 2 / 3, 0.4 * 0.25),
        (20.0, 0.0),
    ],
)
def test_learning_rate_warms_up_and_follows_half_a_cosine(progress, expected):
    config = TrainingConfig(epochs=20, warm_up_epochs=2, learning_rate=0.4)
    assert learning_rate(config, progress) == pytest.approx(expected, abs=1e-12)


def test_learning_rate_without_warm_up_starts_at_the_top():
    config = TrainingConfig(epochs=10, warm_up_epochs=0, learning_rate=0.4)
    assert learning_rate(config, 0) == pytest.approx(0.4)
    rates = [learning_rate(config, progress) for progress in np.linspace(0, 10, 50)]
    assert all(a >= b for a, b in pairwise(rates))


def test_learning_rate_with_more_warm_up_than_epochs_only_rises():
    config = TrainingConfig(epochs=2, warm_up_epochs=5)
    rates = [learning_rate(config, progress) for progress in np.linspace(0, 2, 20)]
    assert all(a < b for a, b in pairwise(rates))
    assert rates[-1] < config.learning_rate


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
