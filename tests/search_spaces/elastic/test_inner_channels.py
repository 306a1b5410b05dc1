import copy

import pytest
import torch
from torch import nn

from search_spaces import LayerSpec
from search_spaces.elastic.inner_channels import INNER_CHANNELS, InnerChannels, positions
from search_spaces.layer_modules import LAYER_MODULES, layer_module, parameter_shapes
from tests.contracts.elastic_contract import inputs_of
from tests.contracts.supernet_contract import randomise
from tests.search_spaces.elastic.test_elastic_layers import FIELDS

WITHOUT = {
    "attention_mask", "cell_operation", "concat", "concat_1d", "conv_norm", "conv_norm_1d",
    "convolution", "factorized_reduce", "max_pool", "norm_relu", "patch_embedding",
    "pointwise_1d", "pooled_embedding", "reduction_block", "relu_conv_norm",
    "residual_convolution", "sequence_classifier", "statistics_pooling", "sum", "sum_1d",
    "text_embedding", "token_classifier",
}  # fmt: skip


def outputs_of(module: nn.Module, spec: LayerSpec) -> torch.Tensor:
    """In float64, so that no order of sums shows."""
    inputs = (one.double() if one.is_floating_point() else one for one in inputs_of(spec, 4, 0))
    with torch.no_grad():
        return module(*inputs)


def permute(module: nn.Module, spec: LayerSpec, channels: InnerChannels, seed: int) -> None:
    weights = dict(module.named_parameters())
    block = spec[channels.block] if channels.block else 1
    tiles = spec[channels.tiles] if channels.tiles else 1
    n = weights[channels.read_by].shape[1] // (tiles * block)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, dimension in channels.places(weights):
            weight = weights[name]
            there = positions(order, weight.shape[dimension], block)
            weight.copy_(weight.index_select(dimension, there))


def test_every_kind_has_inner_channels_or_none():
    assert INNER_CHANNELS.keys().isdisjoint(WITHOUT)
    ours = {kind for kind in LAYER_MODULES if not kind.startswith("own_")}  # not of other tests
    assert INNER_CHANNELS.keys() | WITHOUT == ours - {"program"}  # has orders of its own


@pytest.mark.parametrize("kind", INNER_CHANNELS)
def test_another_order_of_inner_channels_is_the_same_function(kind):
    moved: set[int] = set()
    for fields in FIELDS[kind]:
        spec = LayerSpec.of(kind, fields)
        module = layer_module(spec).double().train()
        randomise(module, seed=0)
        expected = outputs_of(module, spec)
        names = dict(module.named_parameters())
        for i, channels in enumerate(INNER_CHANNELS[kind]):
            if channels.read_by not in names or channels.written_by not in names:
                continue
            other = copy.deepcopy(module)
            permute(other, spec, channels, seed=1)
            torch.testing.assert_close(outputs_of(other, spec), expected, rtol=1e-9, atol=1e-9)
            if not torch.equal(other.get_parameter(channels.read_by), names[channels.read_by]):
                moved.add(i)
    assert moved == set(range(len(INNER_CHANNELS[kind])))


@pytest.mark.parametrize("kind", INNER_CHANNELS)
def test_every_pattern_names_a_weight(kind):
    names = {n for fields in FIELDS[kind] for n in parameter_shapes(LayerSpec.of(kind, fields))}
    for channels in INNER_CHANNELS[kind]:
        assert {channels.read_by, channels.written_by} <= names
        for place in channels.held_by:
            alone = InnerChannels((place,), channels.read_by, channels.written_by)
            assert alone.places(dict.fromkeys(names))


def test_blocks_stay_whole_and_sets_keep_their_places():
    order = torch.tensor([2, 0, 1])
    assert positions(order, 3, 1).tolist() == [2, 0, 1]
    assert positions(order, 6, 2).tolist() == [4, 5, 0, 1, 2, 3]
    assert positions(order, 6, 1).tolist() == [2, 0, 1, 5, 3, 4]
