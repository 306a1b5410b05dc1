"""How far a model file may be from the subnet it was made from, by precision."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hardware_profiles.target import Precision


@dataclass(frozen=True)
class Limits:
    """What one precision is held to.

    Args:
        difference: greatest absolute difference of an output; relative to its greatest value where
            that exceeds 1.
        top1: least share of samples with the same best class.
        clear_margin: between the best and the second class, relative likewise, above which the
            best class is clear.
        clear_top1: least share of the same best class among samples where it is clear.
        accuracy: most that the metric may fall on the same samples, beside one sample's worth.
        on_random: random inputs are held to the shares too, not to the difference alone.
    """

    difference: float
    top1: float
    clear_margin: float
    clear_top1: float
    accuracy: float
    on_random: bool = True


LIMITS: Mapping[Precision, Limits] = MappingProxyType(
    {
        "fp32": Limits(1e-4, 0.999, 2e-4, 1.0, 0.001),
        "fp16": Limits(2e-2, 0.99, 2e-2, 1.0, 0.005),
        "bf16": Limits(1e-1, 0.97, 1e-1, 1.0, 0.01, on_random=False),
        "int8": Limits(0.5, 0.9, 0.25, 0.99, 0.02, on_random=False),
    }
)


def limits_of(precision: Precision) -> Limits:
    """Return the limits of a precision."""
    return LIMITS[precision]
