"""Progress on the terminal; everything here writes to stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)


class Advance(Protocol):
    """Moves a bar."""

    def __call__(self, done: int, note: str = "", total: int | None = None) -> None:
        """Say how many steps are done so far, a few words, and the total where it is news."""


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Advance]:
    """Show a bar with time left while the block runs; call the yielded function with steps done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(done: int, note: str = "", total: int | None = None) -> None:
            bar.update(task, completed=done, note=note, total=total)

        yield advance


def say(line: str) -> None:
    """Print one line for the user."""
    console.print(line, markup=False, soft_wrap=True)
