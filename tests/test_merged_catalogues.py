"""Catalogues that are merged from parts: a name in two parts would silently mean the later one."""

import ast
import importlib
import itertools
from pathlib import Path

import pytest

from search_spaces.layer_kinds import LAYER_KINDS
from search_spaces.layer_modules import LAYER_MODULES

MERGED = {
    "hardware_profiles.onnx_operations": {"MODULES", "FUNCTIONS", "METHODS"},
    "search_spaces.layer_kinds": {"LAYER_KINDS"},
    "search_spaces.layer_modules": {"LAYER_MODULES"},
}


def parts_of_catalogues(module) -> dict[str, list[str]]:
    """Names of the dictionaries, `{**PART, **PART}` in the source, by the name of the whole."""
    found = {}
    for node in ast.parse(Path(module.__file__).read_text()).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            assert not any(node.value.keys), "entries of its own, which no check would see"
            found[ast.unparse(node.target)] = [ast.unparse(part) for part in node.value.values]
    return found


@pytest.mark.parametrize("name", MERGED)
def test_no_key_is_in_two_parts(name):
    module = importlib.import_module(name)
    catalogues = parts_of_catalogues(module)
    assert set(catalogues) == MERGED[name]
    for whole, parts in catalogues.items():
        assert len(parts) > 1
        for first, second in itertools.combinations(parts, 2):
            both = set(getattr(module, first)) & set(getattr(module, second))
            assert not both, f"{whole}: {both} in {first} and {second}"


def test_every_kind_of_layer_has_formulas_and_a_module():
    assert LAYER_KINDS.keys() == LAYER_MODULES.keys()
