"""How far a network's classes are from those of its teacher, in place or external.

Every function takes logits, `b x classes` or `b x classes x ...`, the teacher's detached, and
returns the mean over all but the classes. It is computed in fp32 from log-probabilities, so that
logits of bf16 or of 1e4 give a finite loss and finite gradients.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Distillation = Callable[[Tensor, Tensor], Tensor]

ALPHA_MIN, ALPHA_MAX = -1.0, 1.0  # AlphaNet's
IMPORTANCE_CLIP = 5.0  # greatest power of an importance weight


def cross_entropy(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Return the cross-entropy to the teacher's probabilities (arXiv:1503.02531).

    It has the gradient of KL(teacher || outputs) and is larger by the teacher's entropy.
    """
    return F.cross_entropy(outputs.float(), teacher.float().softmax(dim=1))


def adaptive_alpha_divergence(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Return the larger, sample by sample, of two alpha-divergences.

    That of alpha -1 grows where the network believes in classes that its teacher rules out, that of
    alpha 1, KL(teacher || outputs), where it rules out classes that its teacher believes in. Wang
    et al., AlphaNet (arXiv:2102.07954).
    """
    log_q, log_p = _log_probabilities(outputs, teacher)
    low, low_weights = alpha_divergence(log_q.detach(), log_p, ALPHA_MIN)
    high, high_weights = alpha_divergence(log_q.detach(), log_p, ALPHA_MAX)
    weights = torch.where((low > high).unsqueeze(1), low_weights, high_weights)
    descent = -(weights * log_q).sum(dim=1)
    return (torch.maximum(low, high) + (descent - descent.detach())).mean()


def alpha_divergence(log_q: Tensor, log_p: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Return D(p || q) = E_q[(p/q)^alpha - 1] / (alpha (alpha - 1)), and weights for its gradient.

    The gradient of D with respect to what makes q is that of -sum(weights log q) with constant
    weights. Powers of p/q, the importance weights, are clipped in both; at alpha 1, KL(p || q),
    the weights are p and need no clip. Wang et al. (arXiv:2102.07954).

    Args:
        log_q: log-probabilities of the network, `b x classes x ...`, detached.
        log_p: those of the teacher.
        alpha: any number but 0.

    Returns:
        D, `b x ...`, and the weights, `b x classes x ...`.
    """
    log_ratio = log_p - log_q
    if alpha == 1:
        p = log_p.exp()
        return (p * log_ratio).sum(dim=1), p
    powers = (alpha * log_ratio).clamp(max=math.log(IMPORTANCE_CLIP)).exp()
    weighted = log_q.exp() * powers
    return (weighted.sum(dim=1) - 1) / (alpha * (alpha - 1)), weighted / alpha


def balanced_divergence(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Return half of KL(teacher || outputs) and half of KL(outputs || teacher).

    Their sum is Jeffreys' divergence, sum((p - q) (log p - log q)).
    """
    log_q, log_p = _log_probabilities(outputs, teacher)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1).mean() / 2


def _log_probabilities(outputs: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    return outputs.float().log_softmax(dim=1), teacher.float().log_softmax(dim=1)


DISTILLATIONS: dict[str, Distillation] = {
    "kl": cross_entropy,
    "alpha-divergence": adaptive_alpha_divergence,
    "balanced": balanced_divergence,
}
