"""A machine whose clock only advances when a network runs, so that every figure is exact."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from hardware_profiles.profile_device import WARM_UP_SECONDS, WINDOWS, Opener, Session, Visit

MILLISECOND = 1_000_000  # nanoseconds
# Longer than the warm-up and a window: one run touches, one warms up, the least fill a window
LONG = round(1.05 * WARM_UP_SECONDS * 1e9)
RUNS_OF_VISIT = 2 + WINDOWS * 5

Cost = Callable[[int, int], "int | tuple[int, int]"]
"""(how often the network was opened before, run of this visit) -> ns, or ns of wall and own."""


class Machine:
    """`opened` holds the names in the order of visits, `begun` when each began (seconds)."""

    def __init__(self) -> None:
        self.now = 0
        self.opened: list[str] = []
        self.begun: list[float] = []
        self.closed = 0
        self.windows: list[int] = []  # runs that were asked for at once

    def clock(self) -> float:
        return self.now / 1e9

    def opener(self, cost: Cost | int, name: str = "a") -> Opener:
        """A network of that cost."""
        of_run = cost if callable(cost) else lambda visit, run: cost

        @contextmanager
        def opened() -> Iterator[Callable[[int], tuple[list[int], list[int]]]]:
            visit, runs = self.opened.count(name), 0
            self.opened.append(name)
            self.begun.append(self.clock())

            def timer(n: int) -> tuple[list[int], list[int]]:
                nonlocal runs
                self.windows.append(n)
                wall, own = [], []
                for _ in range(n):
                    took = of_run(visit, runs)
                    both = took if isinstance(took, tuple) else (took, took)
                    wall.append(both[0])
                    own.append(both[1])
                    self.now += both[0]
                    runs += 1
                return wall, own

            try:
                yield timer
            finally:
                self.closed += 1

        return opened

    def session(self, costs: Mapping[str, Cost | int], **settings: object) -> Session:
        """A session over networks of these costs, under this clock."""
        openers = {name: self.opener(cost, name) for name, cost in costs.items()}
        return Session(openers, clock=self.clock, **settings)


def made(*best_ms: float) -> list[Visit]:
    """Visits whose best windows are these."""
    return [Visit([2 * one, one, 3 * one], [4 * one, 5 * one, 4 * one]) for one in best_ms]
