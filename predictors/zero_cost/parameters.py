"""Number of parameters."""

from predictors.zero_cost.probe import Probe


def parameters(probe: Probe) -> float:
    """Return the number of trainable numbers: the baseline of every proxy (arXiv:2008.09036).

    Needs neither data nor labels.
    """
    return float(sum(parameter.numel() for parameter in probe.network().parameters()))
