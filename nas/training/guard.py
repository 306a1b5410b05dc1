"""Keeps steps that would ruin the weights from being taken."""

import torch
from torch import Tensor

WARM_UP = 20  # steps before spikes are looked for
MEMORY = 0.98  # of the running averages: about fifty steps
SPIKE = 10.0  # mean absolute deviations above the average


class Guard:
    """Tells good losses from bad ones without waiting for the device.

    A loss is bad where it or the norm of the gradients is not finite, or where it jumps: above the
    running average by ten mean deviations, and above what training began with. Only losses of one
    and the same subnet are compared. The state is one small tensor, which belongs in checkpoints.
    """

    def __init__(self, device: torch.device) -> None:
        # good losses; average; deviation; average at the end of the warm-up; bad in a row; bad
        self.state = torch.zeros(6, device=device)

    def admits(self, loss: Tensor, gradient_norm: Tensor, comparable: bool = True) -> Tensor:
        """Return whether a step may be taken, a boolean of no dimensions, and remember its loss.

        A loss that is not comparable, of another subnet than those before, needs to be finite only.
        """
        good, average, deviation, first, in_a_row, bad = self.state.unbind()
        finite = torch.isfinite(loss) & torch.isfinite(gradient_norm)
        jumps = (loss > average + SPIKE * deviation) & (loss > first) & (good >= WARM_UP)
        admitted = finite & ~(jumps & comparable)
        counted = admitted & comparable
        value = torch.where(counted, loss, average)
        memory = torch.clamp(good / (good + 1), max=MEMORY)  # a plain mean at first
        new_average = memory * average + (1 - memory) * value
        new_deviation = memory * deviation + (1 - memory) * (value - new_average).abs()
        warming_up = good < WARM_UP
        one = admitted.to(loss)
        self.state = torch.stack(
            [
                good + counted.to(loss),
                torch.where(counted, new_average, average),
                torch.where(counted, new_deviation, deviation),
                torch.where(warming_up & counted, new_average, first),
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
