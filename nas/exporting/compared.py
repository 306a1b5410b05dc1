"""Files of several precisions side by side: which of them stay in the folder, and why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hardware_profiles.measure_plan import undisturbed_on
from hardware_profiles.profile_device import Measurement, measure_models
from hardware_profiles.runtimes.runtime import Runtime
from hardware_profiles.target import Precision
from nas.exporting.comparison import Comparison, PrecisionRow
from nas.exporting.conversions import metric_on_validation
from nas.exporting.manifest import MeasuredLatency
from nas.exporting.manifest import Preprocessing as Steps
from nas.exporting.model_options import PLAIN, ModelOptions
from nas.exporting.model_set import ModelSet, joined, make_models
from nas.exporting.precisions import Converted
from nas.exporting.precisions.compare import compare_precisions
from nas.exporting.request import ExportRequest
from nas.exporting.trial import Trial
from search_spaces import InputError
from search_spaces.errors import ParityError

Measure = Callable[[Sequence[bytes], int, int, str], Sequence[Measurement]]


@dataclass(frozen=True)
class Compared:
    """The files that stay, what was found of all, and latencies of those beside the plain one."""

    models: ModelSet
    comparison: Comparison
    measured: tuple[MeasuredLatency, ...]


def compare_models(
    trial: Trial,
    plain: ModelSet,
    request: ExportRequest,
    steps: Steps,
    runtime: Runtime,
    budget_ms: float | None,
) -> Compared:
    """Make the files that are to be compared, and measure them in passes over all of them.

    Args:
        plain: the plain file, which was proven.
        runtime: ONNX Runtime's, which measures.
        budget_ms: of the target, which files that were asked for by name have to keep.

    Raises:
        InputError: a precision that was asked for by name and cannot be had.
        ParityError: one that was asked for by name answers differently, or misses the budget.
    """
    stamped = plain.contents[PLAIN.file_name]
    target = runtime.target
    made: dict[Precision, ModelSet | str] = {}
    for one in request.compared:
        if one == PLAIN:
            made[one.precision] = plain
            continue
        try:
            made[one.precision] = make_models(trial, stamped, [one], steps, target.provider)
        except (InputError, ParityError) as error:
            if one.precision in {"fp32", *request.named}:
                raise
            made[one.precision] = str(error)
    found = {name: one for name, one in made.items() if isinstance(one, ModelSet)}
    first = request.compared[0]
    with undisturbed_on(runtime):
        comparison = compare_precisions(
            {name: _converted(name, one) for name, one in made.items()},
            metric_on_validation(trial, first.preprocessing, target.provider),
            threads=target.threads,
            batch_size=first.batch or target.batch_size,
            provider=target.provider,
            measure=measure_models,
        )
    stay = [name for name in found if name in request.named or comparison.row(name).pays]
    left = {one.precision: one.file_name for one in request.compared if one.precision in stay}
    if first == PLAIN:
        left["fp32"] = PLAIN.file_name
    rows = [row.model_copy(update={"file": left.get(row.precision)}) for row in comparison.rows]
    comparison = comparison.model_copy(update={"rows": tuple(rows)})
    latencies = tuple(
        _measured(runtime, one, comparison.row(one.precision))
        for one in request.compared
        if one.precision in stay and one != PLAIN
    )
    for latency in latencies:
        like = latency.target.model_copy(update={"precision": "fp32"})
        if budget_ms is not None and like == target and latency.typical_ms > budget_ms:
            raise ParityError(
                f"{latency.file}: the typical pass takes {latency.typical_ms:.4g} ms, budget "
                f"{budget_ms:.4g} ms"
            )
    return Compared(joined(*(found[name] for name in stay)), comparison, latencies)


def _converted(precision: Precision, made: ModelSet | str) -> Converted | str:
    """Return a finished file as what `compare_precisions` takes."""
    if isinstance(made, str):
        return made
    name = next(name for name, one in made.entries.items() if one.precision == precision)
    content, stated = made.contents[name], made.entries[name].conversion
    return Converted(
        precision,
        content,
        kept_float=stated.kept_float if stated else (),
        notes=stated.notes if stated else (),
    )


def _measured(runtime: Runtime, options: ModelOptions, row: PrecisionRow) -> MeasuredLatency:
    assert row.latency_ms is not None and row.noise is not None
    changes = {
        "precision": options.precision,
        "batch_size": options.batch or runtime.target.batch_size,
    }
    return MeasuredLatency(
        target=runtime.target.model_copy(update=changes),
        latency_ms=row.latency_ms,
        noise=row.noise,
        file=options.file_name,
    )
