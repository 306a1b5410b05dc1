"""One function per chart, from plain facts to an `<svg>` element. Predicted and measured values
never share an axis, except where they are held against each other.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nas.reporting.formats import budget
from nas.reporting.predictor_facts import PredictorFacts, Quantity, validation_quantity
from nas.reporting.search_facts import SearchFacts
from nas.reporting.svg import COLORS, draw_svg
from nas.searching.evaluations import MeasuredSubnet

_STAR = {"marker": "*", "markersize": 15, "ls": "none", "zorder": 5, "color": COLORS["chosen"]}
_MISS = {"marker": "X", "markersize": 10, "ls": "none", "zorder": 5, "color": COLORS["chosen"]}


def front_chart(
    searches: Sequence[SearchFacts],
    measured: Sequence[MeasuredSubnet],
    quantity: Quantity,
    metric: str = "accuracy",
) -> str:
    """Draw the predicted fronts, and beside them the measured subnets, with budgets and choices.

    Args:
        searches: made from the same supernet and profile, and so comparable.
        measured: all measured subnets of that supernet on that target.
        quantity: what the accuracy predictor predicts.
        metric: that subnets are judged by.
    """

    def draw(axes: list[Any]) -> None:
        _draw_predicted(axes[0], searches, quantity)
        _draw_measured(axes[1], searches, measured, metric)
        for panel in axes:
            _draw_budgets(panel, {search.result.budget_ms for search in searches})

    title = (
        f"Left: predicted {quantity.name} against predicted latency. "
        f"Right: measured validation {metric} against measured latency."
    )
    return draw_svg("front", title, 2, draw, height=4.3)


def _draw_predicted(panel: Any, searches: Sequence[SearchFacts], quantity: Quantity) -> None:
    for search in searches:
        points = [member.predicted for member in search.result.front]
        panel.plot(
            [point["latency_ms"] for point in points],
            [point[search.result.predicted_quantity] * quantity.scale for point in points],
            color=COLORS["predicted"],
            marker="o",
            markersize=3.5,
            linewidth=1,
            label="front (predicted)",
        )
    for search in searches:
        winner, loss = search.result.winner, search.winner_loss
        if winner is not None and loss is not None:
            panel.plot(
                winner.predicted_latency_ms, loss * quantity.scale, label="chosen subnet", **_STAR
            )
    panel.set_title("Predicted")
    panel.set_xlabel("latency, predicted (ms)")
    panel.set_ylabel(quantity.label("predicted"))


def _draw_measured(
    panel: Any,
    searches: Sequence[SearchFacts],
    measured: Sequence[MeasuredSubnet],
    metric: str,
) -> None:
    shown = validation_quantity(metric)
    latency = np.array([subnet.latency_ms for subnet in measured])
    noise = latency * np.array([subnet.noise for subnet in measured])
    panel.errorbar(
        latency,
        [subnet.validation_accuracy * shown.scale for subnet in measured],
        xerr=[np.zeros(len(measured)), noise],
        fmt="s",
        markersize=4.5,
        linewidth=1,
        color=COLORS["measured"],
        label="subnet (measured)",
    )
    for search in searches:
        winner, miss = search.result.winner, search.result.closest_miss
        if winner is not None:
            accuracy = winner.validation_accuracy * shown.scale
            panel.plot(winner.measured_latency_ms, accuracy, label="chosen subnet", **_STAR)
        elif miss is not None:
            accuracy = miss.validation_accuracy * shown.scale
            panel.plot(miss.measured_latency_ms, accuracy, label="closest miss", **_MISS)
    panel.set_title("Measured")
    panel.set_xlabel("latency, measured (ms)")
    panel.set_ylabel(shown.label("measured"))


def _draw_budgets(panel: Any, budgets_ms: Iterable[float]) -> None:
    for budget_ms in sorted(budgets_ms):
        panel.axvline(budget_ms, color=COLORS["ink"], linestyle="--", linewidth=1, label="budget")
        panel.annotate(
            budget(budget_ms),
            (budget_ms, 0.98),
            xycoords=panel.get_xaxis_transform(),
            xytext=(-3, 0),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
            fontsize=8,
        )


def predictor_chart(predictors: Sequence[PredictorFacts]) -> str:
    """Draw predicted against measured values of subnets each predictor had not seen."""

    def draw(axes: list[Any]) -> None:
        for panel, facts in zip(axes, predictors, strict=True):
            quantity = facts.quantity
            measured = facts.measured * quantity.scale
            predicted = facts.predicted * quantity.scale
            ends = [min(measured.min(), predicted.min()), max(measured.max(), predicted.max())]
            panel.plot(ends, ends, color=COLORS["ink"], linewidth=1, label="predicted = measured")
            panel.plot(
                measured,
                predicted,
                "o",
                markersize=4.5,
                alpha=0.75,
                color=COLORS["predicted"],
                label="held-out subnet",
            )
            panel.set_title(f"{quantity.name.capitalize()}, {len(measured)} held-out subnets")
            panel.set_xlabel(quantity.label("measured"))
            panel.set_ylabel(quantity.label("predicted"))

    names = " and ".join(facts.quantity.name for facts in predictors)
    title = f"Predicted against measured {names} of held-out subnets, with the line of equality."
    return draw_svg("predictors", title, len(predictors), draw)
