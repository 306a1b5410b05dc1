"""Keeps steps that would ruin the weights from being taken."""

import math
from collections.abc import Mapping, Sequence
from typing import get_args

import torch
from torch import Tensor

from nas.training.strategy import Role, TrainingSubnet

ROLES: tuple[Role, ...] = get_args(Role)
WARM_UP = 20  # good losses of a role before jumps of it are looked for
MEMORY = 0.98  # of the running averages: about fifty losses
SPIKE = 10.0  # mean absolute deviations above the average, in logarithms
LEAST = math.log(5)  # above the average, however even the losses before were
SMALLEST = 1e-6  # losses nearer to 0 are alike: their logarithms would tell nothing else


class Guard:
    """Tells good losses from bad ones without waiting for the device.

    A step is bad where one of its losses or the norm of the gradients is not finite, or where a
    loss jumps: its logarithm lies ten mean deviations above the running average of its role, it is
    more than five times that average, and above what training began with. Every role has an
    average and a deviation of its own, so that random subnets, which differ more, may differ more.

    The state is one small tensor, which belongs in checkpoints. Its rows are, of every role: good
    losses; average and deviation of their logarithms; mean loss of the warm-up. And, in the last
    row: bad steps in a row; all bad steps.
    """

    def __init__(self, device: torch.device) -> None:
        self.state = torch.zeros(len(ROLES) + 1, 4, device=device)

    def admits(self, losses: Mapping[Role, Tensor], gradient_norm: Tensor) -> Tensor:
        """Return whether a step may be taken, a boolean of no dimensions, and remember its losses.

        Args:
            losses: of the roles that have one which later ones can be compared with.
        """
        *rows, counts = self.state.unbind()
        places = [ROLES.index(role) for role in losses]
        admitted = torch.isfinite(gradient_norm)
        if losses:
            found = torch.stack(list(losses.values())).to(self.state)
            before = torch.stack([rows[place] for place in places])
            good, *_, starts = self.state[:-1].unbind(dim=1)
            began = starts.where(good > 0, -math.inf).max()
            sound = torch.isfinite(found) & ~_jumps(found, before, began)
            admitted = admitted & sound.all()
            after = torch.where(admitted, _remembered(found, before), before)
            for place, row in zip(places, after.unbind(), strict=True):
                rows[place] = row
        in_a_row, bad, *unused = counts.unbind()
        one = admitted.to(self.state)
        counts = torch.stack([(in_a_row + 1) * (1 - one), bad + 1 - one, *unused])
        self.state = torch.stack([*rows, counts])
        return admitted

    @property
    def bad_in_a_row(self) -> int:
        """Bad steps since the last good one; waits for the device."""
        return int(self.state[-1, 0])

    @property
    def bad_steps(self) -> int:
        """All bad steps; waits for the device."""
        return int(self.state[-1, 1])


def comparable(subnets: Sequence[TrainingSubnet], losses: Sequence[Tensor]) -> dict[Role, Tensor]:
    """Return the mean loss of every role of a step, of subnets that learn from labels.

    What a subnet loses against a teacher grows as the teacher learns, which is no fault.
    """
    found: dict[Role, list[Tensor]] = {}
    for subnet, loss in zip(subnets, losses, strict=True):
        if subnet.learns_from != "teacher":
            found.setdefault(subnet.role, []).append(loss)
    return {role: torch.stack(each).mean() for role, each in found.items()}


def _jumps(losses: Tensor, rows: Tensor, began: Tensor) -> Tensor:
    """Tell which of n losses jump, n, by the rows of their roles, n x 4."""
    good, average, deviation, _ = rows.unbind(dim=1)
    height = torch.clamp(SPIKE * deviation, min=LEAST)
    return (good >= WARM_UP) & (_size(losses) > average + height) & (losses > began)


def _remembered(losses: Tensor, rows: Tensor) -> Tensor:
    """Return the rows of n roles, n x 4, with their losses counted in."""
    good, average, deviation, start = rows.unbind(dim=1)
    size = _size(losses)
    memory = torch.clamp(good / (good + 1), max=MEMORY)  # a plain mean at first
    average = memory * average + (1 - memory) * size
    deviation = memory * deviation + (1 - memory) * (size - average).abs()
    mean = start + (losses - start) / (good + 1)
    start = torch.where(good < WARM_UP, mean, start)
    return torch.stack([good + 1, average, deviation, start], dim=1)


def _size(losses: Tensor) -> Tensor:
    """Return logarithms; of magnitudes, since losses of one's own may be negative."""
    return losses.abs().clamp(min=SMALLEST).log()
