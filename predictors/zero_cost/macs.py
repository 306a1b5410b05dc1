"""Number of multiply-accumulates."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from predictors.zero_cost.probe import Probe


def macs(probe: Probe) -> float:
    """Return the multiply-accumulates of one sample: half the operations that torch counts in
    convolutions and matrix products. The other baseline.

    Needs a sample for its shape only, and no labels.
    """
    network = probe.network().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*(one[:1] for one in probe.batch.inputs))
    return float(counter.get_total_flops()) / 2
