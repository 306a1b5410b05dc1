"""Rows of a benchmark as a table on the screen and as a CSV file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from hardware_profiles.artifact import write_atomic
from nas.benchmarking.latency import BenchmarkRow

NUMBERS = ("spearman", "worst", "kendall", "MAPE", "within 10 %", "bound 90 %")


def rows_table(rows: Sequence[BenchmarkRow]) -> list[Table]:
    """Lay out the rows by target, and their means over the targets."""
    by_target = _table("target", "samples", "method", *NUMBERS, "ceiling", "auto chose")
    for row in rows:
        chosen = [f"{name} {count}" for name, count in row.auto_chose.items()]
        if row.auto_did_not_pass:
            chosen.append(f"did not pass {row.auto_did_not_pass}")
        cells = (row.target, f"{row.samples} {row.choice}", row.method, *_numbers([row]))
        by_target.add_row(*cells, _rank(row.ceiling), ", ".join(chosen))
    means = _table("mean of targets", "method", *NUMBERS, "worst target")
    groups: dict[tuple[int, str, str], list[BenchmarkRow]] = {}
    for row in rows:
        groups.setdefault((row.samples, row.choice, row.method), []).append(row)
    for (samples, choice, method), group in groups.items():
        worst = min(group, key=lambda row: row.spearman or 0.0)
        cells = (f"{samples} {choice}", method, *_numbers(group))
        means.add_row(*cells, f"{worst.target} {_rank(worst.spearman)}")
    return [by_target, means]


def write_rows(path: Path, rows: Sequence[BenchmarkRow]) -> None:
    """Write one line a row; `auto_chose` as words."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(BenchmarkRow.model_fields), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        chosen = " ".join(f"{name}:{count}" for name, count in row.auto_chose.items())
        writer.writerow(row.model_dump() | {"auto_chose": chosen})
    write_atomic(path, text.getvalue().encode())


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        numeric = column in (*NUMBERS, "ceiling")
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    return table


def _numbers(rows: Sequence[BenchmarkRow]) -> list[str]:
    """Return the means over the rows; of worst draws the mean too."""
    ranks = [[getattr(row, name) for row in rows] for name in RANKS]
    shares = [[getattr(row, name) for row in rows] for name in SHARES]
    return [_rank(_mean(values)) for values in ranks] + [f"{np.mean(s):.1%}" for s in shares]


RANKS = ("spearman", "spearman_worst_draw", "kendall")
SHARES = ("mape", "within_10", "coverage_of_90")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _rank(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
