"""What commands that search share: budgets as they are typed, and results in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from nas.terminal import print_rows

if TYPE_CHECKING:
    from nas.results import RunResult, SearchResult

FAILED = 1  # exit code: a budget missed, a verification failed


def read_budget(text: str) -> float | str:
    """Read a budget: milliseconds as a number, a share as it is."""
    if text.strip().endswith("%"):
        return text.strip()
    try:
        return float(text)
    except ValueError:
        return text  # refused, with the way out, where budgets are checked


def fail_without_subnet(results: "Sequence[SearchResult | RunResult]") -> None:
    """Exit with 1 where a search found nothing that keeps its budget."""
    if any(result.winner is None and result.candidate is None for result in results):
        raise typer.Exit(FAILED)


def show_result(result: "SearchResult | RunResult", report_path: str | None = None) -> None:
    """Print what a search chose, or what came closest."""
    from nas.results import metric_text

    winner, miss, candidate = result.winner, result.closest_miss, result.candidate
    metric = result.metric
    rows = [("budget", f"{result.budget_ms:.4g} ms")]
    if winner is not None:
        rows += [
            ("chosen subnet", winner.architecture_id),
            (f"test {metric}", metric_text(metric, winner.test_accuracy)),
            (f"validation {metric}", metric_text(metric, winner.validation_accuracy)),
            ("predicted latency", f"{winner.predicted_latency_ms:.4f} ms"),
            ("measured latency", f"{winner.measured_latency_ms:.4f} ms"),
            ("margin", f"{1 - winner.measured_latency_ms / result.budget_ms:.1%} of the budget"),
            ("weights", winner.weights),
            ("model", winner.model_path),
        ]
    elif candidate is not None:
        upper = f"{candidate.predicted_upper_ms:.4f} ms"
        rows += [
            ("candidate", candidate.architecture_id),
            (f"test {metric}", metric_text(metric, candidate.test_accuracy)),
            (f"validation {metric}", metric_text(metric, candidate.validation_accuracy)),
            ("predicted latency", f"{candidate.predicted_latency_ms:.4f} ms, upper bound {upper}"),
            ("measured latency", f"not measured: {result.target} is not this machine"),
            ("weights", candidate.weights),
            ("model", candidate.model_path),
            (
                "measure it there",
                "python profile_device.py --models model.onnx --out result.json (in its folder)",
            ),
        ]
    elif miss is not None:
        rows += [
            ("chosen subnet", "none: no measured subnet keeps the budget"),
            ("closest miss", miss.architecture_id),
            ("measured latency", f"{miss.measured_latency_ms:.4f} ms, noise {miss.noise:.1%}"),
            (f"validation {metric}", metric_text(metric, miss.validation_accuracy)),
        ]
    for name, other in getattr(result, "also", {}).items():
        words = f"budget {other.budget_ms:.4g} ms"
        if other.predicted_ms is not None:
            words += f", predicted {other.predicted_ms:.4f}, upper bound"
            words += f" {other.predicted_upper_ms:.4f} ms"
        rows.append((f"on {name}", words))
    if report_path is not None:
        rows.append(("report", report_path))
    print_rows(rows)
