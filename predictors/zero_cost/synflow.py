"""SynFlow: flow through all paths of a network (arXiv:2006.05467)."""

import torch

from predictors.zero_cost.network_parts import (
    NORMS,
    RECTIFIERS,
    replace_parts,
    run_from_entries,
    total,
    weighted_layers,
)
from predictors.zero_cost.probe import Probe, gradients_of


def synflow(probe: Probe) -> float:
    """Return log of the sum of W * dR/dW over the weights of convolutions and linear layers.

    R is the sum of the outputs for one input of ones, all parameters replaced by their absolute
    values, in double precision. As in the code of arXiv:2101.08134, norms are the identity; so are
    the nonlinearities of units, which ReLU is anyway for what is never negative. Gates and softmax
    stay. The logarithm changes no order and keeps deep networks in range. Needs neither data nor
    labels; ones stand in for the outputs of embeddings, masks are those of the first sample. Minus
    infinity where no path leads through.
    """
    network = probe.network().double()
    replace_parts(network, (*NORMS, *RECTIFIERS))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    weights = [layer.weight for layer in weighted_layers(network)]
    inputs = tuple(_double(one[:1]) for one in probe.batch.inputs)
    outputs = run_from_entries(network, inputs, torch.ones_like)
    gradients = gradients_of(total(outputs), [*weights])
    flow = sum((w.detach() * g).sum() for w, g in zip(weights, gradients, strict=True))
    return float(torch.as_tensor(flow).log())


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
