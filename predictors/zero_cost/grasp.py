"""GraSP: what removing each weight would do to the flow of gradients (arXiv:2002.07376)."""

import math
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from predictors.zero_cost.network_parts import replace_parts, weighted_layers
from predictors.zero_cost.probe import Probe, gradients_of


class _Hardsigmoid(nn.Module):
    """Hard sigmoid by an operation of which torch knows the second derivative."""

    def forward(self, inputs: Tensor) -> Tensor:
        return F.hardtanh(inputs / 6 + 0.5, 0.0, 1.0)


def grasp(probe: Probe) -> float:
    """Return -sum of W * (H g) over the weights of convolutions and linear layers.

    g is the gradient of the loss of the batch by these weights and H its Hessian; the product is
    exact, by following g * g back (the temperature of the paper's softmax is 1). Signed and summed
    as in arXiv:2101.08134. Needs data and labels. Without any gradient it is minus infinity: 0
    would be better than most networks.
    """
    network = probe.network()
    replace_parts(network, (nn.Hardsigmoid,), _Hardsigmoid)
    weights = [layer.weight for layer in weighted_layers(network)]
    gradients = gradients_of(probe.batch.loss_of(network), [*weights], create_graph=True)
    if not any(gradient.any() for gradient in gradients):
        return -math.inf
    half_squared = cast(Tensor, sum((one.detach() * one).sum() for one in gradients))
    products = gradients_of(half_squared, [*weights])
    pairs = zip(weights, products, strict=True)
    return -float(sum((weight.detach() * product).sum() for weight, product in pairs))
