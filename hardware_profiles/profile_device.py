"""The measuring loop and the ONNX Runtime runner.

Standard library, numpy and onnxruntime only, Python 3.8 syntax, nothing of ours: this file can be
copied to a device and used there.

How it measures: every item is warmed up; then several passes go over all items, each pass in a new
random order, so that a slow moment of the machine hits different items in different passes. A visit
times runs in short windows and takes each window's median. The latency is the least of an item's
window medians (disturbance only ever adds time); the noise is how far the typical pass lies above
it, as a share.
"""

from __future__ import annotations  # modern annotations on Python 3.8

import random
import statistics
import time
from typing import Any, Callable, Iterable, Sequence

WINDOW_SECONDS = 0.005  # long against the clock's tick and one run of a small net
MIN_RUNS = 5  # in a window
MAX_RUNS = 2000
WARM_UP_SECONDS = 0.02
BUDGET_PASSES = 5  # of a measurement that decides about a budget


class Measurement:
    """What was measured of one item.

    pass_latencies_ms: the best window median of every pass. latency_ms: the least of them.
    typical_ms: their median. noise: (typical - latency) / latency.
    """

    def __init__(self, pass_latencies_ms: Iterable[float]) -> None:
        self.pass_latencies_ms = list(pass_latencies_ms)
        self.latency_ms = min(self.pass_latencies_ms)
        self.typical_ms = statistics.median(self.pass_latencies_ms)
        self.noise = (self.typical_ms - self.latency_ms) / max(self.latency_ms, 1e-9)

    def keeps(self, budget_ms: float) -> bool:
        """Tell whether the typical pass, not just the best one, is within a budget."""
        return self.typical_ms <= budget_ms


def measure(
    runners: Sequence[Callable[[], Any]],
    passes: int = 3,
    windows: int = 3,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> list[Measurement]:
    """Measure callables side by side.

    Args:
        runners: list of functions without arguments; one call is one run.
        passes: how often all items are visited. windows: per visit.
        seed: of the visiting order.
        progress: called after every visit.
        clock: nanoseconds.

    Returns:
        One Measurement per runner, in order.
    """
    order_of_visits = random.Random(seed)
    best: list[list[float]] = [[] for _ in runners]
    for runner in runners:
        _warm_up(runner, clock)
    for _ in range(passes):
        order = list(range(len(runners)))
        order_of_visits.shuffle(order)
        for i in order:
            runners[i]()  # brings its weights back to the cache
            best[i].append(min(_window_median(runners[i], clock) for _ in range(windows)) / 1e6)
            if progress is not None:
                progress()
    return [Measurement(latencies) for latencies in best]


def _warm_up(runner: Callable[[], Any], clock: Callable[[], int]) -> None:
    start = clock()
    for _ in range(MAX_RUNS):
        runner()
        if clock() - start > WARM_UP_SECONDS * 1e9:
            break


def _window_median(runner: Callable[[], Any], clock: Callable[[], int]) -> float:
    """Time single runs until the window is over; nanoseconds."""
    times: list[int] = []
    start = previous = clock()
    while len(times) < MIN_RUNS or (
        previous - start < WINDOW_SECONDS * 1e9 and len(times) < MAX_RUNS
    ):
        runner()
        now = clock()
        times.append(now - previous)
        previous = now
    return statistics.median(times)


def measure_models(models: Sequence[bytes | str], threads: int = 1) -> list[Measurement]:
    """Time ONNX models (bytes or paths) side by side, batch 1, to hold them against a budget."""
    return measure([onnx_runner(model, threads) for model in models], BUDGET_PASSES)


def onnx_runner(
    model: bytes | str,
    threads: int = 1,
    batch_size: int = 1,
    provider: str = "CPUExecutionProvider",
    seed: int = 0,
) -> Callable[[], Any]:
    """Open a model (bytes or path) in ONNX Runtime and return a function that runs it once.

    Inputs are standard normal; free dimensions are set to `batch_size`.
    """
    session = onnx_session(model, threads, provider)
    import numpy

    generator = numpy.random.default_rng(seed)
    feeds = {}
    for node in session.get_inputs():
        shape = [size if isinstance(size, int) else batch_size for size in node.shape]
        feeds[node.name] = generator.standard_normal(shape).astype(numpy.float32)
    names = [node.name for node in session.get_outputs()]
    return lambda: session.run(names, feeds)


def onnx_session(
    model: bytes | str, threads: int = 1, provider: str = "CPUExecutionProvider"
) -> Any:
    """Open a model (bytes or path) with all graph optimisations on a stated number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=[provider])
