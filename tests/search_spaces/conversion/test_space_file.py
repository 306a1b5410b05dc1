"""What a folder of a converted network holds, and what is done with one that others changed."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.elastic_networks import write_network
from nas.training.starting_weights import start_from
from search_spaces import InputError, build_space
from search_spaces.conversion.elasticize import Elastic
from search_spaces.conversion.space_file import SpacePlan, versioned_name
from search_spaces.layer_modules.program import OPERATIONS, program_module, torch_operation
from search_spaces.layer_program import NUM_SIZES, read_program
from search_spaces.layer_spec import LayerSpec
from search_spaces.supernet import Supernet
from tests.search_spaces.conversion.converted import Converted, converted
from tests.search_spaces.conversion.networks import NETWORKS

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def one() -> Converted:
    return converted("mobilenet_v2")


@pytest.fixture
def folder(one, tmp_path) -> Path:
    write_network(one.elastic, tmp_path / "network")
    return tmp_path / "network"


def assert_refused(folder: Path, *words: str, **settings: int) -> None:
    with pytest.raises(InputError) as error:
        build_space(f"file:{folder}", **settings)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert len(message.splitlines()) <= 2
    assert len(message) < 500


def change(folder: Path, how: Change) -> None:
    path = folder / "space.json"
    plain = json.loads(path.read_text())
    how(plain)
    path.write_text(json.dumps(plain))


def forge(folder: Path, elastic: Elastic, program: dict[str, Any]) -> None:
    """Write a space whose first layer is another program, with a name that fits it."""
    text = json.dumps(program, separators=(",", ":"), sort_keys=True)
    first, *others = elastic.plan.slots
    plan = replace(elastic.plan, slots=(replace(first, program=text), *others))
    plan = replace(plan, name=versioned_name(plan))
    change(folder, lambda plain: plain.update(space=plan.to_plain()))


# --- whole ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_plans_survive_json(name):
    plan = converted(name).elastic.plan
    again = SpacePlan.from_plain(json.loads(json.dumps(plan.to_plain())))
    assert again == plan
    assert versioned_name(again) == plan.name


def test_a_folder_builds_the_space_that_was_written(one, folder):
    space, found = one.elastic.space, build_space(f"file:{folder}")
    assert (found.name, found.dimensions, found.inputs, found.outputs, found.settings) == (
        space.name, space.dimensions, space.inputs, space.outputs, space.settings,
    )  # fmt: skip
    for genome in (space.smallest(), space.largest()):
        assert found.layers.network(genome) == space.layers.network(genome)
        assert found.layers.costs(genome).row(0) == space.layers.costs(genome).row(0)


def test_a_folder_holds_weights_orders_and_statistics(one, folder):
    supernet = Supernet(build_space(f"file:{folder}"))
    start_from(supernet, folder / "weights.safetensors", False)
    expected, found = one.elastic.supernet.state_dict(), supernet.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    batch = one.batch(3)
    with torch.no_grad():
        assert torch.equal(supernet.extract(one.largest).eval()(*batch), one.network(*batch))


def test_names_follow_what_spaces_are(one):
    """The same network gives the same name, another space another; both are versions of one."""
    plan = one.elastic.plan
    assert plan.name.startswith("mobilenet-v2-")
    assert plan.name.endswith("@1")
    other = replace(plan, settings={"num_classes": 11})
    assert versioned_name(other) != versioned_name(plan) == plan.name
    assert versioned_name(other).rpartition("-")[0] == plan.name.rpartition("-")[0]


def test_data_of_other_classes_or_channels_are_refused(folder):
    build_space(f"file:{folder}", num_classes=10, input_channels=3)
    assert_refused(folder, "has 10 classes, the data 7", num_classes=7)
    assert_refused(folder, "has 3 input channels, the data 1", input_channels=1)


# --- damaged --------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_says_how_to_make_one(tmp_path):
    assert_refused(tmp_path / "nowhere", "holds no space.json", "nas elasticize")
    (tmp_path / "file").write_text("")
    assert_refused(tmp_path / "file", "space.json")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(folder, part):
    path = folder / "space.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    assert_refused(folder, "space.json", "damaged")


def test_bytes_that_are_no_text_are_refused(folder):
    (folder / "space.json").write_bytes(b"\xff\xfe\x00{")
    assert_refused(folder, "space.json", "damaged")


def halve_an_option(plain):
    plain["space"]["slots"][0]["sizes"][0][1][0] //= 2


def rename_a_dimension(plain):
    plain["space"]["dimensions"][0]["name"] += "x"


def change_a_program(plain):
    text = plain["space"]["programs"][0]
    plain["space"]["programs"][0] = text.replace('"stride":[2,2]', '"stride":[1,1]')
    assert plain["space"]["programs"][0] != text


@pytest.mark.parametrize("how", [halve_an_option, rename_a_dimension, change_a_program])
def test_a_changed_space_is_refused(folder, how):
    change(folder, how)
    assert_refused(folder, "space.json", "changed after it was written")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda plain: plain.update(kind="profile"), "expected a file of kind 'elastic-network'"),
        (lambda plain: plain.update(format=2), "format 2 written by version"),
        (lambda plain: plain.pop("space"), "expected the search space of a network"),
        (lambda plain: plain["space"].pop("slots"), "expected the search space of a network"),
        (lambda plain: plain["space"].update(slots=3), "expected the search space of a network"),
        (lambda plain: plain["space"].update(programs=["{"]), "expected a layer's program"),
        (lambda plain: plain["space"].update(programs=["[" * 9999]), "expected a layer's program"),
        (
            lambda plain: plain["space"]["slots"][0]["sizes"][0][1].__setitem__(0, 0),
            "sizes, all positive",
        ),
    ],
)
def test_other_files_are_refused(folder, how, words):
    change(folder, how)
    assert_refused(folder, words)


def test_a_list_is_no_space(folder):
    (folder / "space.json").write_text("[1]")
    assert_refused(folder, "expected a file of kind 'elastic-network'")


# --- hostile --------------------------------------------------------------------------------------


def program_of(step: dict[str, Any]) -> dict[str, Any]:
    """A program of one step on images."""
    shape = [[["b"]], [[3]], [[16]], [[16]]]
    return {
        "inputs": [{"shape": shape, "dtype": "float32"}],
        "steps": [{"reads": [0], "shape": shape, **step}],
    }


def torch_step(name: object, *arguments: object) -> dict[str, Any]:
    settings = {"name": name, "arguments": [{"read": True}, *arguments], "keywords": {}}
    return {"operation": "torch", "settings": settings}


@pytest.mark.parametrize(
    "name",
    [
        "aten.from_file.default",  # reads or writes a file
        "aten.relu_.default",  # writes over what it reads
        "aten.add_.Tensor",
        "aten.topk.default",  # gives two tensors
        "aten.zeros.default",  # reads none
        "aten.item.default",
        "aten.nothing.default",
        "aten.relu.nothing",
        "aten.relu",
        "aten.__class__.__init__",
        "aten._dir.append",
        "prims.relu.default",
        "os.system",
        "",
        7,
    ],
)
def test_operations_that_do_more_than_compute_are_refused(one, folder, name, tmp_path):
    """Before any runs: neither reading the space nor building its supernet has effects."""
    target = tmp_path / "made"
    forge(folder, one.elastic, program_of(torch_step(name, str(target), True, 4)))
    with pytest.raises(InputError) as error:
        Supernet(build_space(f"file:{folder}"))
    assert len(str(error.value).splitlines()) <= 2
    assert not target.exists()


def test_operations_from_tensors_to_a_tensor_are_taken():
    assert torch_operation("aten.clamp.default") is torch.ops.aten.clamp.default
    assert torch_operation("aten.glu.default") is torch.ops.aten.glu.default


def spec_of(program: dict[str, Any]) -> LayerSpec:
    sizes = {f"size{i}": 0 for i in range(NUM_SIZES)}
    return LayerSpec.of("program", {"program": json.dumps(program), **sizes})


@pytest.mark.parametrize(
    "step",
    [
        {"operation": "system"},
        {"operation": "__class__"},
        {"operation": "relu", "settings": {"nothing": 1}},
        {"operation": "max_pool2d"},
        {"operation": "conv"},
        {"operation": "linear", "weights": {"weight": [[[3]]]}},
        {"operation": "torch"},
        {"operation": "permute"},
        {"operation": "upsample", "settings": {"mode": "nearest", "size": "x", "extra": []}},
    ],
)
def test_steps_that_nothing_can_be_made_of_are_refused(step):
    with pytest.raises(InputError, match="layer's program"):
        program_module(spec_of(program_of(step)))


def change_step(**values: object) -> dict[str, Any]:
    return program_of({"operation": "relu", **values})


@pytest.mark.parametrize(
    "program",
    [
        {},
        [],
        {"inputs": [], "steps": []},
        {**program_of({"operation": "relu"}), "steps": []},
        change_step(reads=[1]),
        change_step(reads=[-1]),
        change_step(reads=["0"]),
        change_step(shape=[[[0]]]),
        change_step(shape=[[[-3]]]),
        change_step(shape=[[[[9, 0]]]]),
        change_step(shape=[[[[-1, 0]]]]),
        change_step(shape=[[[[0, -1]]]]),
        change_step(shape=[[["n"]]]),
        change_step(shape=[[[1.5]]]),
        change_step(shape=3),
        change_step(settings=3),
        change_step(weights=3),
        {"inputs": [{"shape": [], "dtype": "float32"}], "steps": [{"operation": "relu"}]},
        {"inputs": [{"shape": [[["b"]]], "dtype": "bool"}], "steps": [{"operation": "relu"}]},
        {"inputs": [{"shape": [[[2]]], "dtype": "float32"}], "steps": [{"operation": "relu"}]},
    ],
)
def test_texts_that_are_no_programs_are_refused(program):
    with pytest.raises(InputError, match="expected a layer's program") as error:
        read_program(json.dumps(program))
    assert "\n" not in str(error.value)


def test_every_operation_of_a_program_can_be_named():
    assert all(name.isidentifier() for name in OPERATIONS)


def test_a_plan_that_does_not_fit_together_is_refused(one):
    plain = one.elastic.plan.to_plain()
    other = copy.deepcopy(plain)
    other["slots"][0]["sizes"][0][0] = "nothing"
    with pytest.raises(InputError, match="its sizes do not fit the dimensions"):
        SpacePlan.from_plain(other).space()
    other = copy.deepcopy(plain)
    other["slots"][0]["depth"] = ["nothing", 1]
    with pytest.raises(InputError, match="unknown dimension 'nothing'"):
        SpacePlan.from_plain(other).space()
    other = copy.deepcopy(plain)
    other["slots"][3]["reads"] = ["nothing"]
    with pytest.raises(InputError, match="nothing"):
        SpacePlan.from_plain(other).space()
