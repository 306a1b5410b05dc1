"""Norm statistics of an extracted subnet."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def calibrate(subnet: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set every batch norm's running mean and variance to their average over `batches`.

    The cumulative mean (momentum None) gives every batch the same weight, whatever the order. The
    weights stay; the subnet is left in eval mode. Batches must be of one size and of at least 2.

    Args:
        batches: images b x c x h x w at the subnet's resolution.
    """
    norms = [module for module in subnet.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    subnet.train()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        with torch.no_grad():
            for images in batches:
                subnet(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        subnet.eval()
