"""Zen-score: how much features move with Gaussian inputs (arXiv:2102.01063)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from predictors.zero_cost.network_parts import NORMS, WEIGHTED, run_from_entries
from predictors.zero_cost.probe import Probe

PERTURBATION = 0.01
REPEATS = 4  # draws of weights and inputs
POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def zen(probe: Probe) -> float:
    """Return the mean over 4 draws of log E||f(x) - f(x + 0.01 e)|| + sum over norms of log s.

    x and e are standard normal, of the batch's shapes (for token ids, in place of the outputs of
    embeddings), and so are the weights of convolutions and linear layers; norms are at their first
    values. f is what enters the global pool after the last convolution, or the first output where
    there is no such pool. s is what a norm divides by, the root of the mean of its variances for
    x: so the scale that norms take away counts. (The paper has batch norms; layer norms count
    alike. A norm that sees a constant divides nothing and is left out.) Needs neither data nor
    labels, and looks at no given weight. Minus infinity where nothing moves.
    """
    network, generator = probe.network(), probe.generator()
    scores = []
    with torch.no_grad():
        for _ in range(REPEATS):
            _draw_weights(network, generator)
            scores.append(_log_change(network, probe.batch.inputs, generator))
    return float(torch.stack(scores).mean())


def _draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    for owner in network.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if isinstance(owner, WEIGHTED) and name == "weight":
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            elif isinstance(owner, NORMS) and name == "weight":
                parameter.fill_(1)
            else:
                parameter.zero_()


def _log_change(
    network: nn.Module, inputs: tuple[Tensor, ...], generator: torch.Generator
) -> Tensor:
    drawn: list[Tensor] = []
    variances: list[Tensor] = []

    def normal(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    def draw(tensor: Tensor) -> Tensor:
        drawn.append(normal(tensor))
        return drawn[-1]

    def record(norm: nn.Module, entered: tuple[Tensor, ...]) -> None:
        variances.append(_divided_variance(norm, entered[0]))

    norms = [child for child in network.modules() if isinstance(child, NORMS)]
    hooks = [norm.register_forward_pre_hook(record) for norm in norms]
    try:
        features = _features(network, inputs, draw)
    finally:
        for hook in hooks:
            hook.remove()
    moved = iter([entry + PERTURBATION * normal(entry) for entry in drawn])
    change = _features(network, inputs, lambda _: next(moved)) - features
    distance = torch.linalg.vector_norm(change.flatten(1), dim=1).mean()
    log_scales = [variance.log() / 2 for variance in variances if variance > 0]
    return torch.stack([distance.log(), *log_scales]).sum()


def _divided_variance(norm: nn.Module, entered: Tensor) -> Tensor:
    """Return the mean of the variances (of an RMS norm, of the squares) that a norm divides by."""
    if isinstance(norm, nn.RMSNorm):
        return entered.square().mean()
    if isinstance(norm, nn.LayerNorm):
        groups = entered.flatten(-len(norm.normalized_shape))
    elif isinstance(norm, nn.GroupNorm):
        groups = entered.reshape(len(entered), norm.num_groups, -1)
    else:  # batch norms
        groups = entered.transpose(0, 1).flatten(1)
    return groups.var(dim=-1, correction=0).mean()


def _features(
    network: nn.Module, inputs: tuple[Tensor, ...], replaced: Callable[[Tensor], Tensor]
) -> Tensor:
    pooled: list[Tensor] = []
    hooks = [
        part.register_forward_pre_hook(lambda _, entered: pooled.append(entered[0]))
        if isinstance(part, POOLS)
        else part.register_forward_pre_hook(lambda _, __: pooled.clear())
        for part in network.modules()
        if isinstance(part, (*POOLS, *CONVOLUTIONS))
    ]
    try:
        outputs = run_from_entries(network, inputs, replaced)
    finally:
        for hook in hooks:
            hook.remove()
    return pooled[0] if pooled else outputs if isinstance(outputs, Tensor) else outputs[0]
