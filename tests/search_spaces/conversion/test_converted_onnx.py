"""Subnets of converted networks as ONNX files, run by ONNX Runtime against torch."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hardware_profiles.onnx_graph import (
    IR_VERSION,
    OPSET,
    UnknownOperationError,
    emitted_model,
    onnx_model,
)
from hardware_profiles.profile_device import onnx_session
from search_spaces.conversion.elasticize import elasticize
from tests.contracts.inputs import random_inputs
from tests.search_spaces.conversion.networks import NETWORKS, seeded

TOLERANCE = 1e-4  # of the greatest output


def converted(name):
    return elasticize(*seeded(NETWORKS[name]))


def subnets(elastic):
    """(subnet, what it takes) of the smallest, the largest and three more architectures."""
    space = elastic.space
    genomes = [space.smallest(), space.largest(), space.sample(3, np.random.default_rng(0))]
    for genome in np.concatenate(genomes):
        architecture = space.decode(genome)
        subnet = elastic.supernet.extract(architecture)
        inputs = elastic.supernet.inputs(architecture)
        with torch.no_grad():  # norms of subnets begin without knowing their inputs
            subnet.train()(*random_inputs(inputs, 8, seed=0, vocabulary=100))
        yield subnet.eval(), inputs


class Cubic(nn.Module):
    """Samples by an operation that no emitter knows."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, padding=1)
        self.output = nn.Conv2d(16, 2, 1)

    def forward(self, x):
        hidden = self.second(F.relu(self.first(x)))
        return self.output(F.interpolate(hidden, scale_factor=2, mode="bicubic"))


def test_exporter_of_torch_writes_subnets_that_no_emitter_knows():
    torch.manual_seed(0)
    elastic = elasticize(Cubic(), torch.randn(2, 3, 8, 8))
    with pytest.raises(UnknownOperationError, match="upsample_bicubic2d"):
        emitted_model(*next(subnets(elastic)))
    assert_same(elastic, list(subnets(elastic))[:2])


@pytest.mark.parametrize("name", NETWORKS)
def test_subnets_of_converted_networks_compute_the_same(name):
    elastic = converted(name)
    assert_same(elastic, subnets(elastic))


def assert_same(elastic, several):
    """Compare, and check what the files say of themselves."""
    outputs = tuple(elastic.space.outputs)
    for subnet, inputs in several:
        model = onnx_model(subnet, inputs, {"space": elastic.space.name}, outputs)
        onnx.checker.check_model(model, full_check=True)
        assert model.ir_version == IR_VERSION
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
        assert [value.name for value in model.graph.input] == list(inputs)
        assert [value.name for value in model.graph.output] == list(outputs)
        session = onnx_session(model.SerializeToString())
        for batch in (1, 3):
            given = random_inputs(inputs, batch, seed=batch, vocabulary=100)
            with torch.no_grad():
                results = subnet(*given)
            expected = results if isinstance(results, tuple) else (results,)
            feeds = {key: value.numpy() for key, value in zip(inputs, given, strict=True)}
            for found, result in zip(session.run(None, feeds), expected, strict=True):
                assert found.shape == tuple(result.shape)
                greatest = result.abs().max().item()
                assert greatest > 0
                assert np.abs(found - result.numpy()).max() <= TOLERANCE * greatest


@pytest.mark.parametrize("name", NETWORKS)
def test_none_of_them_needs_the_exporter_of_torch(name):
    elastic = converted(name)
    subnet, inputs = next(subnets(elastic))
    emitted_model(subnet, inputs, tuple(elastic.space.outputs))
