"""Batch norms of a supernet use the statistics of the batch; only subnets have running ones."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

BatchNorm = _BatchNorm  # of one, two or three spatial dimensions


def without_statistics(module: nn.Module) -> nn.Module:
    """Take the running statistics from all batch norms of a module; return it."""
    for child in module.modules():
        if isinstance(child, BatchNorm):
            child.track_running_stats = False
            child.running_mean = child.running_var = child.num_batches_tracked = None
    return module
