"""The code of the page, run as a reader would run it."""

import importlib
import json
import re
import shlex
import subprocess
import sys

import pytest

from nas.exporting.manifest import Manifest
from nas.exporting.verify import verify_folder
from search_spaces import InputError, LayerSpec, SearchSpace, build_space
from search_spaces.elastic import ELASTIC_LAYERS
from search_spaces.layer_kinds import LAYER_KINDS
from search_spaces.layer_modules import LAYER_MODULES, layer_skeleton, parameter_shapes
from search_spaces.registration import register_layer_kind
from tests.conftest import ROOT
from tests.contracts.elastic_contract import ElasticContract
from tests.contracts.space_contract import SpaceContract
from tests.contracts.supernet_contract import SupernetContract
from tests.nas.command_line import nas_script
from tests.nas.settings import LEAST

PAGE = ROOT / "docs" / "adding_a_family.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
NAME = "python:my_family:small_images"


@pytest.fixture(scope="module")
def page_space(tmp_path_factory) -> SearchSpace:
    """The space of the page, its file in a folder of its own; nothing of it stays."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "my_family.py").write_text("\n\n".join(BLOCKS))
    catalogues = (LAYER_KINDS, LAYER_MODULES, ELASTIC_LAYERS)
    before = [dict(catalogue) for catalogue in catalogues]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield build_space(NAME)
    sys.path.remove(str(folder))
    sys.modules.pop("my_family")
    for catalogue, entries in zip(catalogues, before, strict=True):
        catalogue.clear()
        catalogue.update(entries)
    for cached in (layer_skeleton, parameter_shapes):
        cached.cache_clear()


def test_the_family_is_short():
    lines = [line for block in BLOCKS for line in block.splitlines()]
    assert 50 < len(lines) < 100


class TestSpaceOfThePage(SpaceContract):
    @pytest.fixture
    def space(self, page_space):
        return page_space


class TestSupernetOfThePage(SupernetContract):
    @pytest.fixture
    def space(self, page_space):
        return page_space


class TestKindOfThePage(ElasticContract):
    @pytest.fixture
    def specs(self, page_space) -> list[LayerSpec]:
        found = [spec for spec in page_space.layers.specs if spec.kind == "depthwise_block"]
        found.sort(key=lambda spec: (spec["in_channels"], spec["mid_channels"], spec["kernel"]))
        return [found[0], found[3], found[-4], found[-1]]


# --- registration ---------------------------------------------------------------------------------


def test_the_space_can_be_built_again_for_other_data(page_space):
    again = build_space(NAME, num_classes=3, input_channels=2)
    assert again.layers.specs[0]["in_channels"] == 2
    assert again.num_architectures == page_space.num_architectures == 3 * (4 + 4**2 + 4**3)


def test_a_name_that_is_taken_is_refused(page_space):
    kind, module = LAYER_KINDS["depthwise_block"], LAYER_MODULES["depthwise_block"]
    with pytest.raises(InputError, match="expected a new name for a layer kind, got 'conv_norm'"):
        register_layer_kind("conv_norm", kind, module)
    with pytest.raises(InputError, match="'depthwise_block', which is taken"):
        register_layer_kind("depthwise_block", kind, lambda spec: module(spec))
    assert LAYER_MODULES["depthwise_block"] is module


def test_a_kind_may_bring_its_own_way_of_sharing(page_space):
    class Mirrored(ELASTIC_LAYERS["res2_block"]):
        pass

    kind, module = LAYER_KINDS["res2_block"], LAYER_MODULES["res2_block"]
    register_layer_kind("mirrored_block", kind, module, Mirrored)
    fields = {"in_channels": 4, "mid_channels": 8, "scale": 4, "squeeze_channels": 2}
    fields |= {"kernel": 3, "dilation": 1, "frames": 5}
    assert LayerSpec.of("mirrored_block", fields)["frames"] == 5
    assert ELASTIC_LAYERS["mirrored_block"] is Mirrored


# --- run it ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_family_runs_as_the_page_says(page_space, tmp_path):
    """By the command of the page, in the folder of the file, where nothing is registered yet."""
    (command,) = re.findall(r"^    (nas run .*)$", PAGE.read_text(), re.MULTILINE)
    (tmp_path / "my_family.py").write_text("\n\n".join(BLOCKS))
    settings = [part for setting in (*LEAST, "data.max_samples=640") for part in ("--set", setting)]
    process = subprocess.run(
        [nas_script(), *shlex.split(command)[1:], *settings, "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout)
    folder = tmp_path / "runs" / "small-images" / "subnets" / result["winner"]["architecture_id"]
    checks = verify_folder(folder).checks
    assert all(check.ok for check in checks if check.name != "latency"), checks
    manifest = Manifest.load(folder / "manifest.json")
    assert manifest.space == page_space.name
    assert all(parity.ok for parity in manifest.parity.values())
    assert (tmp_path / "runs" / "small-images" / "report.html").is_file()
