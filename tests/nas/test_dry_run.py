import json
import math

import numpy as np
import pytest

from nas import dry_run
from nas.config import load_recipe
from nas.data import generated_data
from nas.dry_running import DryRun
from nas.training import STRATEGIES
from search_spaces import InputError, build_space
from tests.conftest import ROOT

# of a batch and a step at one size, on a CPU, whatever the recipe says
LITTLE = (
    "threads=1",
    "training.batch_size=2",
    "training.device=cpu",
    "training.precision=fp32",
    "accuracy.calibration_samples=2",
)
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
SMALL = ("cifar10-cpu", "digits", "tdnn-digits")  # seconds each


def dry(*overrides: str, **settings: int) -> DryRun:
    return dry_run(None, (*LITTLE, "data.max_samples=60", *overrides), **settings)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem in SMALL else pytest.mark.slow, id=path.stem)
        for path in RECIPES
        if path.stem != "imagenet-published"
    ],
)
def test_every_recipe_passes_a_dry_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tried = dry_run(path, LITTLE, steps=1, samples=10_000)
    recipe = load_recipe(path)
    assert tried.epochs == recipe.training.epochs
    assert [one.epoch for one in tried.tried][:: len(tried.tried) - 1] == [1, tried.epochs]
    assert all(math.isfinite(x) for one in tried.tried for x in one.losses.values())
    assert not list(tmp_path.iterdir())


def test_a_recipe_that_trains_nothing_has_nothing_to_try(tmp_path):
    weights = "training.weights=absent.safetensors"
    with pytest.raises(InputError, match=r"no file absent\.safetensors"):
        dry("training.epochs=0", weights)


def test_the_estimate_is_steps_and_evaluations():
    tried = dry("training.epochs=8", "training.evaluate_every=3", steps=2)
    assert tried.data == "digits"
    assert (tried.num_samples, tried.num_evaluations) == (60, 3)
    assert [one.epoch for one in tried.tried] == [1, 3, 5, 6, 8]
    steps = tried.seconds_per_step * 30 * 8
    assert tried.seconds == pytest.approx(steps + 3 * tried.seconds_per_evaluation)
    assert tried.samples_per_second == pytest.approx(2 / tried.seconds_per_step)
    more = dry("training.epochs=8", samples=600)
    assert more.seconds == pytest.approx(
        more.seconds_per_step * 300 * 8 + 2 * more.seconds_per_evaluation
    )
    assert more.peak_bytes > 10**7


def test_without_data_random_ones_stand_in_and_nothing_is_known_of_the_time():
    tried = dry("data.source=npy:absent", steps=1)
    assert tried.data == "generated: npy:absent is not here"
    assert tried.seconds is None
    assert ("all of it", "not known; give --samples N") in tried.rows()
    known = dry("data.source=npy:absent", steps=1, samples=100)
    assert known.seconds == pytest.approx(known.seconds_per_step * 50 * 30)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_can_be_tried(strategy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tried = dry(f"training.strategy={strategy}", "training.epochs=9", steps=1)
    assert [one.epoch for one in tried.tried] == [1, 3, 5, 7, 9]
    assert all(one.losses for one in tried.tried)
    assert not list(tmp_path.iterdir())


def test_steps_are_those_of_their_epoch():
    """The largest alone for half of the training, then the others too."""
    tried = dry("training.strategy=delayed", "training.epochs=9", steps=1)
    roles = [sorted(one.losses) for one in tried.tried]
    assert roles[:2] == [["largest"]] * 2
    assert roles[3:] == [["largest", "random", "smallest"]] * 2


def test_one_of_several_processes_takes_its_part_of_the_batch():
    with pytest.raises(InputError, match="a batch of 2 cannot be shared by 8 processes"):
        dry(processes=8)
    assert dry("training.batch_size=16", processes=8, steps=1).processes == 8


def test_losses_that_are_not_finite_are_said():
    with pytest.raises(
        InputError, match=r"no loss .* in epoch .* finite; lower training\.learning"
    ):
        dry("training.learning_rate=1e30", "training.warm_up_epochs=0", "training.clip_norm=1e30")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("training.strategy=sandwhich", "did you mean 'sandwich'"),
        ("training.batch_size=1", "training.batch_size"),
        ("search.searcher=nsga3", "did you mean 'nsga2'"),
        ("training.drop_path=0.2", "set it to 0"),
        ("data.source=npyy:absent", "npyy"),
    ],
)
def test_settings_are_checked_before_anything_is_run(change, words):
    with pytest.raises(InputError) as error:
        dry(change)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "modality", "sizes"),
    [
        ("mobilenet-cifar", "image", {}),
        ("bert-mini", "tokens", {"vocabulary": 9, "length": 5}),
        ("tdnn-digits", "sequence", {}),
    ],
)
def test_generated_data_fit_their_space(name, modality, sizes):
    space = build_space(name, **sizes)
    data = generated_data(space, modality, 30, 0)
    again, other = (generated_data(space, modality, 30, seed) for seed in (0, 1))
    assert data.sha256() == again.sha256() != other.sha256()
    assert dict(space.settings).items() >= data.settings.items()
    assert len(data.train) == 30
    if modality == "tokens":
        assert data.train.inputs[0].max() < 9
    assert np.unique(data.train.targets).max() < data.num_classes


def test_on_the_command_line(nas_command, tmp_path):
    arguments = ("train", ROOT / "recipes" / "digits.toml", "--dry-run", "--steps", 1)
    settings = [x for one in (*LITTLE, "data.max_samples=60") for x in ("--set", one)]
    answer = nas_command(*arguments, *settings, "--json", folder=tmp_path)
    assert answer.code == 0
    assert answer.json["num_samples"] == 60
    shown = nas_command(*arguments, *settings, folder=tmp_path)
    assert "a step of training" in shown.stdout
    assert not list(tmp_path.iterdir())
    assert json.dumps(answer.json)
    nas_command("train", arguments[1], "--samples", 5).assert_refused("add --dry-run")
