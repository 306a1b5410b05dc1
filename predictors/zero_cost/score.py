"""Proxies of one network, by name."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from predictors.zero_cost.fisher import fisher
from predictors.zero_cost.gradient_norm import gradient_norm
from predictors.zero_cost.grasp import grasp
from predictors.zero_cost.jacobian_covariance import jacobian_covariance
from predictors.zero_cost.macs import macs
from predictors.zero_cost.naswot import naswot
from predictors.zero_cost.parameters import parameters
from predictors.zero_cost.probe import Batch, Probe
from predictors.zero_cost.snip import snip
from predictors.zero_cost.synflow import synflow
from predictors.zero_cost.zen import zen
from predictors.zero_cost.zico import zico
from search_spaces import unknown_name

ZERO_COST: dict[str, Callable[[Probe], float]] = {
    "parameters": parameters,
    "macs": macs,
    "gradient-norm": gradient_norm,
    "snip": snip,
    "grasp": grasp,
    "fisher": fisher,
    "synflow": synflow,
    "jacobian-covariance": jacobian_covariance,
    "naswot": naswot,
    "zen": zen,
    "zico": zico,
}
"""Name -> proxy: a guess at how good a network will be; higher is better."""

WORST = -1e9  # of a network that a proxy can say nothing of, as one that no input reaches
BEST = 1e9  # of one that a proxy cannot count: it overflows


def proxy_score(probe: Probe, name: str) -> float:
    """Return one proxy of a network; a finite number from `WORST`, where it has none, to `BEST`.

    The same probe gives the same score. Weights, buffers, gradients and mode of the probe's network
    stay as they are, and so does the state of torch's global generator.

    Raises:
        InputError: no such proxy, or one that cannot be computed for such a network.
    """
    if name not in ZERO_COST:
        raise unknown_name("zero-cost proxy", name, ZERO_COST)
    # a dropout draws from the global generator; other attention kernels have no second derivative
    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        torch.default_generator.manual_seed(probe.seed)
        score = ZERO_COST[name](probe)
    return WORST if math.isnan(score) else min(max(score, WORST), BEST)


def proxy_scores(
    module: nn.Module, batch: Batch, names: Iterable[str] = tuple(ZERO_COST), seed: int = 0
) -> dict[str, float]:
    """Return several proxies of one network by name; those that need the loss share its pass.

    Raises:
        InputError: as `Probe` and `proxy_score`.
    """
    probe = Probe(module, batch, seed)
    return {name: proxy_score(probe, name) for name in names}
