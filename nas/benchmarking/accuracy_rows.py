"""Rows of the accuracy benchmark as a table on the screen and as curves."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from rich.table import Table

from nas.benchmarking.accuracy import AccuracyRow
from nas.benchmarking.search import Spread

COLUMNS = ("samples", "predictor", "kendall", "spearman", "rmse", "bound 90 %", "s/fit", "sees")


def accuracy_table(rows: Sequence[AccuracyRow]) -> Table:
    """Lay out medians with quartiles, and the mean shares of what `auto` chose."""
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        words = column in ("predictor", "sees")
        table.add_column(column, justify="left" if words else "right", no_wrap=not words)
    for row in rows:
        chosen = ", ".join(f"{name} {share:.0%}" for name, share in row.auto_chose.items())
        covered = "n/a" if row.coverage_of_90 is None else f"{row.coverage_of_90:.0%}"
        table.add_row(
            str(row.samples),
            row.predictor,
            _spread(row.kendall),
            _spread(row.spearman),
            f"{row.rmse.median:.3g}",
            covered,
            f"{row.seconds:.2f}",
            f"{row.encoding} ({chosen})" if chosen else row.encoding,
        )
    return table


def kendall_curves(
    rows: Sequence[AccuracyRow],
) -> Mapping[str, tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]]:
    """Return samples, k, and quartiles of Kendall's tau, 3 x k, by predictor; no constants."""
    ranked = [(row, row.kendall) for row in rows if row.kendall is not None]
    curves = {}
    for name in dict.fromkeys(row.predictor for row, _ in ranked):
        own = [(row.samples, kendall) for row, kendall in ranked if row.predictor == name]
        quartiles = [[k.lower_quartile, k.median, k.upper_quartile] for _, k in own]
        curves[name] = np.array([samples for samples, _ in own]), np.array(quartiles).T
    return curves


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "n/a"
    return f"{spread.median:.3f} ({spread.lower_quartile:.3f}-{spread.upper_quartile:.3f})"
