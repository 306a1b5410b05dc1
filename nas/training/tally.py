"""Sums of one epoch, kept on the device."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

FIRST = "first"  # of every step


class Tally:
    """Mean loss of the first subnet of the steps and of every role, and seconds, of good steps.

    Args:
        state: of an epoch that a checkpoint interrupted.
    """

    def __init__(self, device: torch.device, state: Mapping[str, Any] | None = None) -> None:
        sums = state["sums"] if state else {}
        self._sums = {
            role: torch.tensor(pair, dtype=torch.float64, device=device)
            for role, pair in sums.items()
        }
        self._before = float(state["seconds"]) if state else 0.0
        self._start = time.perf_counter()

    def add(self, roles: Sequence[str], losses: Sequence[Tensor], admitted: Tensor) -> None:
        """Count the losses of one step, unless it was bad."""
        one = admitted.double()
        for role, loss in zip((FIRST, *roles), (losses[0], *losses), strict=True):
            value = torch.where(admitted, loss.double(), torch.zeros_like(one))
            pair = torch.stack([value, one])
            self._sums[role] = self._sums[role] + pair if role in self._sums else pair

    def record(self, num_samples: int) -> dict[str, Any]:
        """Return the figures of an epoch of so many samples; None where no step was good."""
        means = {
            role: total / count if count else None
            for role, (total, count) in ((k, v.tolist()) for k, v in self._sums.items())
        }
        seconds = self._before + time.perf_counter() - self._start
        return {
            "loss": means.pop(FIRST, None),
            "losses": means,
            "samples_per_second": num_samples / seconds,
            "seconds": seconds,
        }

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint within the epoch needs."""
        seconds = self._before + time.perf_counter() - self._start
        return {"sums": {k: v.tolist() for k, v in self._sums.items()}, "seconds": seconds}
