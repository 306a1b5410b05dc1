"""Precisions side by side: accuracy, latency, size, and which one to take."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hardware_profiles.profile_device import (
    AGREEMENT,
    CPU_PROVIDER,
    DeviceError,
    measure_models,
)
from hardware_profiles.target import Precision
from nas.exporting.comparison import Comparison, PrecisionRow
from nas.exporting.precisions.conversion import MAX_DROP, Converted, Evaluate
from search_spaces import InputError

Measure = Callable[[Sequence[bytes], int, int, str], Sequence[Any]]
"""Measures models in interleaved passes: models, threads, batch size, provider -> timings."""


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
    rows = [rows[0], *(_judged(row, rows[0], max_drop) for row in rows[1:])]
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


def _judged(row: PrecisionRow, base: PrecisionRow, max_drop: float) -> PrecisionRow:
    assert row.latency_ratio is not None and row.accuracy_drop is not None
    pays = row.accuracy_drop <= max_drop and 1 - row.latency_ratio > _noise(row, base)
    return row.model_copy(update={"pays": pays})


def _noise(row: PrecisionRow, base: PrecisionRow) -> float:
    return max(base.noise or 0.0, row.noise or 0.0, AGREEMENT)


def _recommended(rows: Sequence[PrecisionRow], max_drop: float) -> tuple[Precision, str]:
    """Return the precision to take and why; `rows` begins with fp32 and is complete."""
    base, passed, refused = rows[0], list[tuple[float, PrecisionRow]](), list[str]()
    for row in rows[1:]:
        assert row.latency_ratio is not None and row.accuracy_drop is not None
        words = (
            f"{row.precision} takes {row.latency_ratio:.2f} of fp32's latency "
            f"(noise {_noise(row, base):.0%}) and loses {100 * row.accuracy_drop:.2f} points of "
            "accuracy"
        )
        if row.accuracy_drop > max_drop:
            refused.append(f"{words}, more than {100 * max_drop:.2f}")
        elif not row.pays:
            refused.append(f"{words}: not faster by more than the noise")
        else:
            passed.append((row.latency_ratio, row))
            refused.append(words)
    if passed:
        _, best = min(passed, key=lambda one: one[0])
        return best.precision, next(words for words in refused if words.startswith(best.precision))
    return "fp32", "; ".join(refused) or "nothing was compared with it"
