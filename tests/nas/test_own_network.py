"""A network of the user's own, from the function that returns it to the file that ships."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import nas
from nas import pipeline
from nas.artifacts import load_supernet, new_supernet
from nas.config import check_recipe
from nas.data import input_tensors
from nas.elastic_networks import elastic_network, write_network
from nas.run_directory import Run, open_run
from nas.teachers import load_teachers
from nas.training import STRATEGIES
from nas.training.checkpoint import read_state
from search_spaces import InputError, build_space
from tests.nas import own_networks
from tests.nas.command_line import Answer
from tests.nas.own_networks import HERE, MEAN, STD
from tests.nas.settings import LEAST

DIGITS = f"{HERE}:digits"
UNTRAINED = f"{HERE}:other_digits"  # of the same space
NORMALISED = (f"data.mean=[{MEAN}]", f"data.std=[{STD}]")
ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "own-network-short.toml"
SHORT = (*NORMALISED, *LEAST)


def overrides(*settings: str) -> list[str]:
    """As options of the command line."""
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def nas_here(nas_command):
    """Runs a command in the repository's root, where tests can be imported."""

    def run(*arguments: object) -> Answer:
        return nas_command(*arguments, folder=ROOT)

    return run


@pytest.fixture(scope="module")
def elastic():
    return elastic_network(DIGITS)


@pytest.fixture(scope="module")
def network_folder(elastic, tmp_path_factory) -> Path:
    """What `nas elasticize` writes. Look, do not touch."""
    folder = tmp_path_factory.mktemp("network") / "digits"
    write_network(elastic, folder, DIGITS)
    return folder


def recipe_of(folder: Path, **sections: dict) -> nas.Recipe:
    """A recipe of seconds on a folder's space."""
    recipe = {
        "space": {"name": f"file:{folder}"},
        "data": {"mean": [MEAN], "std": [STD]},
        "training": {"epochs": 1, "batch_size": 256, "warm_up_epochs": 0.5},
        "accuracy": {"calibration_samples": 64},
    }
    for name, section in sections.items():
        recipe[name] = {**recipe.get(name, {}), **section}
    return check_recipe(recipe)


def new_run(path: Path, folder: Path, **sections: dict) -> Run:
    return pipeline.create_run(path, recipe_of(folder, **sections))


def accuracy_of(network: torch.nn.Module, run: Run) -> float:
    (images,) = input_tensors(run.data, run.data.validation)
    with torch.no_grad():
        classes = network.eval()(images).argmax(1).numpy()
    return float((classes == run.data.validation.targets).mean())


# --- the whole job --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(nas_here, tmp_path_factory) -> tuple[Path, Answer]:
    """`nas run RECIPE --model` to the end, and what it said."""
    path = tmp_path_factory.mktemp("own") / "run"
    answer = nas_here("run", RECIPE, "--model", DIGITS, "--out", path, "--json", *overrides(*SHORT))
    assert answer.code == 0, answer.stderr
    return path, answer


def test_a_run_trains_searches_and_exports_what_was_converted(finished):
    path, answer = finished
    run = open_run(path)
    assert run.space.name.startswith("digits-")
    done = {name for name, stage in run.stages.items() if stage.state == "done"}
    assert done >= {"train", "profile", "accuracy", "search"}
    winner = answer.json["winner"]
    assert Path(winner["model_path"]).exists()
    assert (path / "report.html").exists()


def test_the_exported_winner_verifies(finished, nas_here):
    _, answer = finished
    folder = Path(answer.json["winner"]["model_path"]).parent
    verified = nas_here("verify", folder, "--json")
    assert verified.code in (0, 1), verified.stderr  # 1: a busy machine misses the budget
    assert "Traceback" not in verified.stderr


def test_the_same_command_goes_on_where_it_stopped(finished, nas_here):
    path, _ = finished
    network = path / "network" / "weights.safetensors"
    before = network.stat().st_mtime_ns, read_state(open_run(path).checkpoint_path)
    again = nas_here("run", RECIPE, "--model", DIGITS, "--out", path, "--json", *overrides(*SHORT))
    assert again.code == 0, again.stderr
    assert (network.stat().st_mtime_ns, read_state(open_run(path).checkpoint_path)) == before


def test_another_network_does_not_take_over_a_run(finished, nas_here):
    path, _ = finished
    given = ("--model", UNTRAINED, "--out", path, *overrides(*SHORT))
    nas_here("run", RECIPE, *given).assert_refused("other_digits", "choose another --out")


def test_a_run_has_its_network_with_it(finished, nas_here):
    path, _ = finished
    assert sorted(file.name for file in (path / "network").iterdir()) == [
        "space.json",
        "weights.safetensors",
    ]
    assert nas_here("spaces", f"file:{path / 'network'}").code == 0


def test_a_run_is_moved_with_its_network(finished, tmp_path):
    """Its recipe names the folder that it was made in."""
    path, _ = finished
    moved = shutil.copytree(path, tmp_path / "moved")
    run = open_run(moved)
    assert run.space_name == f"file:{moved / 'network'}"
    assert load_supernet(run).space.name == run.space.name


# --- elasticize -----------------------------------------------------------------------------------


def test_elasticize_says_what_can_be_chosen_what_stays_and_why(nas_here):
    answer = nas_here("elasticize", UNTRAINED)
    assert answer.code == 0, answer.stderr
    for words in ("stem.0.width", "8, 12, 16", "blocks.depth", "head", "the size of an output"):
        assert words in answer.stdout
    for member in ("smallest", "middle", "largest", "architectures"):
        assert member in answer.stdout


def test_elasticize_as_json_is_what_the_space_is(nas_here, elastic, tmp_path):
    folder = tmp_path / "network"
    answer = nas_here("elasticize", UNTRAINED, "--json", "--out", folder)
    described, space = answer.json, elastic.space
    assert described["space"] == space.name
    assert described["num_architectures"] == space.num_architectures
    assert [(d["name"], tuple(d["options"])) for d in described["dimensions"]] == [
        (d.name, d.options) for d in space.dimensions
    ]
    largest = space.layers.costs(space.largest()).row(0)
    assert {key: described["members"]["largest"][key] for key in largest} == largest
    assert described["folder"] == str(folder)
    assert build_space(f"file:{folder}").name == space.name


def test_settings_of_elasticize_reach_it(nas_here):
    given = ("--fixed", "stem.*", "--options", "blocks.0.*=0.75", "--widths", "0.5", "--json")
    described = nas_here("elasticize", UNTRAINED, *given, "--keep-depths").json
    options = {d["name"]: d["options"] for d in described["dimensions"]}
    assert options == {"blocks.0.0.width": [20, 24], "blocks.1.0.width": [12, 24]}
    assert ["stem.0", "named as fixed"] in [[s["name"], s["reason"]] for s in described["stays"]]


def test_elasticize_writes_over_its_own_folders_only(nas_here, tmp_path):
    folder = tmp_path / "network"
    for _ in range(2):
        assert pipeline.elasticize(UNTRAINED, folder)["folder"] == str(folder)
    (folder / "thesis.txt").write_text("mine")
    refused = nas_here("elasticize", UNTRAINED, "--out", folder)
    refused.assert_refused("holds something else", "--out")


def test_a_budget_is_judged_by_a_profile_of_the_space(finished, nas_here):
    path, _ = finished
    profile = next(path.glob("profile*.json"))
    for budget, reach in ((1000, True), (1e-9, False)):
        described = pipeline.elasticize(UNTRAINED, profile=profile, latency_ms=budget)
        assert described["within_reach"] is reach
        assert described["members"]["smallest"]["predicted_latency_ms"] > 0
    shown = nas_here("elasticize", UNTRAINED, "--profile", profile, "--latency-ms", 1000)
    assert "1000.0 ms is within reach, as predicted" in shown.stdout
    with pytest.raises(InputError, match="digits-"):
        pipeline.elasticize(f"{HERE}:seven_classes", profile=profile)
    refused = nas_here("elasticize", UNTRAINED, "--latency-ms", 1)
    refused.assert_refused("--latency-ms needs --profile")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_example", "returns no example input; let it return network, torch.randn"),
        ("nothing", "expected a network and an example input .*, got NoneType"),
        ("three_things", "expected a network and an example input .*, got tuple"),
        ("example_first", "expected a network and an example input .*, got tuple"),
        ("raising", "the function raised RuntimeError: no weights here$"),
        ("absent", "can be imported"),
        ("MEAN", "expected a function, got float"),
    ],
)
def test_functions_that_return_something_else_are_refused(name, words):
    with pytest.raises(InputError, match=rf"{HERE}:{name}.*{words}") as error:
        elastic_network(f"{HERE}:{name}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--options", "0.5"),
        ("--options", "a="),
        ("--widths", "half"),
        ("--widths", ""),
        ("--widths", "0"),
        ("--fixed", "nothing.*"),
        ("--profile", "nowhere.json"),
    ],
)
def test_bad_options_of_elasticize_are_refused(nas_here, arguments):
    nas_here("elasticize", UNTRAINED, *arguments).assert_refused()


def test_random_numbers_of_the_caller_go_on(elastic):
    before = torch.get_rng_state()
    elastic_network(UNTRAINED)
    assert torch.equal(torch.get_rng_state(), before)


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, network_folder) -> Run:
    return new_run(tmp_path / "run", network_folder, training={"teachers": ["original"]})


def test_a_run_begins_with_the_network_as_it_was(run):
    supernet = new_supernet(run)
    largest = supernet.extract(run.space.decode(run.space.largest()[0])).eval()
    (original,) = load_teachers(run)
    (images,) = input_tensors(run.data, run.data.validation)
    with torch.no_grad():
        taught = original.network.eval()(images)  # which lays its weights out otherwise
        torch.testing.assert_close(taught, largest(images), rtol=1e-4, atol=1e-4)
    assert accuracy_of(largest, run) > 0.6


def test_the_original_teaches_and_is_frozen(run):
    (teacher,) = load_teachers(run)
    assert teacher.name == "original"
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    pipeline.train(run)
    (after,) = load_teachers(open_run(run.path))
    assert all(torch.equal(before[name], t) for name, t in after.state_dict().items())
    assert accuracy_of(after.network, run) > 0.6


def test_spaces_of_the_catalogue_have_no_original(tmp_path):
    recipe = check_recipe({"training": {"teachers": ["original"]}})
    words = "'original' is the network that a space was made of .*mobilenet-digits"
    with pytest.raises(InputError, match=rf"training\.teachers: .*{words}"):
        pipeline.create_run(tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_a_run_outlives_the_folder_that_it_was_made_of(tmp_path, network_folder):
    folder = shutil.copytree(network_folder, tmp_path / "network")
    run = new_run(tmp_path / "run", folder)
    shutil.rmtree(folder)
    again = pipeline.create_run(tmp_path / "run", recipe_of(folder))
    pipeline.dry_run(again.path, steps=1, samples=8)
    assert again.space.name == run.space.name
    pipeline.train(again)
    assert load_supernet(open_run(run.path)).space.name == run.space.name


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_trains_a_converted_space(tmp_path, network_folder, strategy):
    run = new_run(
        tmp_path / "run",
        network_folder,
        data={"max_samples": 128},
        training={"strategy": strategy, "batch_size": 128},
    )
    pipeline.train(run)
    before, after = new_supernet(run).state_dict(), load_supernet(run).state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    orders = [name for name in before if ".order_" in name]
    assert orders
    assert all(torch.equal(before[name], after[name]) for name in orders)


def test_one_shot_tells_what_subnets_are_worth_untrained(run, nas_here, tmp_path):
    found = pipeline.one_shot(run, subnets=3)
    assert [row.macs for row in found.rows] == sorted(row.macs for row in found.rows)
    assert len(found.rows) == 3
    assert found.num_samples == len(run.data.validation)
    supernet = new_supernet(run)
    largest = supernet.extract(run.space.decode(run.space.largest()[0]))
    assert abs(found.rows[-1].validation_accuracy - accuracy_of(largest, run)) < 0.1
    answer = nas_here("one-shot", run.path, "--subnets", 2, "--json")
    assert answer.json["rows"][-1]["macs"] == found.rows[-1].macs
    shown = nas_here("one-shot", run.path, "--subnets", 2)
    assert "no training" in shown.stdout
    plain = pipeline.create_run(tmp_path / "plain", check_recipe({}))
    nas_here("one-shot", plain.path).assert_refused("starts from random weights")


def test_train_takes_a_model_and_a_folder_left_by_a_kill(nas_here, tmp_path):
    """A process that ended between the network and run.json left the network alone."""
    path = tmp_path / "run"
    elastic = elastic_network(UNTRAINED)
    write_network(elastic, path / "network", UNTRAINED)
    (path / ".run.json.7.tmp").write_text("{")
    (path / "network" / ".space.json.7.tmp").write_text("{")
    given = ("--model", DIGITS, "--out", path, *overrides(*SHORT))
    answer = nas_here("train", RECIPE, *given)
    assert answer.code == 0, answer.stderr
    assert open_run(path).stages["train"].state == "done"
    made_from = json.loads((path / "network" / "space.json").read_text())["made_from"]
    assert list(made_from) == [DIGITS]


def test_a_folder_of_something_else_is_no_place_for_a_run(nas_here, tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "thesis.txt").write_text("mine")
    refused = nas_here("train", RECIPE, "--model", DIGITS, "--out", path, *overrides(*SHORT))
    refused.assert_refused("exists and is no run")
    assert [file.name for file in path.iterdir()] == ["thesis.txt"]


def test_a_model_and_a_space_are_one_too_many(nas_here, tmp_path):
    given = ("--model", DIGITS, "--out", tmp_path / "run", "--set", "space.name=vit-digits")
    nas_here("run", RECIPE, *given).assert_refused("--model and space.name")


def test_a_run_takes_no_model(run, nas_here):
    nas_here("train", run.path, "--model", DIGITS).assert_refused("no --model")


def test_classes_that_differ_are_refused_before_anything_is_written(tmp_path):
    folder = tmp_path / "network"
    write_network(elastic_network(f"{HERE}:seven_classes"), folder)
    with pytest.raises(InputError, match="has 7 classes, the data 10; change its first or last"):
        new_run(tmp_path / "run", folder)
    assert not (tmp_path / "run").exists()


def test_weights_that_are_absent_or_damaged_are_refused(tmp_path, network_folder):
    folder = shutil.copytree(network_folder, tmp_path / "network")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no weights\.safetensors; make it with"):
        new_run(tmp_path / "run", folder)
    assert not (tmp_path / "run").exists()
    whole = (network_folder / "weights.safetensors").read_bytes()
    middle = len(whole) // 2
    changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for i, content in enumerate((whole[:middle], changed, b"")):
        run = new_run(tmp_path / f"run{i}", network_folder)
        (run.network_path / "weights.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"weights\.safetensors") as error:
            pipeline.train(run)
        assert len(str(error.value).splitlines()) <= 2


def test_a_dry_run_begins_with_the_network_and_its_teacher(network_folder, run):
    """Of a recipe, of which nothing is written, and of a run."""
    recipe = recipe_of(network_folder, training={"teachers": ["original"]})
    for given in (recipe, run.path):
        assert pipeline.dry_run(given, steps=1, samples=256).peak_bytes > 0
    assert not (run.path / "supernet").exists() or not list((run.path / "supernet").iterdir())


# --- data -----------------------------------------------------------------------------------------


def test_mean_and_deviation_are_those_that_are_stated(run):
    assert (run.data.mean, run.data.std) == ((MEAN,), (STD,))
    counted = pipeline.create_run(run.path.parent / "counted", check_recipe({}))
    assert counted.data.mean != run.data.mean
    images = run.data.validation.inputs[0].astype(np.float64) / 255
    (found,) = input_tensors(run.data, run.data.validation)
    np.testing.assert_allclose(found.numpy(), (images - MEAN) / STD, atol=1e-5)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"mean": [0.5]}, r"data\.mean and data\.std: state both, or neither"),
        ({"std": [0.5]}, r"data\.mean and data\.std: state both, or neither"),
        ({"mean": [0.5], "std": [0.0]}, r"data\.std"),
        ({"mean": [0.5, 0.5], "std": [1.0, 1.0]}, "expected 1 numbers each, one a channel"),
        ({"mean": [0.5], "std": [1.0, 1.0]}, "expected 1 numbers each, one a channel"),
    ],
)
def test_other_numbers_of_channels_are_refused(tmp_path, data, words):
    with pytest.raises(InputError, match=words):
        pipeline.create_run(tmp_path / "run", check_recipe({"data": data}))


def test_space_names_are_folders_only_where_they_say_so(tmp_path):
    with pytest.raises(InputError, match="unknown space"):
        check_recipe({"space": {"name": str(tmp_path)}})
    with pytest.raises(InputError, match=r"holds no space\.json"):
        pipeline.create_run(
            tmp_path / "run", check_recipe({"space": {"name": f"file:{tmp_path / 'nothing'}"}})
        )


def test_the_network_of_these_tests_is_one_to_learn_from():
    network, example = own_networks.digits()
    assert example.shape[1:] == (1, 8, 8)
    assert sum(parameter.numel() for parameter in network.parameters()) < 20_000
