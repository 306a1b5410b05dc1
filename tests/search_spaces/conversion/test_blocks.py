"""What stays of a network whose residual blocks are left out is a network still."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.conversion.elasticize import Elastic, elasticize


class Denoiser(nn.Module):
    """Nothing but a block: without it, it would give what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return images + self.last(F.relu(self.first(images)))


class TwoDenoisers(nn.Module):
    """Of which one can be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Denoiser(), Denoiser()

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images))


class Conditioned(nn.Module):
    """A block alone reads the second input; one of its modules has the input's name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.scale = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.wide, self.head = nn.Conv2d(16, 32, 1), nn.Linear(32, 5)

    def forward(self, images: Tensor, scale: Tensor) -> Tensor:
        hidden = F.relu(self.stem(images))
        hidden = hidden + self.scale(hidden) * scale
        return self.head(F.relu(self.wide(hidden)).mean((2, 3)))


IMAGES = torch.randn(2, 3, 8, 8)


def depths(elastic: Elastic) -> list[tuple[object, ...]]:
    return [d.options for d in elastic.space.dimensions if d.name.endswith("depth")]


@pytest.mark.parametrize(
    "network, example, expected",
    [
        (Denoiser(), (IMAGES,), []),
        (TwoDenoisers(), (IMAGES,), [(1, 2)]),
        (Conditioned(), (IMAGES, torch.randn(2, 16, 1, 1)), []),
    ],
    ids=["one", "two", "inputs"],
)
def test_every_subnet_reads_all_inputs_and_computes_its_outputs(network, example, expected):
    elastic = elasticize(network, example)
    space, supernet = elastic.space, elastic.supernet
    assert depths(elastic) == expected
    for genome in [*space.smallest(), *space.sample(8, np.random.default_rng(0))]:
        architecture = space.decode(genome)
        with torch.no_grad():
            found = supernet(example, architecture)
            extracted = supernet.extract(architecture).train()(*example)
        assert torch.allclose(found, extracted, atol=1e-6)
        assert all(not torch.equal(found, one) for one in example)
