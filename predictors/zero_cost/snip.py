"""SNIP: what removing each weight would do to the loss (arXiv:1810.02340)."""

from predictors.zero_cost.probe import Probe


def snip(probe: Probe) -> float:
    """Return the sum of |W * dL/dW| over the weights of convolutions and linear layers.

    SNIP's connection sensitivity before its normalisation, summed over the network as in
    arXiv:2101.08134. Needs data and labels. 0 where no gradient arrives.
    """
    passed = probe.backpropagation
    pairs = zip(passed.weights, passed.weight_gradients, strict=True)
    return float(sum((weight * gradient).abs().sum() for weight, gradient in pairs))
