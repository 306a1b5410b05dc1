import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from search_spaces import SPACES, Dimension, InputError, SearchSpace, build_space
from search_spaces.mobilenet import DIGITS, mobilenet_space
from tests.contracts.cached_spaces import cached_space
from tests.contracts.space_contract import SpaceContract
from tests.contracts.supernet_contract import SupernetContract


class TestCatalogueSpaces(SpaceContract):
    @pytest.fixture(params=sorted(SPACES))
    def space(self, request):
        return cached_space(request.param)

    def test_name_is_versioned(self, space):
        name, _, version = space.name.partition("@")
        assert name in SPACES
        assert version.isdigit()

    def test_levels_spread_more_than_uniform_options(self, space):
        rng = np.random.default_rng(0)
        # of MACs, which follow from all dimensions: parameters can be one large table
        uniform = space.layers.costs(space.sample(500, rng)).macs
        levels = space.layers.costs(space.sample_levels(500, rng)).macs
        (least,), (most,) = (
            space.layers.costs(end).macs for end in (space.smallest(), space.largest())
        )
        assert levels.std() > 1.3 * uniform.std()
        assert levels.min() < least + 0.05 * (most - least)
        assert levels.max() > most - 0.05 * (most - least)


class TestHandMadeSpace(SpaceContract):
    """The contract on a chain of activity, every kind of option and a dimension without choice."""

    @pytest.fixture
    def space(self):
        return SearchSpace(
            "hand-made@1",
            [
                Dimension("kind", ("plain", "deep", "deeper")),
                Dimension("blocks", (1, 2), ("kind", frozenset({1, 2}))),
                Dimension("constant", ("only",)),
                Dimension("ratio", (0.25, 0.5, 1.0), ("blocks", frozenset({1}))),
                Dimension("skip", (False, True), ("ratio", frozenset({0, 2}))),
                Dimension("side", (8, 16), ("kind", frozenset({0}))),
            ],
        )


def first_block_space() -> SearchSpace:
    """What the large presets have and the small ones have not, at the size of the small ones."""
    preset = replace(
        DIGITS, name="first-block", resolutions=(12, 16), stem_stride=2, first_block=True
    )
    return mobilenet_space(preset, num_classes=10, input_channels=3)


class TestMobileNetSupernets(SupernetContract):
    """Of the other families, the tests of each hold the contract."""

    @pytest.fixture(
        params=[
            "mobilenet-digits",
            "first-block",
            pytest.param("mobilenet-cifar", marks=pytest.mark.slow),
        ]
    )
    def space(self, request):
        return (
            first_block_space() if request.param == "first-block" else cached_space(request.param)
        )


@pytest.mark.slow
class TestLargeSupernet(SupernetContract):
    """On few architectures of the lowest resolution."""

    @pytest.fixture
    def space(self):
        return cached_space("mobilenet-v3")

    @pytest.fixture
    def population(self, space):
        random = space.sample(1, np.random.default_rng(0))
        population = np.concatenate([space.smallest(), space.largest(), random])
        population[:, [d.name for d in space.dimensions].index("resolution")] = 0
        return population


def test_other_classes_and_channels_reach_the_layers():
    space = build_space("mobilenet-digits", num_classes=7, input_channels=3)
    layers = space.layers.layers(space.largest())
    assert layers[0][1]["in_channels"] == 3
    assert layers[-1][1]["num_classes"] == 7


def test_unknown_space_names_the_nearest():
    with pytest.raises(InputError, match=r"unknown space 'mobilenet-digit'.*'mobilenet-digits'"):
        build_space("mobilenet-digit")
    with pytest.raises(InputError, match=r"unknown space 'zzz'; known: .*mobilenet-v3"):
        build_space("zzz")


def test_import_and_costs_need_numpy_only(pytestconfig):
    # a fresh interpreter: this one has imported torch long ago
    script = (
        "import json, sys, search_spaces\n"
        "for name in search_spaces.SPACES:\n"
        "    space = search_spaces.build_space(name)\n"
        "    space.layers.costs(space.largest())\n"
        "print(json.dumps(sorted({module.split('.')[0] for module in sys.modules})))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=pytestconfig.rootpath,
    )
    loaded = set(json.loads(run.stdout))
    assert "numpy" in loaded
    assert not loaded & {"torch", "scipy", "sklearn", "onnx", "pydantic", "pymoo", "nas"}
