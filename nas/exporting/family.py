"""A family of models: one for every budget, or a whole front, side by side."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hardware_profiles.artifact import Frozen, write_atomic
from nas.exporting.manifest import MANIFEST_NAME, MODEL_NAME, Manifest
from nas.results import SearchResult
from nas.run_directory import Run

FAMILY_NAME = "family.csv"


class FamilyMember(Frozen):
    """One row. Accuracies are of the run's metric; fractions where it is "accuracy"."""

    budget_ms: float | None  # None: of a front
    architecture_id: str
    directory: str | None  # None: it missed the budget and was not exported
    kept: bool | None  # None: without a budget, or not measured
    metric: str  # what the accuracies measure
    validation_accuracy: float
    test_accuracy: float | None
    measured_latency_ms: float | None
    predicted_latency_ms: float | None
    macs: int | None
    num_params: int | None
    marginal_accuracy_per_ms: float | None = None  # gain over the next faster one


def members_of_searches(results: Iterable[SearchResult]) -> list[FamilyMember]:
    """Return a row for every search: its winner, its candidate, or what came closest."""
    rows = []
    for result in results:
        found, miss = result.winner or result.candidate, result.closest_miss
        if found is not None:
            folder, is_candidate = Path(found.model_path).parent, result.winner is None
            kept = None if is_candidate else True
            rows.append(member_of_folder(folder, result.budget_ms, kept, is_candidate))
        elif miss is not None:
            rows.append(
                FamilyMember(
                    budget_ms=result.budget_ms,
                    architecture_id=miss.architecture_id,
                    directory=None,
                    kept=False,
                    metric=miss.metric,
                    validation_accuracy=miss.validation_accuracy,
                    test_accuracy=None,
                    measured_latency_ms=miss.measured_latency_ms,
                    predicted_latency_ms=None,
                    macs=None,
                    num_params=None,
                )
            )
    return rows


def member_of_folder(
    folder: Path,
    budget_ms: float | None = None,
    kept: bool | None = None,
    is_candidate: bool = False,
) -> FamilyMember:
    """Return the row of an exported folder; a candidate's states what is predicted only."""
    manifest = Manifest.load(folder / MANIFEST_NAME)
    measured = next((one for one in manifest.measured if one.file == MODEL_NAME), None)
    return FamilyMember(
        budget_ms=budget_ms,
        architecture_id=manifest.architecture_id,
        directory=str(folder),
        kept=kept,
        metric=manifest.metric,
        validation_accuracy=manifest.validation_accuracy,
        test_accuracy=manifest.test_accuracy,
        measured_latency_ms=measured.latency_ms if measured and not is_candidate else None,
        predicted_latency_ms=manifest.predicted_latency_ms,
        macs=manifest.costs["macs"],
        num_params=manifest.costs["num_params"],
    )


def save_family(run: Run, members: Iterable[FamilyMember]) -> tuple[FamilyMember, ...]:
    """Order a family by latency, tell what every millisecond more gains, and write its table."""
    ordered = sorted(members, key=lambda one: (_latency(one), one.budget_ms or 0.0))
    rows: list[FamilyMember] = []
    for one in ordered:
        gain = None
        if rows and (more := _latency(one) - _latency(rows[-1])) > 0:
            gain = (one.validation_accuracy - rows[-1].validation_accuracy) / more
        rows.append(one.model_copy(update={"marginal_accuracy_per_ms": gain}))
    write_atomic(run.path / FAMILY_NAME, _csv(rows).encode())
    return tuple(rows)


def _latency(member: FamilyMember) -> float:
    if member.measured_latency_ms is not None:
        return member.measured_latency_ms
    return member.predicted_latency_ms or 0.0


def _csv(rows: Iterable[FamilyMember]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(FamilyMember.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cells(row) for row in rows)
    return buffer.getvalue()


def _cells(row: FamilyMember) -> dict[str, Any]:
    return {
        name: "" if value is None else value for name, value in row.model_dump(mode="json").items()
    }
