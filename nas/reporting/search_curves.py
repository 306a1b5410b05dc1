"""How what a benchmark compares comes closer to the best, evaluation by evaluation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.reporting.svg import draw_png

Curve = tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]
"""Numbers of evaluations, k, and the quartiles of what was reached by then, 3 x k."""


def search_curves(
    curves: Mapping[str, Curve], label: str, counted: str = "distinct evaluations"
) -> bytes:
    """Draw the median of every searcher or predictor over a band between its quartiles, as PNG.

    Args:
        curves: by name.
        label: of what was reached.
        counted: what the numbers of evaluations are called.
    """

    def draw(axes: list[Any]) -> None:
        (panel,) = axes
        for name, (evaluations, (lower, median, upper)) in curves.items():
            (line,) = panel.plot(evaluations, median, ".-", linewidth=1.5, label=name)
            panel.fill_between(evaluations, lower, upper, color=line.get_color(), alpha=0.15, lw=0)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlabel(counted)
        panel.set_ylabel(label)

    return draw_png(1, draw, height=5.5)
