"""Networks of tests, each converted once: tests look at them and leave them as they are."""

import copy
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from search_spaces import Architecture
from search_spaces.conversion.elasticize import Elastic, elasticize
from search_spaces.supernet import Supernet
from tests.search_spaces.conversion.networks import NETWORKS, seeded


@dataclass(frozen=True)
class Converted:
    """A network and what it became."""

    network: nn.Module
    example: tuple[Tensor, ...]
    elastic: Elastic

    @property
    def largest(self) -> Architecture:
        """The architecture that is the network itself."""
        return self.elastic.space.decode(self.elastic.space.largest()[0])

    @property
    def smallest(self) -> Architecture:
        return self.elastic.space.decode(self.elastic.space.smallest()[0])

    def changed(self, **values: object) -> Architecture:
        """The largest architecture with other values of some dimensions; `__` stands for dots."""
        named = {name.replace("__", "."): value for name, value in values.items()}
        return self.elastic.space.architecture({**self.largest.values, **named})

    def supernet(self) -> Supernet:
        """A copy of the supernet that a test may change."""
        return copy.deepcopy(self.elastic.supernet)

    def batch(self, size: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Random inputs; of whole numbers, those of the example in another order."""
        generator = torch.Generator().manual_seed(seed)
        inputs = []
        for one in self.example:
            shape = (size, *one.shape[1:])
            if one.is_floating_point():
                inputs.append(torch.randn(shape, generator=generator))
            else:
                most = int(one.max()) + 1
                inputs.append(torch.randint(0, most, shape, generator=generator))
        return tuple(inputs)


@cache
def converted(name: str) -> Converted:
    """A network of `NETWORKS`."""
    network, example = seeded(NETWORKS[name])
    return Converted(network, example, elasticize(network, example, name=name.replace("_", "-")))


def several(outputs: object) -> list[Tensor]:
    """Outputs of a network, in order."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs.values()) if isinstance(outputs, dict) else list(outputs)  # type: ignore[call-overload]
