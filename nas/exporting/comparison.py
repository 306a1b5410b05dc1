"""Precisions of one model side by side, as manifests state them. Needs no torch."""

from pydantic import Field

from hardware_profiles.artifact import Frozen
from hardware_profiles.target import Precision


class PrecisionRow(Frozen):
    """One precision of a model; what is None was not to be had, as `note` says.

    Args:
        accuracy: a fraction. accuracy_drop: of fp32's, negative where it rose.
        latency_ms, typical_ms, noise: as `Measurement` defines them.
        latency_ratio: to fp32's.
        size_bytes: of the file.
        kept_float: nodes in fp32 although their kind has the precision.
        pays: it is faster than fp32 by more than the noise and loses no more accuracy than allowed.
        file: that was left in a folder; None where it was not.
        note: why it is not there, or what to know of it; "" otherwise.
    """

    precision: Precision
    accuracy: float | None = None
    accuracy_drop: float | None = None
    latency_ms: float | None = Field(default=None, gt=0)
    typical_ms: float | None = Field(default=None, gt=0)
    noise: float | None = None
    latency_ratio: float | None = None
    size_bytes: int | None = None
    kept_float: tuple[str, ...] = ()
    pays: bool = False
    file: str | None = None
    note: str = ""


class Comparison(Frozen):
    """All precisions asked for, fp32 first, and the one to take with the reason in words."""

    rows: tuple[PrecisionRow, ...]
    recommended: Precision
    reason: str

    def row(self, precision: Precision) -> PrecisionRow:
        """Return the row of a precision that was asked for."""
        return next(row for row in self.rows if row.precision == precision)
