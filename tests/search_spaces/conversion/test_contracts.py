"""The contracts of spaces, supernets and elastic layers on converted networks."""

import numpy as np
import pytest

from search_spaces import Architecture, LayerSpec, SearchSpace
from search_spaces.supernet import Supernet
from tests.contracts.elastic_contract import ElasticContract
from tests.contracts.space_contract import SpaceContract
from tests.contracts.supernet_contract import SupernetContract
from tests.search_spaces.conversion.converted import converted
from tests.search_spaces.conversion.networks import NETWORKS

WITHOUT_BATCH_NORMS = {"vgg", "text", "gates", "tied_weights", "many_widths", "patches"}


class TestSpaces(SpaceContract):
    """Of a network with conditions on depths, and of one without."""

    @pytest.fixture(params=["mobilenet_v2", "text", "gates"])
    def space(self, request) -> SearchSpace:
        return converted(request.param).elastic.space


class TestSupernets(SupernetContract):
    """Of every network."""

    has_buffers = True

    @pytest.fixture(params=sorted(NETWORKS))
    def name(self, request) -> str:
        return request.param

    @pytest.fixture
    def space(self, name) -> SearchSpace:
        return converted(name).elastic.space

    @pytest.fixture
    def supernet(self, name) -> Supernet:
        return converted(name).supernet()
