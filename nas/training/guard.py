"""Keeps steps that would ruin the weights from being taken."""

import torch
from torch import Tensor

WARM_UP = 20  # steps before spikes are looked for
MEMORY = 0.98  # of the running averages: about fifty steps
SPIKE = 10.0  # mean absolute deviations above the average
TIMES_START = 3.0  # what training began with: subnets that have just joined in are that bad


class Guard:
    """Tells good losses from bad ones without waiting for the device.

    A loss is bad where it or the norm of the gradients is not finite, or where it jumps: above the
    running average by ten mean deviations, and above three times what training began with. The
    state is one small tensor, which belongs in checkpoints.
    """

    def __init__(self, device: torch.device) -> None:
        # good steps; average; deviation; average at the end of the warm-up; bad in a row; bad
        self.state = torch.zeros(6, device=device)

    def admits(self, loss: Tensor, gradient_norm: Tensor) -> Tensor:
        """Return whether a step may be taken, a boolean of no dimensions, and remember its loss."""
        good, average, deviation, first, in_a_row, bad = self.state.unbind()
        finite = torch.isfinite(loss) & torch.isfinite(gradient_norm)
        jumps = (
            (loss > average + SPIKE * deviation) & (loss > TIMES_START * first) & (good >= WARM_UP)
        )
        admitted = finite & ~jumps
        value = torch.where(admitted, loss, average)
        memory = torch.clamp(good / (good + 1), max=MEMORY)  # a plain mean at first
        new_average = memory * average + (1 - memory) * value
        new_deviation = memory * deviation + (1 - memory) * (value - new_average).abs()
        warming_up = good < WARM_UP
        one = admitted.to(loss)
        self.state = torch.stack(
            [
                good + one,
                new_average,
                torch.where(admitted, new_deviation, deviation),
                torch.where(warming_up, new_average, first),
                (in_a_row + 1) * (1 - one),
                bad + 1 - one,
            ]
        )
        return admitted

    @property
    def bad_in_a_row(self) -> int:
        """Bad steps since the last good one; waits for the device."""
        return int(self.state[4])

    @property
    def bad_steps(self) -> int:
        """All bad steps; waits for the device."""
        return int(self.state[5])
