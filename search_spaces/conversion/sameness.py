"""The largest architecture is the network itself, or the network is refused."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.errors import InputError
from search_spaces.space import SearchSpace
from search_spaces.supernet import Supernet


def check_same(
    model: nn.Module, space: SearchSpace, supernet: Supernet, example: tuple[Tensor, ...]
) -> None:
    """Check that the largest architecture answers as the network does, at two sizes of the batch.

    Raises:
        InputError: it does not.
    """
    network = copy.deepcopy(model).cpu().eval()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as subnets
    largest = space.decode(space.largest()[0])
    subnet = supernet.extract(largest).eval()
    for size in (2, 3):
        batch = tuple(torch.cat([t.detach().cpu()] * size)[:size] for t in example)
        with torch.no_grad(), _plain_attention():
            given = [tensor.clone() for tensor in batch]  # which the network may write over
            expected, found = _tensors(network(*given)), _tensors(subnet(*batch))
        for one, other in zip(expected, found, strict=True):
            if one.shape != other.shape or not torch.equal(one.nan_to_num(), other.nan_to_num()):
                difference = (
                    f"by up to {(one - other).abs().max():.2g}"
                    if one.shape == other.shape
                    else f"in shape: {tuple(one.shape)}, {tuple(other.shape)}"
                )
                raise InputError(
                    f"the network answers otherwise once it is traced ({difference}, batch "
                    f"{len(batch[0])}): it depends on something beside its inputs and weights, "
                    "such as the size of the batch or random numbers"
                )


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Keep torch's encoder layers from their fused kernel, which rounds otherwise than they do in
    training.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _tensors(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs.values()) if isinstance(outputs, dict) else list(outputs)
