"""Words of a space's file become names in code that torch generates: none may be code itself."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from search_spaces import InputError
from search_spaces.conversion.elasticize import elasticize
from search_spaces.conversion.space_file import SpacePlan, versioned_name
from search_spaces.layer_modules.program import program_module
from search_spaces.layer_modules.torch_operation import torch_operation
from search_spaces.layer_program import NUM_SIZES
from search_spaces.layer_spec import LayerSpec
from search_spaces.supernet import Supernet
from tests.search_spaces.conversion.converted import converted

Change = Callable[[dict[str, Any]], object]


def code(path: object) -> str:
    """An expression that leaves a trace where it is evaluated."""
    return f"open({str(path)!r}, 'w')"


def rebuilt(plain: dict[str, Any]) -> None:
    """Do with a file's space what is done with any: build it, run and extract a subnet."""
    plan = SpacePlan.from_plain(plain)
    space = replace(plan, name=versioned_name(plan)).space()
    supernet, (largest,) = Supernet(space), space.largest()
    images = torch.randn(2, 3, 16, 16)
    supernet(images, space.decode(largest))
    supernet.extract(space.decode(largest))(images)


def assert_harmless(change: Change, tmp_path) -> None:
    plain = json.loads(json.dumps(converted("two_outputs").elastic.plan.to_plain()))
    change(plain)
    with pytest.raises(InputError) as error:
        rebuilt(plain)
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def renamed(plain: dict[str, Any], old: str, new: str) -> None:
    text = json.dumps(plain).replace(json.dumps(old), json.dumps(new))
    plain.update(json.loads(text))


@pytest.mark.parametrize("form", ["input={}", "input: {}", "class", "a b", "", "input\n    {}"])
def test_names_of_inputs_are_names(form, tmp_path):
    new = form.format(code(tmp_path / "made"))
    assert_harmless(lambda plain: renamed(plain, plain["inputs"][0], new), tmp_path)


@pytest.mark.parametrize("form", ['a"), {}, (self, "a', "a-b", "é", "a.b"])
def test_names_of_slots_are_names(form, tmp_path):
    new = form.format(code(tmp_path / "made"))
    assert_harmless(lambda plain: renamed(plain, plain["slots"][0]["name"], new), tmp_path)


def torch_spec(name: str, arguments: list[object], keywords: dict[str, object]) -> LayerSpec:
    shape = [[["b"]], [[3]]]
    settings = {"name": name, "arguments": arguments, "keywords": keywords}
    step = {"operation": "torch", "reads": [0], "shape": shape, "settings": settings}
    program = {"inputs": [{"shape": shape, "dtype": "float32"}], "steps": [step]}
    sizes = {f"size{i}": 0 for i in range(NUM_SIZES)}
    return LayerSpec.of("program", {"program": json.dumps(program), **sizes})


READ = {"read": True}


@pytest.mark.parametrize(
    "arguments, keywords",
    [
        ([READ], {"max=open('made', 'w'), min": 1.0}),
        ([READ], {"nothing": 1.0}),
        ([READ, READ], {}),
        ([READ], {"min": "1"}),
        ([READ, ["1"]], {}),
        ([1.0], {}),
    ],
)
def test_operations_of_torch_take_what_they_have_names_for(arguments, keywords):
    with pytest.raises(InputError, match="layer's program"):
        program_module(torch_spec("aten.clamp.default", arguments, keywords))


def test_operations_of_torch_take_their_own_arguments():
    module = program_module(torch_spec("aten.clamp.default", [READ, 0], {"max": 0.5}))
    batch = torch.randn(4, 3)
    assert torch.equal(module(batch), batch.clamp(0, 0.5))


@pytest.mark.parametrize("name", ["aten._unsafe_index.Tensor", "aten._reshape_alias.default"])
def test_private_operations_which_check_nothing_are_refused(name):
    with pytest.raises(InputError, match="private"):
        torch_operation(name)


def test_images_are_still_resized_with_antialiasing():
    assert torch_operation("aten._upsample_bilinear2d_aa.vec") is not None


def test_modules_of_odd_names_become_slots():
    network = torch.nn.Sequential()
    network.add_module('a"-é', torch.nn.Linear(6, 16))
    network.add_module("b", torch.nn.Linear(16, 3))
    plan = elasticize(network, torch.randn(2, 6)).plan
    rebuilt_plan = SpacePlan.from_plain(copy.deepcopy(plan.to_plain()))
    assert all(slot.name.isascii() for slot in rebuilt_plan.slots)
