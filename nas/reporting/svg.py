"""Figures as SVG to be placed inside an HTML page: no outside references, same bytes every time."""

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any

# Drawn in these, shown in what the page's style sheet makes of the names, in light and in dark.
COLORS = {
    "ink": "#102030",
    "muted": "#708090",
    "predicted": "#1060b0",
    "measured": "#c05010",
    "chosen": "#107030",
}

_SETTINGS = {
    "svg.hashsalt": "supernet-engine",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": COLORS["muted"],
    "axes.labelcolor": COLORS["ink"],
    "axes.titlecolor": COLORS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLORS["muted"],
    "grid.alpha": 0.2,
    "legend.frameon": False,
    "legend.labelcolor": COLORS["ink"],
    "text.color": COLORS["ink"],
    "xtick.color": COLORS["ink"],
    "ytick.color": COLORS["ink"],
}

Draw = Callable[[list[Any]], None]  # gets the axes from left to right


def draw_svg(name: str, title: str, num_panels: int, draw: Draw, height: float = 3.9) -> str:
    """Return a figure of panels side by side, with one legend below, as an `<svg>` element.

    Args:
        name: no other figure of the page has it; it begins every id.
        title: what a screen reader says.
        height: inches, at a width of 10.
    """
    buffer = io.BytesIO()
    _save(buffer, num_panels, draw, height, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue().decode(), name, title)


def draw_png(num_panels: int, draw: Draw, height: float = 3.9) -> bytes:
    """Return the same as a picture of its own, on white."""
    buffer = io.BytesIO()
    _save(buffer, num_panels, draw, height, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _save(file: io.BytesIO, num_panels: int, draw: Draw, height: float, **options: Any) -> None:
    from matplotlib import style
    from matplotlib.figure import Figure

    # "default" first: a style file of the user shall not change the report
    with style.context(["default", _SETTINGS]):
        figure = Figure(figsize=(10, height), layout="constrained")
        axes = list(figure.subplots(1, num_panels, squeeze=False)[0])
        draw(axes)
        handles: dict[str, Any] = {}
        for panel in axes:
            found, labels = panel.get_legend_handles_labels()
            handles |= dict(zip(labels, found, strict=True))
        if handles:
            figure.legend(
                list(handles.values()), list(handles), loc="outside lower center", ncols=5
            )
        figure.savefig(file, **options)


def _inline(document: str, name: str, title: str) -> str:
    """Turn an SVG document into an element of an HTML page."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # only ids of <defs> are referred to
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for variable, color in COLORS.items():
        svg = svg.replace(color, f"var(--{variable})")
    label = escape(title)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return svg.replace(">", f"><title>{label}</title>", 1)
