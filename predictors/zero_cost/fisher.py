"""Fisher information of channels (arXiv:1801.05787)."""

from predictors.zero_cost.probe import Probe


def fisher(probe: Probe) -> float:
    """Return the sum over channels of 1/2 mean over samples of (sum over places of a * dL/da)^2.

    a is what a convolution or linear layer gives, b x channels x places (places are pixels, frames
    or tokens), before norm and activation; L is the mean loss of the batch. Fisher pruning's
    saliency of channels, summed over the network as in arXiv:2101.08134. Needs data and labels. 0
    where no gradient arrives.
    """
    passed = probe.backpropagation
    pairs = zip(passed.outputs, passed.output_gradients, strict=True)
    saliencies = [
        (a * gradient).flatten(2).sum(2) if a.ndim > 2 else a * gradient for a, gradient in pairs
    ]  # b x channels
    return float(sum(0.5 * one.square().mean(0).sum() for one in saliencies))
