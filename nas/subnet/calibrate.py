"""Norm statistics of an extracted subnet."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def calibrate(subnet: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Set every batch norm's running mean and variance to their average over `batches`.

    The cumulative mean (momentum None) gives every batch the same weight, whatever the order. The
    weights stay; the subnet is left in eval mode. Batches must be of one size and of at least 2; a
    subnet without batch norms is not run.

    Args:
        batches: inputs of the subnet, each b x ..., at its sizes.
    """
    norms = batch_norms(subnet)
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        with batch_statistics(subnet), torch.no_grad():
            for inputs in batches if norms else ():
                subnet(*inputs)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of a module, of any number of dimensions."""
    return [child for child in module.modules() if isinstance(child, _BatchNorm)]


@contextmanager
def batch_statistics(subnet: nn.Module) -> Iterator[None]:
    """Let the norms of a subnet, and nothing else of it, be in training mode; then all in eval."""
    subnet.eval()
    try:
        for norm in batch_norms(subnet):
            norm.train()
        yield
    finally:
        subnet.eval()
