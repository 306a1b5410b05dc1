"""Jacobian covariance: how differently a network answers to different samples
(arXiv:2006.04647v1).
"""

import math

import torch
from torch import Tensor

from predictors.zero_cost.network_parts import run_from_entries, total
from predictors.zero_cost.probe import Probe, gradients_of

SMALLEST = 1e-5  # added to eigenvalues


def jacobian_covariance(probe: Probe) -> float:
    """Return -sum of log(v + 1e-5) + 1 / (v + 1e-5) over the eigenvalues v of the correlations
    between samples' gradients of the summed outputs by the inputs.

    Needs data but no labels; for token ids, gradients are by the outputs of embeddings. Minus
    infinity where a sample's gradient is constant, as in a network that reads no input.
    """
    entries: list[Tensor] = []

    def followed(tensor: Tensor) -> Tensor:
        entries.append(tensor.detach().requires_grad_())
        return entries[-1]

    outputs = run_from_entries(probe.network(), probe.batch.inputs, followed)
    by_sample = [entry for entry in entries if len(entry) == len(probe.batch)]
    gradients = gradients_of(total(outputs), by_sample)
    jacobian = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1).double()  # b x f
    if (jacobian == jacobian[:, :1]).all(dim=1).any():
        return -math.inf
    eigenvalues = torch.linalg.eigvalsh(torch.corrcoef(jacobian)).clamp(min=0) + SMALLEST
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())
