"""What an earlier export of the same weights leaves to the next one: files, figures, budgets."""

from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from hardware_profiles.artifact import read_json
from hardware_profiles.target import Target
from nas.exporting.checks import check_hash
from nas.exporting.comparison import Comparison
from nas.exporting.manifest import (
    MANIFEST_NAME,
    MODEL_NAME,
    Manifest,
    MeasuredLatency,
    WantedBudget,
)
from nas.exporting.model_set import ModelSet


class Timing(Protocol):
    """What was measured of a model file."""

    @property
    def latency_ms(self) -> float:
        """The least window median."""

    @property
    def noise(self) -> float:
        """(Typical pass - latency) / latency."""

    def keeps(self, budget_ms: float) -> bool:
        """Tell whether the typical pass is within a budget."""


def find_earlier(folder: Path, made_from: Mapping[str, object]) -> Manifest | None:
    """Return the manifest of an earlier export of the very same graph and weights."""
    earlier = manifest_of_now(folder)
    if earlier is None:
        return None
    own = ("graph", "supernet", "fine_tuned", "data")
    same = all(earlier.made_from.get(name) == made_from.get(name) for name in own)
    return earlier if same and MODEL_NAME in earlier.files else None


def manifest_of_now(folder: Path) -> Manifest | None:
    """Return the manifest of a folder; None where there is none, or one of another format, which
    the next export replaces.

    Raises:
        InputError: a damaged one.
    """
    path = folder / MANIFEST_NAME
    data = read_json(path) if path.is_file() else None
    if isinstance(data, dict) and data.get("format") == Manifest.model_fields["format"].default:
        return Manifest.load(path)
    return None


def wanted_budgets(
    earlier: Manifest | None, wanted: WantedBudget | None
) -> tuple[WantedBudget, ...]:
    """Return what searches asked for, the last one first: one budget a target."""
    known = earlier.wanted if earlier else ()
    if wanted is None:
        return known
    return (wanted, *(one for one in known if one.target.id != wanted.target.id))


def tightest_budget(
    earlier: Manifest | None,
    budget_ms: float | None,
    measured: tuple[Target, Timing] | None,
) -> float | None:
    """Of this budget and the one stated for the same target earlier, the tighter one still kept."""
    known = earlier.budget_ms if earlier else None
    if measured is None or earlier is None or known is None:
        return budget_ms
    same = earlier.measured and earlier.measured[0].target.id == measured[0].id
    if not same or not measured[1].keeps(known):
        return budget_ms
    return known if budget_ms is None else min(known, budget_ms)


def with_earlier(
    models: ModelSet, folder: Path, earlier: Manifest | None
) -> tuple[ModelSet, tuple[MeasuredLatency, ...]]:
    """Add the model files that an earlier export of the same plain file left, and return what was
    measured of all of them; what the disk no longer holds as it was is left out.
    """
    if earlier is None:
        return models, ()
    kept = dict(models.contents)
    for name in earlier.models:
        content = as_it_was(folder, name, earlier.files.get(name))
        if name not in kept and content is not None:
            kept[name] = content
    entries = {name: one for name, one in earlier.models.items() if name in kept} | models.entries
    of_them = {
        name: parity
        for name, parity in earlier.parity.items()
        if name.partition(" ")[0] in kept and name not in models.parities
    }
    same = {
        name
        for name, content in kept.items()
        if sha256(content).hexdigest() == earlier.files.get(name)
    }
    measured = tuple(one for one in earlier.measured if one.file in same)
    return ModelSet(
        kept, {name: entries[name] for name in kept}, models.parities | of_them
    ), measured


def as_it_was(folder: Path, name: str, digest: str | None) -> bytes | None:
    """Return a file of the folder; None where it is gone, another, or not in the folder."""
    if digest is None or not check_hash(folder, name, digest).ok:
        return None
    return (folder / name).read_bytes()


def still_there(comparison: Comparison, files: Collection[str]) -> Comparison:
    """Return a comparison without the names of files that the folder no longer holds."""
    rows = [
        row if row.file in files else row.model_copy(update={"file": None})
        for row in comparison.rows
    ]
    return comparison.model_copy(update={"rows": tuple(rows)})
