"""Progress on the terminal; everything here writes to stderr."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)

SECONDS_BETWEEN_LINES = 2


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
    if not console.is_terminal:
        yield _PrintedTenths(description, total)
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(done: int, note: str = "", total: int | None = None) -> None:
            bar.update(task, completed=done, note=note, total=total)

        yield advance


class _PrintedTenths:
    """Where there is no terminal: a line for every tenth, but none for what is over in seconds."""

    def __init__(self, description: str, total: int) -> None:
        self._description, self._total = description, total
        self._next_tenth, self._printed = 1, time.monotonic()

    def __call__(self, done: int, note: str = "", total: int | None = None) -> None:
        self._total = total or self._total
        if done * 10 < self._next_tenth * self._total:
            return
        self._next_tenth = done * 10 // self._total + 1
        if time.monotonic() - self._printed > SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            say(f"{self._description:<11} {done / self._total:5.0%}  {note}".rstrip())


def say(line: str) -> None:
    """Print one line for the user."""
    console.print(line, markup=False, soft_wrap=True)
