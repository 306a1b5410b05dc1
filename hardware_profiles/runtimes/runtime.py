"""What a runtime is: it describes what it measures on, and opens networks for timing."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pydantic import Field

from hardware_profiles.artifact import Frozen
from hardware_profiles.profile_device import Timer
from hardware_profiles.target import Precision, Target
from search_spaces import TensorSpec

if TYPE_CHECKING:
    from torch import nn


class RuntimeSettings(Frozen):
    """What the user decides about a measurement; each runtime refuses what it cannot do."""

    threads: int = Field(default=1, ge=1)
    batch_size: int = Field(default=1, ge=1)
    precision: Precision = "fp32"
    provider: str = ""  # of ONNX Runtime; empty is its CPU provider
    cores: tuple[
        int, ...
    ] = ()  # ascending, that the process is pinned to; empty is wherever it runs


@dataclass(frozen=True)
class Workload:
    """One network to be timed, made when a runtime asks for it.

    Args:
        module: makes the plain torch module (fp32, eval mode, on the CPU).
        inputs: what it takes, in order, by the names they have in the ONNX model.
        onnx: makes the same network as a serialised ONNX model (fp32, free batch dimension).
    """

    module: "Callable[[], nn.Module]" = field(repr=False)
    inputs: Mapping[str, TensorSpec]
    onnx: Callable[[], bytes] = field(repr=False)


class Runtime(Protocol):
    """Times networks on one target."""

    @property
    def target(self) -> Target:
        """What the measurements hold for."""

    def open(self, workload: Workload) -> AbstractContextManager[Timer]:
        """Load a network; leaving the context frees what it held.

        The timer, called with n, runs the network n times and returns (wall, own): n wall times
        and n times of the work itself by the clock that other work disturbs least (nanoseconds) --
        the thread's own time on one CPU thread, device events on a GPU, else the wall times again.
        Inputs are standard normal (zeros and ones where it takes integers), of the target's
        batch size, and lie where the runtime computes.
        """
