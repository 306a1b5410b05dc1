"""NASWOT: how differently units switch on different samples (arXiv:2006.04647)."""

import torch
from torch import Tensor

from predictors.zero_cost.network_parts import RECTIFIERS
from predictors.zero_cost.probe import Probe
from search_spaces import InputError


def naswot(probe: Probe) -> float:
    """Return log det(K + I), K_ij the number of units that agree on samples i and j.

    A unit is one number that enters a ReLU, on where it is above 0. Other nonlinearities of units
    (GELU, hard swish, tanh ...) count the same way, by the sign of what enters them; gates and
    softmax do not. I, one more unit that tells all samples apart, keeps the determinant above 0
    where samples are equal to the network. Needs data but no labels.

    Raises:
        InputError: the network has no nonlinearity as a module of its own.
    """
    network = probe.network()
    size = len(probe.batch)
    kernel = torch.eye(size, dtype=torch.float64)

    def add(_: object, entered: tuple[Tensor, ...]) -> None:
        signs = (entered[0] > 0).flatten(1).float() * 2 - 1  # b x units
        kernel.add_((signs @ signs.T + signs.shape[1]).double().cpu() / 2)

    units = [child for child in network.modules() if isinstance(child, RECTIFIERS)]
    if not units:
        raise InputError("naswot: expected a network with nonlinearities as modules, found none")
    for unit in units:
        unit.register_forward_pre_hook(add)
    with torch.no_grad():
        network(*probe.batch.inputs)
    return float(torch.linalg.slogdet(kernel).logabsdet)
