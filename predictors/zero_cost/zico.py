"""ZiCo: weights whose gradients are large and agree (arXiv:2301.11300)."""

import math

import torch

from predictors.zero_cost.network_parts import weighted_layers
from predictors.zero_cost.probe import Probe, gradients_of


def zico(probe: Probe) -> float:
    """Return the sum over convolutions and linear layers of log(sum of E|g| / sqrt(Var g)).

    g is the gradient of a weight; mean and variance are over two mini-batches, the halves of the
    batch, as ZiCo needs at least two. As in the authors' code, the variance is of g (not of |g|),
    and weights whose gradient does not vary are left out, with layers that hold no other. Needs
    data and labels. Minus infinity where no gradient varies.
    """
    network, batch = probe.network(), probe.batch
    weights = [layer.weight for layer in weighted_layers(network)]
    half = len(batch) // 2
    first, second = (
        gradients_of(batch.loss_of(network, rows), [*weights])
        for rows in (slice(half), slice(half, 2 * half))
    )
    layers = [_ratios(a, b) for a, b in zip(first, second, strict=True)]
    scores = [float(one.log()) for one in layers if one > 0]
    return sum(scores) if scores else -math.inf


def _ratios(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the sum of mean absolute gradients over standard deviations, of two gradients."""
    deviation = (first - second).abs()  # the halves of both cancel
    varies = deviation > 0
    return ((first.abs() + second.abs())[varies] / deviation[varies]).sum()
