"""Networks whose weights lie in memory otherwise than a supernet's."""

import torch
from torch import nn

from search_spaces.conversion.elasticize import elasticize


def test_a_network_in_channels_last_is_not_refused():
    """Its convolutions round otherwise than those of the same weights laid out as in a supernet."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    network.to(memory_format=torch.channels_last)
    elastic = elasticize(network, torch.randn(1, 3, 32, 32))
    assert [dimension.options for dimension in elastic.space.dimensions] == [
        (8, 12, 16),
        (16, 24, 32),
    ]
    assert not network[0].weight.is_contiguous(), "the network itself is not changed"
