"""Rows of the search benchmark as a table on the screen and as a CSV file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from hardware_profiles.artifact import Frozen, write_atomic
from nas.benchmarking.search import SearchRow


def search_table(rows: Sequence[SearchRow], evaluations: int) -> Table:
    """Lay out the rows; what is open is beyond `evaluations`."""
    cells = _cells(rows, evaluations)
    table = Table(box=None, pad_edge=False)
    for column in cells:
        table.add_column(column, justify="left" if column == "searcher" else "right", no_wrap=True)
    for line in zip(*cells.values(), strict=True):
        table.add_row(*line)
    return table


def _cells(rows: Sequence[SearchRow], evaluations: int) -> dict[str, list[str]]:
    """Return the texts of every column by its name."""
    cells = {"searcher": [row.searcher for row in rows], "seeds": [str(row.seeds) for row in rows]}
    for title, counts in (
        ("optimum", [row.evaluations_to_best for row in rows]),
        ("top permille", [row.evaluations_to_top_permille for row in rows]),
    ):
        known = [count for count in counts if count is not None]
        for name in ("median", "mean", "p90") if known else ():
            texts = [_count(getattr(count, name), name, evaluations) for count in known]
            cells[f"{title}: {name}"] = texts
    for at in rows[0].hypervolume_at:
        spreads = [row.hypervolume_at[at] for row in rows]
        cells[f"hypervolume at {at}"] = [
            f"{s.median:.3f} ({s.lower_quartile:.3f}-{s.upper_quartile:.3f})" for s in spreads
        ]
    cells["s/seed"] = [f"{row.seconds:.2f}" for row in rows]
    return cells


def write_search_rows(path: Path, rows: Sequence[Frozen]) -> None:
    """Write one line a row and one column a number, named as in JSON with dots."""
    text = io.StringIO()
    lines = [_flat(row) for row in rows]
    columns = dict.fromkeys(name for line in lines for name in line)
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_atomic(path, text.getvalue().encode())


def _flat(row: Frozen) -> dict[str, object]:
    """Return the numbers of a row by dotted name."""
    flat: dict[str, object] = {}
    waiting = list(row.model_dump(mode="json").items())
    while waiting:
        name, value = waiting.pop(0)
        if isinstance(value, dict):
            waiting = [(f"{name}.{key}", one) for key, one in value.items()] + waiting
        else:
            flat[name] = value
    return flat


def _count(value: float | None, name: str, evaluations: int) -> str:
    """Write a number of evaluations; a mean of counts of which some are open is unknown."""
    if value is not None:
        return f"{value:.1f}".removesuffix(".0")
    return "n/a" if name == "mean" else f">{evaluations}"
