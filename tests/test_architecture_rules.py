"""Rules about the code itself."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hardware_profiles.runtimes import RUNTIMES
from nas.searching.searchers import SEARCHERS
from nas.training import STRATEGIES
from predictors.accuracy import ACCURACY_PREDICTORS
from predictors.encodings import ENCODINGS
from predictors.latency import LATENCY_PREDICTORS
from predictors.zero_cost import ZERO_COST
from search_spaces import SPACES, build_space
from tests.conftest import ROOT

PACKAGES = ("search_spaces", "hardware_profiles", "predictors", "nas")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_go_one_way():
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_rules_of_imports_are_there():
    """An empty configuration keeps every rule."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(rules["root_packages"]) == set(PACKAGES)
    layers = [rule["layers"] for rule in rules["contracts"] if rule["type"] == "layers"]
    assert ["nas", "predictors", "hardware_profiles", "search_spaces"] in layers
    forbidden = [rule for rule in rules["contracts"] if rule["type"] == "forbidden"]
    assert any(rule["source_modules"] == ["hardware_profiles.profile_device"] for rule in forbidden)


def forbidden_uses(tree: ast.AST) -> list[str]:
    """Names of what runs code that a file holds, or lets one be loaded."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if [alias.name for alias in node.names] != ["UnpicklingError"]:  # runs nothing
                found += [node.module or ""]
        elif isinstance(node, ast.Call) and "weights_only=True" not in map(
            ast.unparse, node.keywords
        ):
            found.append(ast.unparse(node.func) + "()")
    bad = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    calls = {"eval()", "exec()", "torch.load()", "torch.save()", "compile()", "os.system()"}
    return [name for name in found if name.split(".")[0] in bad or name in calls]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_is_loaded_that_could_run_code(path):
    text = path.read_text()
    assert forbidden_uses(ast.parse(text)) == []
    assert "allow_pickle=True" not in text


def test_the_check_above_finds_what_it_looks_for():
    code = "import pickle\nfrom joblib import load\ntorch.load(f)\neval('1')\nexec(x)\nmodel.eval()"
    found = forbidden_uses(ast.parse(code))
    assert found == ["pickle", "joblib", "torch.load()", "eval()", "exec()"]
    assert forbidden_uses(ast.parse("torch.load(f, weights_only=True)")) == []
    assert forbidden_uses(ast.parse("torch.load(f, weights_only=False)")) == ["torch.load()"]
    assert forbidden_uses(ast.parse("from pickle import UnpicklingError")) == []
    assert forbidden_uses(ast.parse("from pickle import loads")) == ["pickle"]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_random_numbers_come_from_a_generator_that_was_passed(path):
    """No global seeding, no `.cuda()`: randomness and device are arguments."""
    calls = [
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]
    assert not [call for call in calls if call.startswith(("np.random.seed", "random.seed"))]
    assert not [call for call in calls if call.endswith(".cuda")]


def test_every_package_is_typed():
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)


CATALOGUES = {
    "spaces": SPACES,
    "runtimes": RUNTIMES,
    "latency predictors": LATENCY_PREDICTORS,
    "strategies": STRATEGIES,
    "searchers": SEARCHERS,
    "accuracy predictors": ACCURACY_PREDICTORS,
    "encodings": ENCODINGS,
    "zero-cost proxies": ZERO_COST,
}


@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_names_of_catalogues_are_words_with_hyphens(catalogue):
    names = list(CATALOGUES[catalogue])
    assert names
    for name in names:
        assert re.fullmatch(r"[a-z0-9]+(\.[0-9]+)?(-[a-z0-9]+(\.[0-9]+)?)*", name), name


@pytest.mark.parametrize("name", SPACES)
def test_spaces_are_versioned_by_their_name(name):
    versioned, _, version = build_space(name).name.rpartition("@")
    assert versioned == name
    assert version.isdigit()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_names_of_files_say_what_is_in_them(path):
    assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "common", "manager"}
