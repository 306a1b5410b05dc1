"""Charts of trainings: one over its epochs, and several beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.reporting.predictor_facts import Quantity, validation_quantity
from nas.reporting.svg import COLORS, draw_svg
from nas.training.metrics import Record

LOOKED_AT = ("largest_accuracy", "smallest_accuracy")
ROLE_LINES = {"largest": "-", "random": ":", "smallest": "--"}
EVENT_LINES = {"skipped": ":", "roll-back": "-", "channels sorted": "-."}
LINE_STYLES = ("-", "--", ":", "-.")  # of runs beside each other


@dataclass(frozen=True)
class TrainingCurve:
    """The records of a training by epoch, and what it is called."""

    name: str
    records: Sequence[Record]


def training_chart(
    records: Sequence[Record], events: Sequence[Record], metric: str, loss: Quantity
) -> str:
    """Draw losses by role, the learning rate and, once looked at, the metric of both ends of the
    space; what happened is marked on all.

    Args:
        records: of epochs, in order.
        events: skipped steps, roll-backs, sorted channels.
        loss: as subnets are validated by; training's has its unit.
    """
    looked_at = [record for record in records if set(LOOKED_AT) <= set(record)]

    def draw(axes: list[Any]) -> None:
        _draw_losses(axes[0], records, loss)
        _draw_rate(axes[1], records)
        if looked_at:
            _draw_accuracies(axes[2], looked_at, validation_quantity(metric))
        for panel in axes:
            _draw_events(panel, events)
            panel.set_xlabel("epoch")
            panel.set_xlim(0, records[-1]["epoch"] * 1.03)
            panel.xaxis.get_major_locator().set_params(integer=True)

    accuracy = f", measured validation {metric} of the smallest and of the largest subnet"
    title = f"Training over the epochs: losses, learning rate{accuracy if looked_at else ''}."
    return draw_svg("training", title, 3 if looked_at else 2, draw, height=3.6)


def _draw_losses(panel: Any, records: Sequence[Record], loss: Quantity) -> None:
    curves = _losses_by_role(records)
    for role, points in curves.items():
        epochs, losses = [epoch for epoch, _ in points], [loss for _, loss in points]
        _line(panel, epochs, losses, f"loss, {role}", ROLE_LINES.get(role, "-"))
    panel.set_ylabel("training loss, measured" + (f" ({loss.unit})" if loss.unit else ""))
    if all(value >= 0 for points in curves.values() for _, value in points):
        panel.set_ylim(bottom=0)


def _losses_by_role(records: Sequence[Record]) -> dict[str, list[tuple[float, float]]]:
    """Return epochs and losses of every role; of the first subnet where roles were not told."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for role, loss in record.get("losses", {}).items():
            if loss is not None:
                curves.setdefault(role, []).append((record["epoch"], loss))
    return curves or {"of a step": [(record["epoch"], record["loss"]) for record in records]}


def _draw_rate(panel: Any, records: Sequence[Record]) -> None:
    epochs = [record["epoch"] for record in records]
    _line(panel, epochs, [record["learning_rate"] for record in records], None, "-")
    panel.set_ylabel("learning rate")
    panel.set_ylim(bottom=0)


def _line(
    panel: Any, x: Sequence[float], y: Sequence[float], label: str | None, style: str
) -> None:
    panel.plot(
        x,
        y,
        marker="o" if len(x) == 1 else "",
        linewidth=1.2,
        linestyle=style,
        color=COLORS["ink"],
        label=label,
    )


def _draw_accuracies(panel: Any, records: Sequence[Record], shown: Quantity) -> None:
    for name, marker in (("smallest", "v"), ("largest", "^")):
        panel.plot(
            [record["epoch"] for record in records],
            [record[f"{name}_accuracy"] * shown.scale for record in records],
            marker=marker,
            markersize=5,
            linestyle=ROLE_LINES[name],
            linewidth=1.2,
            color=COLORS["measured"],
            label=f"{name} subnet (measured)",
        )
    panel.set_ylabel(shown.label("measured"))


def _draw_events(panel: Any, events: Sequence[Record]) -> None:
    for event in events:
        name = event["event"]
        style = EVENT_LINES.get(name, "-")
        panel.axvline(
            event["epoch"], color=COLORS["chosen"], linestyle=style, linewidth=1, label=name
        )


def comparison_chart(curves: Sequence[TrainingCurve], metric: str) -> str:
    """Draw several trainings beside each other: loss of the first subnet of the steps, and the
    metric of both ends, over the minutes that were trained.

    Args:
        curves: each of one epoch or more.
    """
    shown = validation_quantity(metric)
    timed = all("seconds" in record for curve in curves for record in curve.records)

    def draw(axes: list[Any]) -> None:
        for i, curve in enumerate(curves):
            style = LINE_STYLES[i % len(LINE_STYLES)]
            line = {"color": f"C{i}", "linestyle": style, "linewidth": 1.4, "label": curve.name}
            times = _minutes(curve.records) if timed else _epochs(curve.records)
            axes[0].plot(times, [record["loss"] for record in curve.records], **line)
            for panel, name in zip(axes[1:], LOOKED_AT, strict=True):
                looked_at = [(t, r) for t, r in zip(times, curve.records, strict=True) if name in r]
                values = [record[name] * shown.scale for _, record in looked_at]
                panel.plot([time for time, _ in looked_at], values, marker="o", ms=3, **line)
        titles = ("First subnet of the steps", "Largest subnet", "Smallest subnet")
        for panel, title in zip(axes, titles, strict=True):
            panel.set_title(title)
            panel.set_ylabel(shown.label("measured"))
        axes[0].set_ylabel("training loss, measured")
        for panel in axes:
            panel.set_xlabel("minutes of training" if timed else "epoch")

    names = ", ".join(curve.name for curve in curves)
    title = f"Trainings beside each other: {names}. Loss, {metric} of the largest, of the smallest."
    return draw_svg("comparison", title, 3, draw, height=3.6)


def _minutes(records: Sequence[Record]) -> list[float]:
    minutes: list[float] = (np.cumsum([record["seconds"] for record in records]) / 60).tolist()
    return minutes


def _epochs(records: Sequence[Record]) -> list[float]:
    return [float(record["epoch"]) for record in records]
