"""The contracts of spaces, supernets and elastic layers on converted networks."""

import numpy as np
import pytest

from search_spaces import LayerSpec, SearchSpace
from search_spaces.supernet import Supernet
from tests.contracts.elastic_contract import ElasticContract
from tests.contracts.space_contract import SpaceContract
from tests.contracts.supernet_contract import SupernetContract
from tests.search_spaces.conversion.converted import converted

WITH_BATCH_NORMS = {
    "resnet", "mobilenet_v2", "convolutions_1d", "two_outputs", "densenet", "unet",
    "squeeze_excite", "shufflenet",
}  # fmt: skip


class TestSpaces(SpaceContract):
    """Of a network with conditions on depths, and of one with a single dimension."""

    @pytest.fixture(params=["mobilenet_v2", "gates"])
    def space(self, request) -> SearchSpace:
        return converted(request.param).elastic.space


WHOLE = [
    "mobilenet_v2", "convolutions_1d", "two_outputs", "encoder_frames_post", "text", "densenet",
    "unet", "shufflenet", "gates", "patches",
]  # fmt: skip


class TestSupernets(SupernetContract):
    """Of networks that differ in what they are made of; `test_same_network.py` has all."""

    has_buffers = True
    least_spread = 1e-3
    least_share_with_gradient = 0.4  # two ids of a vocabulary are read, and some channels are dead

    @pytest.fixture(params=WHOLE)
    def name(self, request) -> str:
        return request.param

    @pytest.fixture
    def space(self, name) -> SearchSpace:
        return converted(name).elastic.space

    @pytest.fixture
    def supernet(self, name) -> Supernet:
        self.has_batch_norms = name in WITH_BATCH_NORMS
        return converted(name).supernet()

    @pytest.fixture
    def population(self, space) -> np.ndarray:
        ends = np.concatenate([space.smallest(), space.largest()])
        n = min(12, space.num_architectures)
        others = space.sample_distinct(n, np.random.default_rng(0))
        return space.unique(np.concatenate([ends, others]))[:6]

    def test_onnx_file_computes_the_same(self, space, supernet, architectures):
        if "ids" not in space.inputs:  # whose answers differ too little; `test_converted_onnx.py`
            super().test_onnx_file_computes_the_same(space, supernet, architectures)


def specs_of(network: str, slot: str) -> list[LayerSpec]:
    """What a slot of a converted network can hold: the smallest first, the largest last."""
    space = converted(network).elastic.space
    specs = dict(space.layers.slot_specs())[slot]
    return sorted(specs, key=lambda spec: [spec[f"size{i}"] for i in range(8)])


SLOTS = [
    ("mobilenet_v2", "features_3_conv_3"),  # depthwise, of any kernel
    ("shufflenet", "last_0"),  # in groups
    ("densenet", "transition_0"),  # reads a concatenation
    ("vgg", "classifier_0"),  # reads flattened pixels
    ("unet", "up2"),  # transposed
    ("patches", "blocks_0_project"),  # heads side by side
    ("convolutions_1d", "4"),  # in groups of a norm
    ("text", "words"),  # embedded ids
]


class TestLayers(ElasticContract):
    """Of every way in which channels lie."""

    has_buffers = True

    @pytest.fixture(params=SLOTS, ids="-".join)
    def specs(self, request) -> list[LayerSpec]:
        return specs_of(*request.param)
