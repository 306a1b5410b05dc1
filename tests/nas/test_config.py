import json
import math
import tomllib

import pytest
from pydantic import ValidationError

from nas.config import (
    OPTIONS,
    Recipe,
    SearchConfig,
    TrainingConfig,
    check_budget,
    differing_keys,
    load_recipe,
)
from nas.data import MODALITIES
from nas.training.optimizers import OPTIMIZERS
from search_spaces import SPACES, InputError, space_modality
from tests.conftest import ROOT

STRATEGY_OPTIONS, SCHEDULE_OPTIONS = (
    {name for options in OPTIONS[choice].values() for name in options}
    for choice in ("strategy", "schedule")
)
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))


def leaves(data: dict, prefix: str = "") -> set[str]:
    """Dotted names of all values of nested tables."""
    names: set[str] = set()
    for key, value in data.items():
        names |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return names


def write(folder, text):
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


# --- recipes that are there ---------------------------------------------------------------------


def test_there_are_recipes():
    assert {path.stem for path in RECIPES} == {
        *("digits", "tdnn-digits", "text-docstrings", "imagenet-published"),
        *(
            "cifar10-cpu",
            "cifar10-gpu",
            "imagenet",
            "resnet-cifar10",
            "vit-cifar10",
            "nasnet-cifar10",
            "nasbench201-cifar10",
            "own-network-short",
            "own-network-long",
        ),
    }


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_ready_made_recipes_load(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.space.name in SPACES
    sources = MODALITIES[space_modality(recipe.space.name)].sources
    assert recipe.data.source.partition(":")[0] in sources
    assert recipe.training.optimizer in OPTIMIZERS
    assert path.read_text().startswith("# ")  # what it needs and takes


def test_digits_recipe_is_the_embedded_default():
    assert load_recipe(ROOT / "recipes" / "digits.toml") == load_recipe(None) == Recipe()


def test_digits_recipe_shows_every_setting_but_those_that_are_absent_by_default():
    shown = leaves(tomllib.loads((ROOT / "recipes" / "digits.toml").read_text()))
    limits = {"max_macs", "max_params", "max_activation_bytes", "max_resident_bytes"}
    limits |= {"max_energy_mj", "seconds"}
    absent = {f"search.{name}" for name in (*limits, "device")}
    absent |= {"profile.minutes", "task.distillation", "training.weights"}
    absent |= {f"training.{name}" for name in (*STRATEGY_OPTIONS, *SCHEDULE_OPTIONS)}
    given = leaves(Recipe().model_dump(exclude_none=True))  # the default strategy's own among them
    assert leaves(Recipe().model_dump()) - given == absent - {"training.num_random"}
    assert shown == leaves(Recipe().model_dump()) - absent


@pytest.mark.parametrize("choice", OPTIONS)
def test_digits_recipe_names_the_options_of_everything_that_can_be_chosen(choice):
    text = (ROOT / "recipes" / "digits.toml").read_text()
    for taker, options in OPTIONS[choice].items():
        if taker != TrainingConfig.model_fields[choice].default and options:
            words = ", ".join(f"{name} = {json.dumps(value)}" for name, value in options.items())
            assert f"\n# {taker}: {words}\n" in text


def test_recipes_are_frozen():
    recipe = Recipe()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        recipe.training.epochs = 1


def test_a_recipe_without_a_name_is_named_after_its_file(tmp_path):
    path = tmp_path / "small-nets.toml"
    path.write_text("seed = 3\n")
    assert (load_recipe(path).name, load_recipe(path).seed) == ("small-nets", 3)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[trainig]\nepochs = 3", ["'trainig'", "'training'"]),
        ("[training]\nepoch = 3", ["'training.epoch'", "'training.epochs'"]),
        ("[search]\ngeneration = 3", ["'search.generation'", "'search.generations'"]),
        ("sead = 3", ["'sead'", "'seed'"]),
        ("[space]\nname = 'mobilenet-digit'", ["'mobilenet-digit'", "'mobilenet-digits'"]),
    ],
)
def test_unknown_names_name_the_nearest_valid_one(tmp_path, text, words):
    with pytest.raises(InputError) as error:
        load_recipe(write(tmp_path, text))
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("override", "key", "got"),
    [
        ("training.epochs=many", "training.epochs", "many"),
        ("training.epochs=0", "training.epochs", "0"),
        ("training.epochs=1.5", "training.epochs", "1.5"),
        ("training.learning_rate=nan", "training.learning_rate", "nan"),
        ("training.learning_rate=inf", "training.learning_rate", "inf"),
        ("training.momentum=1", "training.momentum", "1"),
        ("training.batch_size=1", "training.batch_size", "1"),
        ("training.flip=maybe", "training.flip", "maybe"),
        ("data.source=[1]", "data.source", "[1]"),
        ("data.validation_share=1.0", "data.validation_share", "1.0"),
        ("search.coverage=1", "search.coverage", "1"),
        ("search.max_macs=0", "search.max_macs", "0"),
        ("search.max_params=nan", "search.max_params", "nan"),
        ("seed=-1", "seed", "-1"),
        ("name=a/b", "name", "a/b"),
    ],
)
def test_bad_values_name_the_key_and_what_came(override, key, got):
    with pytest.raises(InputError) as error:
        load_recipe(None, [override])
    message = str(error.value)
    assert key in message
    assert got in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [("training = 5", "section"), ("a = = 1", "TOML"), ("\x00", "TOML"), ("[training", "TOML")],
)
def test_what_is_no_recipe_is_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        load_recipe(write(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(InputError, match="TOML"):
        load_recipe(path)


def test_a_missing_recipe_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="no recipe"):
        load_recipe(tmp_path / "absent.toml")
    with pytest.raises(InputError, match="folder but no run"):
        load_recipe(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["strategy=sandwich", "levels=4"], ["levels", "sorted", "sandwich", "training.strategy"]),
        (["levels=4"], ["levels", "sorted", "sandwich", "training.strategy"]),
        (["strategy=sorted", "ramp_share=0.1"], ["ramp_share", "delayed", "sorted"]),
        (["strategy=single-path", "num_random=2"], ["num_random", "sandwich", "single-path"]),
        (["decay=0.9"], ["decay", "exponential", "cosine", "training.schedule"]),
    ],
)
def test_an_option_of_another_strategy_or_schedule_is_refused_with_both_names(overrides, words):
    with pytest.raises(InputError) as error:
        load_recipe(None, [f"training.{override}" for override in overrides])
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("choice", OPTIONS)
def test_what_is_chosen_gets_its_options_and_no_others(choice):
    every = {name for options in OPTIONS[choice].values() for name in options}
    for taker, options in OPTIONS[choice].items():
        config = TrainingConfig().replaced(**{choice: taker})
        found = {name: value for name in every if (value := getattr(config, name)) is not None}
        assert found == options
        kept = load_recipe(None, [f"training.{choice}={taker}", "training.epochs=3"])
        assert kept.training == config.replaced(epochs=3)
        assert TrainingConfig.model_validate(config.model_dump()) == config


def test_options_that_are_given_stay_when_others_change():
    config = TrainingConfig(strategy="delayed", ramp_share=0.3)
    assert config.replaced(epochs=5).ramp_share == 0.3
    assert config.replaced(strategy="progressive").ramp_share is None


# --- --set ----------------------------------------------------------------------------------------


def test_overrides_are_numbers_words_or_toml():
    recipe = load_recipe(
        None,
        [
            "training.epochs=7",
            "training.learning_rate=1e-2",
            "training.flip=true",
            "data.source=npz:/somewhere/a=b.npz",
            'space.name="mobilenet-cifar"',
            "search.budget=25%",
            "search.max_macs=4e5",
            "name=mine",
        ],
    )
    assert recipe.training.epochs == 7
    assert recipe.training.learning_rate == 1e-2
    assert recipe.training.flip is True
    assert recipe.data.source == "npz:/somewhere/a=b.npz"
    assert recipe.space.name == "mobilenet-cifar"
    assert recipe.search.budget == "25%"
    assert recipe.search.max_macs == 4e5
    assert recipe.name == "mine"


def test_overrides_win_over_the_file_and_the_last_over_the_first(tmp_path):
    path = write(tmp_path, "[training]\nepochs = 3\nmomentum = 0.5\n")
    recipe = load_recipe(path, ["training.epochs=4", "training.epochs=5"])
    assert (recipe.training.epochs, recipe.training.momentum) == (5, 0.5)


@pytest.mark.parametrize("override", ["training.epochs", "=3", " =3", ""])
def test_overrides_without_a_key_or_an_equals_sign_are_refused(override):
    with pytest.raises(InputError, match=r"--set section\.key=value"):
        load_recipe(None, [override])


@pytest.mark.parametrize("override", ["training.epoch=3", "trainin.epochs=3", "training..x=3"])
def test_overrides_of_unknown_keys_are_refused(override):
    with pytest.raises(InputError, match="unknown recipe key"):
        load_recipe(None, [override])


def test_an_override_through_a_value_is_refused():
    with pytest.raises(InputError):
        load_recipe(None, ["seed=3", "seed.x=3"])


# --- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0.04, 1, 2.0, "50%", "100%", "0.5%", "12.5%"])
def test_budgets_are_milliseconds_or_shares(budget):
    check_budget(budget)
    assert SearchConfig(budget=budget).budget == budget


BAD_BUDGETS = [
    *(0, -1.0, math.nan, math.inf),
    *("0%", "-5%", "120%", "nan%", "inf%", "%", "abc", "", "50 percent", "2ms"),
]


@pytest.mark.parametrize("budget", BAD_BUDGETS)
def test_impossible_budgets_are_refused(budget):
    with pytest.raises(InputError, match="budget"):
        check_budget(budget)
    with pytest.raises(InputError, match="budget"):
        SearchConfig().replaced({"budget": budget})


def test_replacing_settings_of_the_search_checks_them():
    assert SearchConfig().replaced({"max_macs": 3.0}).max_macs == 3.0
    with pytest.raises(InputError, match="max_macs"):
        SearchConfig().replaced({"max_macs": -3.0})


# --- comparing ------------------------------------------------------------------------------------


def test_differing_keys_are_dotted_and_complete():
    first = Recipe().model_dump()
    second = load_recipe(None, ["seed=1", "training.epochs=2", "search.budget=0.1"]).model_dump()
    assert set(differing_keys(first, second)) == {"seed", "training.epochs", "search.budget"}
    assert differing_keys(first, first) == []


def test_networks_and_weights_may_be_searched_untrained():
    """Something to search is there without training: the weights that were brought."""
    untrained = "training.epochs=0"
    with pytest.raises(InputError, match=r"or training\.weights to start from"):
        load_recipe(None, [untrained])
    assert load_recipe(None, [untrained, "space.name=file:net"]).training.epochs == 0
    assert load_recipe(None, [untrained, "training.weights=w"]).training.epochs == 0
