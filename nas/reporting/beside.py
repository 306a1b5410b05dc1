"""Trainings beside a run's: their curves, and what keeps these from being compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.reporting.training_charts import TrainingCurve
from nas.run_directory import Run
from nas.training.metrics import epoch_records
from search_spaces import InputError


@dataclass(frozen=True)
class Beside:
    """Curves of a run and of others, its own first; sentences about what does not compare."""

    curves: Sequence[TrainingCurve] = ()
    warnings: Sequence[str] = ()


def gather_beside(run: Run, others: Sequence[Run]) -> Beside:
    """Return what is drawn of other runs beside one; nothing where there are none.

    Raises:
        InputError: one is not trained for an epoch yet, or judged by another metric.
    """
    if not others:
        return Beside()
    for other in others:
        _check_metric(run, other)
    curves = [_training_curve(one) for one in (run, *others)]
    return Beside(curves, [words for other in others for words in _unlike(run, other)])


def _training_curve(run: Run) -> TrainingCurve:
    """Return the training of a run, named after its folder and strategy."""
    records = epoch_records(run.metrics.read())
    if not records:
        raise InputError(f"{run.path}: no epoch is trained yet; `nas train {run.path}` first")
    return TrainingCurve(f"{run.path.name}: {run.recipe.training.strategy}", records)


def _check_metric(run: Run, other: Run) -> None:
    """Check that two runs have one metric: of the same name, and of the same source."""
    ours, theirs = (one.recipe.task.metric for one in (run, other))
    if ours != theirs:
        raise InputError(
            f"{other.path} is judged by {theirs}, not by {ours}: their curves cannot be beside "
            "each other"
        )
    if _source(run, ours) != _source(other, ours):
        raise InputError(
            f"{other.path} is judged by {ours} of another source than {run.path}: their curves "
            "cannot be beside each other"
        )


def _unlike(run: Run, other: Run) -> list[str]:
    """Say what else keeps the curves of two runs from being compared."""
    found = []
    if run.data_sha256 != other.data_sha256:
        found.append(
            f"{other.path} was trained and validated on other data ({_data(other)}) than "
            f"{run.path} ({_data(run)}): no curve compares with its"
        )
    ours, theirs = (one.recipe.task.loss for one in (run, other))
    if (ours, _source(run, ours)) != (theirs, _source(other, theirs)):
        of_another_source = " of another source" if ours == theirs else ""
        found.append(
            f"{other.path} learns by {theirs}{of_another_source}, {run.path} by {ours}: their "
            "losses do not compare"
        )
    return found


def _source(run: Run, function: str) -> str | None:
    """Return the SHA-256 of a function of the user's; None of what is built in."""
    return run.file.functions.get(function)


def _data(run: Run) -> str:
    samples = run.file.num_samples
    return (
        f"{run.recipe.data.source}, {samples['train']} training and {samples['validation']} "
        "validation samples"
    )
