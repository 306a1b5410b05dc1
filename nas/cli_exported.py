"""What `nas export` says of one folder on the screen."""

from typing import TYPE_CHECKING, Any

import typer

from nas.terminal import print_table

if TYPE_CHECKING:
    from nas.results import ExportResult


def show_export(result: "ExportResult") -> None:
    """Say where a folder lies, what its files cost, and how precisions compare."""
    words = f"{result.measured_latency_ms:.4f} ms measured, {result.weights} weights"
    typer.echo(f"{result.directory}  {words}")
    converted = {
        name: entry["conversion"]
        for name, entry in (*result.models.items(), *result.engines.items())
        if entry.get("conversion")
    }
    for name, conversion in converted.items():
        _show_conversion(name, conversion, result.metric)
    if result.precisions:
        _show_precisions(result)
    for name, engine in result.engines.items():
        worst = max(one["max_abs_difference"] for one in engine["parity"].values())
        typer.echo(f"{name}  differs by {worst:.2g} at most; again, and its latency, by trtexec:")
        typer.echo(f"    {engine['build_command']}\n    {engine['time_command']}")


def _show_conversion(name: str, conversion: Any, metric: str) -> None:
    from nas.exporting.folder_readme import describe_conversion
    from nas.exporting.manifest import Conversion

    stated = Conversion.model_validate(conversion)
    typer.echo(f"{name}  {describe_conversion(stated, metric)}")


def _show_precisions(result: "ExportResult") -> None:
    from rich.table import Table

    from nas.exporting.comparison import PrecisionRow
    from nas.exporting.folder_readme import cells_of

    table = Table(title="precisions", title_justify="left")
    for name in ("precision", result.metric, "ms", "of fp32's", "bytes", "file", "note"):
        left = name in ("precision", "file", "note")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for stated in result.precisions:
        table.add_row(*cells_of(PrecisionRow.model_validate(stated), result.metric))
    print_table(table)
    typer.echo(f"take {result.recommended}: {result.reason}")
