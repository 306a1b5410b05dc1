"""What commands share: the option `--json`, and results as JSON, rows or tables on stdout."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]

UNBOUNDED_WIDTH = 240  # columns, where no terminal sets them


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print plain data as JSON."""
    typer.echo(json.dumps(value, indent=1))


def printable(text: str) -> str:
    """Return text of a file from elsewhere without what moves the cursor or starts new lines."""
    return "".join(one if one.isprintable() else "?" for one in text)


def print_rows(rows: Sequence[tuple[str, str]], err: bool = False) -> None:
    """Print names and values in two columns."""
    for name, value in rows:
        typer.echo(f"{name:<20} {value}", err=err)


def print_table(table: Any) -> None:
    """Print a rich table; as wide as it likes where no terminal bounds it."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else UNBOUNDED_WIDTH
    Console(highlight=False, width=width).print(table)
