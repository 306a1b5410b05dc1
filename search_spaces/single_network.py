"""One architecture of a supernet as a network of its own."""

from typing import cast

import torch

from search_spaces.architecture import Architecture
from search_spaces.elastic import ElasticLayer
from search_spaces.supernet import Supernet


def single_network(supernet: Supernet, architecture: Architecture) -> Supernet:
    """Return one architecture with copies of its weights, to be trained as a supernet is.

    It is a supernet of this architecture only: it runs, drops out and is extracted in the same way,
    its norms on the statistics of the batch; kernels that were mapped are plain weights in it.

    Raises:
        InputError: the architecture is of another space.
    """
    layers = supernet.network(architecture).layers
    alone = Supernet(supernet.space, only=architecture).to(next(supernet.parameters()))
    with torch.no_grad():
        for layer in layers:
            shared, own = (cast(ElasticLayer, one.slots[layer.name]) for one in (supernet, alone))
            for name, weight in shared.slice(layer.spec).items():
                own.weight(name).copy_(weight)
    return alone
