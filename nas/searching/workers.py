"""Evaluations side by side, in processes of their own."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from os import _exit

from nas.searching.measured_log import Answer, Failure
from search_spaces import Architecture

Evaluate = Callable[[Architecture], Answer]
Start = Callable[[], Evaluate]
"""Called once in every process: loads what evaluations need and returns what evaluates. It must be
a function of a module, or a `functools.partial` of one.
"""

TRIES = 2  # alone, of an evaluation during which a process was killed
_evaluate: Evaluate | None = None  # of this process, where it is a worker


class Workers:
    """Evaluates architectures in `number` processes; with 1, in this one.

    An evaluation that raises has failed. One whose process is killed is tried again, alone, so that
    nobody else's is lost with it; what kills its process twice has failed too.
    """

    def __init__(self, start: Start, number: int) -> None:
        self._start, self._number = start, number
        self._pool: ProcessPoolExecutor | None = None
        self._here: Evaluate | None = None
        self._others = set(active_children())

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        ours = set(active_children()) - self._others
        self._close()
        if kind is not None:  # interrupted: what is under way is not waited for
            for process in ours:
                process.terminate()

    def __call__(self, architectures: Sequence[Architecture]) -> Iterator[tuple[int, Answer]]:
        """Yield (position, answer) of every architecture, in the order in which they end."""
        if self._number == 1:
            self._here = self._here or self._start()
            for position, architecture in enumerate(architectures):
                yield position, answer(self._here, architecture)
            return
        left = dict(enumerate(architectures))
        while left:
            for position, found in self._side_by_side(dict(left)):
                del left[position]
                yield position, found
            # a process was killed: those that were running, one at a time, show whose it was
            for position in list(left)[: 2 * self._number]:
                yield position, self._alone(left.pop(position))

    def _side_by_side(
        self, architectures: Mapping[int, Architecture]
    ) -> Iterator[tuple[int, Answer]]:
        """Yield answers until all are there, or a process is killed."""
        futures: dict[Future[Answer], int] = {}
        try:
            for position, architecture in architectures.items():
                futures[self._open().submit(_work, architecture)] = position
        except BrokenProcessPool:
            self._close()
        for future in as_completed(futures):
            try:
                found = future.result()
            except BrokenProcessPool:
                self._close()
                continue
            yield futures[future], found

    def _alone(self, architecture: Architecture) -> Answer:
        for _ in range(TRIES):
            try:
                return self._open().submit(_work, architecture).result()
            except BrokenProcessPool:
                self._close()
        return Failure(
            f"the process that evaluated it was killed {TRIES} times (a script that searches with "
            'workers begins under `if __name__ == "__main__":`)'
        )

    def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._number, get_context("spawn"), initializer=_begin, initargs=(self._start,)
            )
        return self._pool

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def answer(evaluate: Evaluate, architecture: Architecture) -> Answer:
    """Evaluate one architecture; what it raises is its failure."""
    try:
        return evaluate(architecture)
    except Exception as error:  # noqa: BLE001 - whatever a user's function does
        return Failure(f"{type(error).__name__}: {error}")


def _begin(start: Start) -> None:
    """Prepare a worker, which ends with the process that started it."""
    global _evaluate
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        _evaluate = start()
    except Exception as error:  # noqa: BLE001 - a pool whose workers raise here never says why
        failure = Failure(f"a process could not start: {type(error).__name__}: {error}")
        _evaluate = lambda architecture: failure  # noqa: E731


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    _exit(1)


def _work(architecture: Architecture) -> Answer:
    assert _evaluate is not None
    return answer(_evaluate, architecture)
