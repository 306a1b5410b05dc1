"""Latencies that were measured of a folder's files on a device elsewhere join its manifest."""

from pathlib import Path
from typing import Any

from hardware_profiles.artifact import Frozen
from hardware_profiles.models_result import MeasuredModel, ModelsResult, read_models_result
from hardware_profiles.target import Target
from nas.exporting.checks import check_hash
from nas.exporting.manifest import MANIFEST_NAME, MODEL_NAME, Manifest, MeasuredLatency
from search_spaces import InputError

SAME: tuple[list[str], ...] = (
    [],
    ["runtime_version"],
)  # differences of targets whose latencies are held together


class JoinedLatency(Frozen):
    """One measurement that joined a manifest, held against the budget of its target.

    kept is None where no budget is known there.
    """

    file: str
    target: Target
    latency_ms: float
    noise: float
    budget_ms: float | None
    kept: bool | None
    note: str

    def __str__(self) -> str:
        return f"{self.file} measured on {self.target}: {self.latency_ms:.4g} ms, {self.note}"


class JoinedLatencies(Frozen):
    """What `nas measured` gives."""

    directory: str
    measured: tuple[JoinedLatency, ...]

    @property
    def kept(self) -> bool:
        """Tell whether no budget was missed."""
        return all(one.kept is not False for one in self.measured)

    def to_json(self) -> dict[str, Any]:
        """Return `{"directory", "measured": [{"file", "latency_ms", "budget_ms", "kept"}]}`."""
        return self.model_dump(mode="json")


def join_result(folder: Path, path: Path) -> JoinedLatencies:
    """Add what a device measured of a folder's files to its manifest.

    Raises:
        InputError: no such folder, a damaged or edited result, one of other files.
    """
    if not (folder / MANIFEST_NAME).is_file():
        raise InputError(f"{folder} is no exported folder (no {MANIFEST_NAME} in it)")
    manifest, result = Manifest.load(folder / MANIFEST_NAME), read_models_result(path)
    joined = []
    for item in result.items:
        measured = _measurement(folder, path, manifest, item, result)
        joined.append(_held_against_budget(manifest, measured))
        manifest = _with(manifest, measured, joined[-1])
    manifest.save(folder / MANIFEST_NAME)
    return JoinedLatencies(directory=str(folder), measured=tuple(joined))


def _measurement(
    folder: Path, path: Path, manifest: Manifest, item: MeasuredModel, result: ModelsResult
) -> MeasuredLatency:
    """Find the file that was measured.

    Raises:
        InputError: none of the folder has its hash, or the file was edited since.
    """
    names = [name for name in manifest.models if manifest.files.get(name) == item.file_sha256]
    if not names:
        raise InputError(
            f"{path}: {item.id} as it was measured is no model of {folder} (its SHA-256 is "
            f"{item.file_sha256[:12]}...); measure the folder's own files"
        )
    name = names[0]
    found = check_hash(folder, name, item.file_sha256)
    if not found.ok:
        raise InputError(
            f"{folder / name} is not what the manifest says ({found.detail}); nas verify tells more"
        )
    entry = manifest.models[name]
    if entry.batch is not None and entry.batch != result.target.batch_size:
        raise InputError(f"{path}: {name} takes batch {entry.batch} alone; measure it so")
    target = result.target.model_copy(update={"precision": entry.precision})
    return MeasuredLatency(target=target, latency_ms=item.latency_ms, noise=item.noise, file=name)


def _held_against_budget(manifest: Manifest, measured: MeasuredLatency) -> JoinedLatency:
    target = measured.target
    like = target.model_copy(update={"precision": "fp32"})  # budgets hold for every precision
    budgets = [(one.target, one.budget_ms) for one in manifest.wanted]
    if manifest.budget_ms is not None and manifest.measured:
        budgets.append((manifest.measured[0].target, manifest.budget_ms))
    found = [ms for one, ms in budgets if one.differences(like) in SAME]
    budget = min(found, default=None)
    kept = None if budget is None else measured.typical_ms <= budget
    if budget is not None:
        note = f"budget {budget:.4g} ms, {'kept' if kept else 'missed'}"
        if not kept and measured.latency_ms <= budget:
            note += f" by the typical pass, {measured.typical_ms:.4g} ms"
    elif budgets:
        other, ms = budgets[0]
        note = f"not compared with the budget of {ms:.4g} ms, which is of {other}"
    else:
        note = "no budget"
    return JoinedLatency(
        file=measured.file,
        target=target,
        latency_ms=measured.latency_ms,
        noise=measured.noise,
        budget_ms=budget,
        kept=kept,
        note=note,
    )


def _with(manifest: Manifest, measured: MeasuredLatency, joined: JoinedLatency) -> Manifest:
    """Return the manifest with a measurement, which takes the place of an earlier one of its file
    and target. The first one of the plain file that keeps a budget brings that along.
    """
    first = bool(joined.kept) and measured.file == MODEL_NAME and manifest.budget_ms is None
    own = (measured.file, measured.target.id)
    known = [(measured if (one.file, one.target.id) == own else one) for one in manifest.measured]
    if measured not in known:
        known.append(measured)
    if first:
        known = [measured, *(one for one in known if one != measured)]
    return manifest.model_copy(
        update={
            "measured": tuple(known),
            "budget_ms": joined.budget_ms if first else manifest.budget_ms,
        }
    )
