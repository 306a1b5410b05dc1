"""Precisions side by side: accuracy, latency, size, and which one to take."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import Field

from hardware_profiles.artifact import Frozen
from hardware_profiles.profile_device import (
    AGREEMENT,
    CPU_PROVIDER,
    DeviceError,
    measure_models,
)
from hardware_profiles.target import Precision
from nas.exporting.precisions.conversion import MAX_DROP, Converted, Evaluate
from search_spaces import InputError

Measure = Callable[[Sequence[bytes], int, int, str], Sequence[Any]]
"""Measures models in interleaved passes: models, threads, batch size, provider -> timings."""


class PrecisionRow(Frozen):
    """One precision of a model; what is None was not to be had, as `note` says.

    Args:
        accuracy: a fraction. accuracy_drop: of fp32's, negative where it rose.
        latency_ms, typical_ms, noise: as `Measurement` defines them.
        latency_ratio: to fp32's.
        size_bytes: of the file.
        kept_float: nodes in fp32 although their kind has the precision.
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
    note: str = ""


class Comparison(Frozen):
    """All precisions asked for, fp32 first, and the one to take with the reason in words."""

    rows: tuple[PrecisionRow, ...]
    recommended: Precision
    reason: str

    def row(self, precision: Precision) -> PrecisionRow:
        """Return the row of a precision that was asked for."""
        return next(row for row in self.rows if row.precision == precision)


def compare_precisions(
    converted: Mapping[Precision, Converted | str],
    evaluate: Evaluate,
    *,
    max_drop: float = MAX_DROP,
    threads: int = 1,
    batch_size: int = 1,
    provider: str = CPU_PROVIDER,
    measure: Measure = measure_models,
) -> Comparison:
    """Evaluate and time precisions of one model, in passes over all of them.

    Another precision than fp32 is recommended only where it is faster by more than the noise (the
    larger of both noises, 3 % at least) and loses at most `max_drop` of accuracy; of several, the
    fastest.

    Args:
        converted: by precision, fp32 among them; in the place of one that cannot be had, the
            reason.
        evaluate: best on data that no conversion was chosen by.
        measure: by default ONNX Runtime here.

    Raises:
        InputError: no fp32 model, or the provider does not run one of the models.
    """
    models = {name: one for name, one in converted.items() if isinstance(one, Converted)}
    if "fp32" not in models:
        raise InputError(f"expected fp32 among the precisions to compare, got {list(models)}")
    names: list[Precision] = ["fp32", *(name for name in models if name != "fp32")]
    try:
        timings = measure([models[n].model for n in names], threads, batch_size, provider)
    except DeviceError as error:
        raise InputError(str(error)) from None
    accuracies = {name: float(evaluate(models[name].model)) for name in names}
    rows = [
        _row(models[name], timing, timings[0], accuracies[name], accuracies["fp32"])
        for name, timing in zip(names, timings, strict=True)
    ]
    recommended, reason = _recommended(rows, max_drop)
    absent = [
        PrecisionRow(precision=name, note=one)
        for name, one in converted.items()
        if isinstance(one, str)
    ]
    return Comparison(rows=(*rows, *absent), recommended=recommended, reason=reason)


def _row(one: Converted, timing: Any, base: Any, accuracy: float, exact: float) -> PrecisionRow:
    return PrecisionRow(
        precision=one.precision,
        accuracy=accuracy,
        accuracy_drop=exact - accuracy,
        latency_ms=timing.latency_ms,
        typical_ms=timing.typical_ms,
        noise=timing.noise,
        latency_ratio=timing.latency_ms / base.latency_ms,
        size_bytes=len(one.model),
        kept_float=one.kept_float,
        note="; ".join(one.notes),
    )


def _recommended(rows: Sequence[PrecisionRow], max_drop: float) -> tuple[Precision, str]:
    """Return the precision to take and why; `rows` begins with fp32 and is complete."""
    base, passed, refused = rows[0], list[tuple[float, PrecisionRow]](), list[str]()
    for row in rows[1:]:
        assert row.latency_ratio is not None and row.accuracy_drop is not None
        noise = max(base.noise or 0.0, row.noise or 0.0, AGREEMENT)
        words = (
            f"{row.precision} takes {row.latency_ratio:.2f} of fp32's latency "
            f"(noise {noise:.0%}) and loses {100 * row.accuracy_drop:.2f} points of accuracy"
        )
        if row.accuracy_drop > max_drop:
            refused.append(f"{words}, more than {100 * max_drop:.2f}")
        elif 1 - row.latency_ratio <= noise:
            refused.append(f"{words}: not faster by more than the noise")
        else:
            passed.append((row.latency_ratio, row))
            refused.append(words)
    if passed:
        _, best = min(passed, key=lambda one: one[0])
        return best.precision, next(words for words in refused if words.startswith(best.precision))
    return "fp32", "; ".join(refused) or "nothing was compared with it"
