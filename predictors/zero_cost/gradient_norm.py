"""Norm of the gradient (arXiv:2101.08134)."""

from predictors.zero_cost.probe import Probe


def gradient_norm(probe: Probe) -> float:
    """Return the sum over convolutions and linear layers of ||dL/dW||, L the loss of the batch.

    Needs data and labels. 0 where no gradient arrives.
    """
    return float(sum(gradient.norm() for gradient in probe.backpropagation.weight_gradients))
