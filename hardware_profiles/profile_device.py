"""Times networks on a device: the measuring loop, ONNX Runtime, and the program of a kit.

Standard library, numpy and onnxruntime only, Python 3.8 syntax, nothing of ours: this very file
goes into kits, and the engine measures with it too.

    python profile_device.py --threads 1 --minutes 20        # beside kit.json and models.zip
    python profile_device.py --models model.onnx other.onnx  # a few files, side by side
    python profile_device.py --models model.onnx --out result.json  # to be imported elsewhere

How it measures: passes go over all networks, each pass in a new random order, so that a slow moment
of the machine hits different networks in different passes. A visit opens the network, warms it up,
and times single runs in short windows; a window's figure is the median of its runs. The latency is
the least of a network's window medians (disturbance only ever adds time). On one CPU thread a run
is timed by the thread's own clock, which stands still while another process has the core; the wall
time is kept beside it. Where the system allows it, the process has a higher priority than others.
Networks whose two best passes disagree are visited again while there is time. One network, the
reference, is visited throughout, to see the machine's speed drift.
"""

from __future__ import annotations  # modern annotations on Python 3.8

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
)

FORMAT = 1
WINDOW_SECONDS = 0.005  # long against the clock's tick and one run of a small net
WINDOWS = 3  # of a visit
MIN_RUNS = 5  # in a window
MAX_RUNS = 2000
WARM_UP_SECONDS = 0.01
PASSES = 3
MAX_PASSES = 12  # of a session, with those over networks that go on disagreeing
AGREEMENT = 0.03  # the two best passes of a network agree within this share
NOISY_SHARE = 0.25  # of networks that disagree, above which nothing should be believed
ENOUGH_NETWORKS = 8  # visited twice, to tell that
ENOUGH_VISITS = 5  # of a network, to tell that its fastest one is out of line
REFERENCE_SECONDS = 2.0  # between visits of the reference, and
REFERENCE_SHARE = 20  # times as long as one takes, where networks are slow
BUDGET_PASSES = 5  # of a measurement that decides about a budget
MEMORY_SECONDS = 120  # for one network
NOTHING_ASKED = 3  # exit code of a fork that found the end of its input
OWN_CLOCK = None if os.name == "nt" else time.thread_time_ns  # on Windows it steps by 15.6 ms
CPU_PROVIDER = "CPUExecutionProvider"
KIT_NAME, MODELS_NAME, RESULT_NAME = "kit.json", "models.zip", "result.json"
SHAPES_KEY = "input_shapes"  # of a model's properties: JSON, input name -> sizes but the batch

Timer = Callable[[int], Tuple[List[int], List[int]]]
"""Runs a network n times; returns n wall and n own times (ns), the least disturbed there are."""

Opener = Callable[[], ContextManager[Timer]]


class DeviceError(Exception):
    """What a user can cause; the message says what was expected, what came and the way out."""


class RefusedError(DeviceError):
    """The runtime cannot open or run a network."""


# --- what was measured ----------------------------------------------------------------------------


class Visit(NamedTuple):
    """The windows of one visit: medians in ms by the own and by the wall clock.

    resident_bytes: what opening and running the network added to a fresh process at most (None
    where the system does not tell, and after the first visit).
    """

    own_ms: List[float]
    wall_ms: List[float]
    resident_bytes: Optional[int] = None


class Measurement:
    """What the visits of one network say.

    latency_ms: the least window median; of five visits or more, a lone fast one that no other comes
    near does not count (a processor's boost, say, which ends before anything else is measured).
    typical_ms: the median, over visits, of the best window.
    noise: (typical - latency) / latency. wall_ms: the least window median of the wall clock.
    disagreement: how far the second best visit lies above the best, a share (None with one visit).
    resident_bytes: as of the visits.
    """

    def __init__(self, visits: Iterable[Visit]) -> None:
        visits = list(visits)
        best = sorted(min(visit.own_ms) for visit in visits)
        self.visits = len(visits)
        if len(best) >= ENOUGH_VISITS and best[1] / best[0] - 1 > AGREEMENT:
            del best[0]
        self.latency_ms = best[0]
        self.typical_ms = statistics.median(best)
        self.noise = (self.typical_ms - self.latency_ms) / self.latency_ms
        self.wall_ms = min(min(visit.wall_ms) for visit in visits)
        self.disagreement = best[1] / best[0] - 1 if len(best) > 1 else None
        memory = [v.resident_bytes for v in visits if v.resident_bytes is not None]
        self.resident_bytes = max(memory) if memory else None

    def keeps(self, budget_ms: float) -> bool:
        """Tell whether the typical pass, not just the best one, is within a budget."""
        return self.typical_ms <= budget_ms


def drift(visits: Sequence[Visit]) -> Optional[float]:
    """How much slower the reference's slowest stretch was than its fastest, as a share.

    A stretch is three visits in a row, of which the best counts: one disturbed visit is no drift.
    None where there are too few visits to tell.
    """
    best = [min(visit.own_ms) for visit in visits]
    stretches = [min(best[i : i + 3]) for i in range(len(best) - 2)]
    return max(stretches) / min(stretches) - 1 if len(stretches) > 1 else None


def too_noisy(measurements: Iterable[Any]) -> Optional[str]:
    """Say why these measurements should not be believed, or nothing.

    Nothing too where fewer networks were visited twice than tell anything.
    """
    known = [m.disagreement for m in measurements if m.disagreement is not None]
    doubtful = sum(disagreement > AGREEMENT for disagreement in known)
    if len(known) < ENOUGH_NETWORKS or doubtful <= NOISY_SHARE * len(known):
        return None
    return (
        f"too noisy: the two best passes of {doubtful} of {len(known)} networks differ by more "
        f"than {AGREEMENT:.0%}; close what else runs there and repeat the command, which goes on "
        "with what was measured, or take it as it is with --accept-noise"
    )


# --- the loop -------------------------------------------------------------------------------------


def timed(run: Callable[[], Any], own_clock: Optional[Callable[[], int]] = None) -> Timer:
    """Make a timer of a function; `own_clock` (ns) stands still while other work has the core."""
    wall_clock = time.perf_counter_ns
    if own_clock is None:

        def wall_timer(n: int) -> Tuple[List[int], List[int]]:
            wall = []
            for _ in range(n):
                start = wall_clock()
                run()
                wall.append(wall_clock() - start)
            return wall, wall

        return wall_timer
    clock = own_clock
    readings = [clock() for _ in range(101)]
    cost = int(statistics.median(b - a for a, b in zip(readings, readings[1:])))  # of reading it

    def own_timer(n: int) -> Tuple[List[int], List[int]]:
        wall, own = [], []
        for _ in range(n):
            start = wall_clock()
            own_start = clock()
            run()
            own.append(max(clock() - own_start - cost, 1))
            wall.append(wall_clock() - start)
        return wall, own

    return own_timer


def visit(opener: Opener) -> Visit:
    """Open a network, warm it up, time its windows, close it."""
    with opener() as timer:
        timer(1)  # first touch of everything
        spent, fastest = 0, 0
        while spent < WARM_UP_SECONDS * 1e9:
            wall, _ = timer(1 if not fastest else _runs(fastest, WARM_UP_SECONDS / 2))
            spent, fastest = spent + sum(wall), min(wall)
        runs = _runs(fastest, WINDOW_SECONDS)
        own_ms, wall_ms = [], []
        for _ in range(WINDOWS):
            wall, own = timer(runs)
            own_ms.append(statistics.median(own) / 1e6)
            wall_ms.append(statistics.median(wall) / 1e6)
        return Visit(own_ms, wall_ms)


def _runs(run_ns: int, seconds: float) -> int:
    return min(MAX_RUNS, max(MIN_RUNS, round(seconds * 1e9 / max(run_ns, 1))))


class Session:
    """Visits of named networks, in random interleaved passes, bounded by time.

    Args:
        openers: by name. reference: the name of one that is visited throughout as well.
        known: visits made earlier, by name; they count.
        record: called with name and visit after each.
        passes: over all networks, before those that disagree are visited again.
        seconds: after which no visit is begun; None sets no limit on the passes, and half as many
            visits again on what follows.
        progress: called with visits done and visits to do.
        resident_bytes: tells the memory of a network by name; asked once for each.
        refused: the kind of error that leaves a network out and goes on with the others.
    """

    def __init__(
        self,
        openers: Mapping[str, Opener],
        *,
        reference: Optional[str] = None,
        known: Optional[Mapping[str, Sequence[Visit]]] = None,
        record: Callable[[str, Visit], None] = lambda name, visit: None,
        passes: int = PASSES,
        seconds: Optional[float] = None,
        seed: int = 0,
        progress: Callable[[int, int], None] = lambda done, total: None,
        resident_bytes: Callable[[str], Optional[int]] = lambda name: None,
        refused: Tuple[Type[Exception], ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.visits: Dict[str, List[Visit]] = {n: list((known or {}).get(n, [])) for n in openers}
        self.failures: Dict[str, str] = {}  # why a network was left out
        self._openers, self._reference, self._record = openers, reference, record
        self._passes, self._seconds, self._seed = passes, seconds, seed
        self._progress, self._clock = progress, clock
        self._resident_bytes, self._refused = resident_bytes, refused
        self._start = clock()
        self._done, self._next_reference = 0, 0.0
        self._durations: Dict[str, float] = {}  # of each network's last visit, seconds
        self._items = list(openers)

    def run(self) -> bool:
        """Measure; return whether every pass was made (False where time ran out)."""
        left = sum(max(0, self._passes - len(self.visits[name])) for name in self._items)
        for number in range(self._passes):
            due = [name for name in self._items if len(self.visits[name]) <= number]
            if not self._pass(due, number, left):
                return False
        extra = self._passes * len(self._items) // 2 if self._seconds is None else None
        for number in range(self._passes, MAX_PASSES):
            doubtful = [name for name in self._items if self._disagrees(name)]
            self._shuffle(doubtful, number)
            doubtful = doubtful[:extra]
            if not doubtful or not self._pass(doubtful, number, self._done + len(doubtful)):
                break
            extra = None if extra is None else extra - len(doubtful)
        return True

    def measurements(self) -> Dict[str, Measurement]:
        """What is known by now of every network that was visited."""
        return {name: Measurement(self.visits[name]) for name in self._items if self.visits[name]}

    def _pass(self, names: List[str], number: int, total: int) -> bool:
        order = sorted(names)
        self._shuffle(order, number)
        for name in order:
            reference = self._reference
            if reference is not None and self._spent() >= self._next_reference:
                if self._time_for(reference):
                    self._visit(reference)
                pause = max(REFERENCE_SECONDS, REFERENCE_SHARE * self._durations.get(reference, 0))
                self._next_reference = self._spent() + pause
            if not self._time_for(name):
                return False
            self._visit(name)
            self._done += 1
            self._progress(self._done, max(total, self._done))
        return True

    def _shuffle(self, names: List[str], number: int) -> None:
        random.Random("%d:%d" % (self._seed, number)).shuffle(names)

    def _spent(self) -> float:
        return self._clock() - self._start

    def _time_for(self, name: str) -> bool:
        """Tell whether there is time for a visit as long as its last one, or the longest known."""
        if self._seconds is None:
            return True
        longest = max(self._durations.values(), default=0.0)
        return self._spent() + self._durations.get(name, longest) <= self._seconds

    def _visit(self, name: str) -> None:
        if name in self.failures:
            return
        begin = self._clock()
        try:
            made = visit(self._openers[name])
        except self._refused as error:
            self.failures[name] = str(error)
            return
        self._durations[name] = self._clock() - begin
        if not self.visits[name] and self._time_for(name):
            made = made._replace(resident_bytes=self._resident_bytes(name))
        self.visits[name].append(made)
        self._record(name, made)

    def _disagrees(self, name: str) -> bool:
        if not self.visits[name]:
            return False
        disagreement = Measurement(self.visits[name]).disagreement
        return disagreement is None or disagreement > AGREEMENT


class WindowLog:
    """The raw windows of a session, one JSON line a visit, under a header that says of what.

    A torn last line (the process was killed) is cut off; damaged ones count as not there.

    Raises:
        DeviceError: the file holds something else, or visits of another plan or target.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.visits: Dict[str, List[Visit]] = {}
        head = {"format": FORMAT, "kind": "windows", **header}
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        if lines:
            _check_same(path, _json_object(lines[0]), head)
        for line in lines[1:]:
            record = _json_object(line)
            made = _visit_of(record)
            if made is not None:  # else damaged, and measured again
                self.visits.setdefault(record["item"], []).append(made)
        whole = sum(len(line) + 1 for line in lines)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if whole else "wb")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write(head)

    def add(self, name: str, made: Visit) -> None:
        """Append a visit."""
        self._write({"item": name, **made._asdict()})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()


def _check_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise DeviceError where the header of a log is of other measurements; name what differs."""
    names = [name for name in wanted if name != "target" and found.get(name) != wanted[name]]
    mine, theirs = wanted.get("target", {}), found.get("target", {})
    notes = ("notes", "frequency_mhz")  # a new kernel voids nothing
    if isinstance(theirs, dict):
        names += [name for name in mine if name not in notes and theirs.get(name) != mine[name]]
    else:
        names.append("target")
    if names:
        raise DeviceError(
            f"{path} holds unfinished measurements of another {', '.join(names)}; finish those, "
            "choose another --out, or remove it"
        )


def _json_object(line: bytes) -> Any:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _visit_of(record: Mapping[str, Any]) -> Optional[Visit]:
    """Return the visit that a line of a log holds; None where it is damaged."""
    if not isinstance(record.get("item"), str):
        return None
    own_ms: Any = record.get("own_ms")
    wall_ms: Any = record.get("wall_ms")
    for times in (own_ms, wall_ms):
        if not isinstance(times, list) or not times:
            return None
        if not all(isinstance(ms, float) and 0 < ms < float("inf") for ms in times):
            return None
    memory = record.get("resident_bytes")
    return Visit(own_ms, wall_ms, memory if isinstance(memory, int) else None)


def measure(
    openers: Sequence[Opener],
    passes: int = BUDGET_PASSES,
    seed: int = 0,
    resident_bytes: Callable[[int], Optional[int]] = lambda position: None,
) -> List[Measurement]:
    """Measure a few networks side by side; one Measurement each, in order."""
    session = Session(
        {"%09d" % i: opener for i, opener in enumerate(openers)},
        passes=passes,
        seed=seed,
        resident_bytes=lambda name: resident_bytes(int(name)),
    )
    session.run()
    return list(session.measurements().values())


# --- memory ---------------------------------------------------------------------------------------


class ResidentMemory:
    """Opens and runs ONNX models in fresh processes and reads their peak memory.

    On Linux, under the CPU provider; elsewhere every answer is None.

    In this process, what other networks left in the heap would hide or add to it. One helper
    process loads ONNX Runtime; each model gets a fork of it.
    """

    def __init__(self, threads: int = 1, batch_size: int = 1, provider: str = CPU_PROVIDER) -> None:
        self._process: Optional[Any] = None
        self._command = [sys.executable, __file__, "--serve-memory", "--threads", str(threads)]
        self._command += ["--batch-size", str(batch_size), "--provider", provider]
        self._start()

    def _start(self) -> None:
        self._process = None
        if not (hasattr(os, "fork") and Path("/proc/self/clear_refs").exists()):
            return
        if CPU_PROVIDER not in self._command:
            return
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a fork wants no threads
        with contextlib.suppress(OSError):  # no memory then: a device may not start processes
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )

    def __call__(self, model: bytes) -> Optional[int]:
        """Return the bytes that opening and running a model adds at most; None if unknown."""
        if self._process is None:
            return None
        try:
            self._process.stdin.write(len(model).to_bytes(8, "little") + model)
            self._process.stdin.flush()
            answer = self._process.stdout.readline().strip()
        except OSError:
            answer = b""
        if answer.isdigit():
            return int(answer)
        self._process.kill()  # what is left of the model in its pipe would be the next question
        self.close()
        self._start()
        return None

    def close(self) -> None:
        """End the helper process."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()


def _serve_memory(settings: argparse.Namespace) -> int:
    """Answer models on stdin (length, bytes) with a line each: bytes added, or "-"."""
    import numpy  # noqa: F401 -- before the forks, so that none of them counts it
    import onnxruntime  # noqa: F401

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    while True:
        child = os.fork()
        if child == 0:  # it reads the model itself: what this process had freed would stay with it
            code = 1
            with contextlib.suppress(Exception):
                code = _answer(settings)
            os._exit(code)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == NOTHING_ASKED:
            return 0
        if status != 0:
            with contextlib.suppress(OSError):
                os.write(1, b"-\n")


def _answer(settings: argparse.Namespace) -> int:
    head = os.read(0, 8)  # unbuffered: nothing is read ahead that the next fork will want
    if len(head) < 8:
        return NOTHING_ASKED
    if hasattr(signal, "alarm"):
        signal.alarm(MEMORY_SECONDS)  # ends the fork, should it hang
    model, length = bytearray(), int.from_bytes(head, "little")
    while len(model) < length:
        part = os.read(0, length - len(model))
        if not part:  # whoever asked is gone
            return NOTHING_ASKED
        model += part
    os.write(1, b"%d\n" % _added_by(bytes(model), settings))
    return 0


def _added_by(model: bytes, settings: argparse.Namespace) -> int:
    """Peak of what a model adds, without the pages of libraries, which a fork maps anew."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before, files_before = _status_bytes("VmRSS"), _status_bytes("RssFile")
    opener = onnx_opener(model, settings.threads, settings.batch_size, settings.provider)
    with opener() as timer:
        timer(3)
        added = _status_bytes("VmHWM") - before
        return max(added - (_status_bytes("RssFile") - files_before), 0)


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise DeviceError("the system does not tell " + name)


# --- ONNX Runtime ---------------------------------------------------------------------------------


def measure_models(
    models: Sequence[Any], threads: int = 1, batch_size: int = 1, provider: str = CPU_PROVIDER
) -> List[Measurement]:
    """Time ONNX models (bytes or paths) side by side, to hold them against a budget."""
    return measure([onnx_opener(model, threads, batch_size, provider) for model in models])


def onnx_opener(
    model: Any, threads: int = 1, batch_size: int = 1, provider: str = CPU_PROVIDER
) -> Opener:
    """Return what opens a model (bytes, a path, or a function that returns bytes) for timing."""

    @contextlib.contextmanager
    def opened(data: Any) -> Iterator[Timer]:
        session = onnx_session(data, threads, provider)
        feeds = _feeds(session, batch_size)
        names = [node.name for node in session.get_outputs()]
        try:
            session.run(names, feeds)
        except Exception as error:  # noqa: BLE001 -- ONNX Runtime's errors have no common base
            raise RefusedError(f"ONNX Runtime cannot run it: {_first_line(error)}") from None
        on_this_thread = threads == 1 and provider == CPU_PROVIDER
        yield timed(lambda: session.run(names, feeds), OWN_CLOCK if on_this_thread else None)

    return lambda: opened(model() if callable(model) else model)


def _feeds(session: Any, batch_size: int, seed: int = 0) -> Dict[str, Any]:
    """Standard normal inputs (zeros and ones where a model takes integers), of the sizes that the
    model states for dimensions it leaves free.
    """
    import numpy

    generator = numpy.random.default_rng(seed)
    stated = _stated_shapes(session)
    feeds = {}
    for node in session.get_inputs():
        sizes = [size if isinstance(size, int) else 1 for size in node.shape[1:]]
        if len(stated.get(node.name, [])) == len(sizes):
            sizes = stated[node.name]
        shape = [batch_size, *sizes]
        if "int" in node.type:
            feeds[node.name] = generator.integers(0, 2, shape).astype(node.type[7:-1])
        else:
            dtype = "float16" if "float16" in node.type else "float32"
            feeds[node.name] = generator.standard_normal(shape).astype(dtype)
    return feeds


def _stated_shapes(session: Any) -> Dict[str, List[int]]:
    """Return what a model says of its inputs' sizes, without the batch; nothing if unsound."""
    text = session.get_modelmeta().custom_metadata_map.get(SHAPES_KEY, "{}")
    try:
        shapes = json.loads(text)
        sound = all(
            isinstance(n, int) and 0 < n < 10**6 for sizes in shapes.values() for n in sizes
        )
    except (ValueError, AttributeError, TypeError):
        return {}
    return shapes if sound else {}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def check_provider(provider: str) -> None:
    """Raise DeviceError where this ONNX Runtime lacks a provider."""
    import onnxruntime

    known = onnxruntime.get_available_providers()
    if provider not in known:
        raise DeviceError(
            f"ONNX Runtime {onnxruntime.__version__} here has no {provider}; "
            f"it has {', '.join(known)}"
        )


def onnx_session(model: Any, threads: int = 1, provider: str = CPU_PROVIDER) -> Any:
    """Open a model (bytes or path) with all graph optimisations on a stated number of threads.

    Raises:
        DeviceError: no model, or this ONNX Runtime lacks the provider or would quietly use another.
    """
    import onnxruntime

    check_provider(provider)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # noqa: BLE001 -- ONNX Runtime's errors have no common base
        what = "a model" if isinstance(model, bytes) else model
        raise RefusedError(f"ONNX Runtime cannot open {what}: {_first_line(error)}") from None
    if session.get_providers()[0] != provider:
        raise DeviceError(f"{provider} does not work here: ONNX Runtime fell back to another one")
    return session


# --- the target -----------------------------------------------------------------------------------


def describe_target(
    threads: int = 1,
    batch_size: int = 1,
    provider: str = CPU_PROVIDER,
    cores: Sequence[int] = (),
) -> Dict[str, Any]:
    """Describe this device under ONNX Runtime, fp32; what cannot be read is "unknown".

    Raises:
        DeviceError: this ONNX Runtime lacks the provider, or there are fewer cores than threads.
    """
    import onnxruntime

    check_provider(provider)
    num_cores = os.cpu_count() or 1
    if threads > num_cores:
        raise DeviceError(f"expected at most {num_cores} threads, as many as cores, got {threads}")
    accelerator = accelerator_name(provider)
    return {
        **describe_machine(cores),
        "device": accelerator or processor_name(),
        "host": processor_name() if accelerator else "",
        "runtime": "onnxruntime",
        "runtime_version": onnxruntime.__version__,
        "provider": provider,
        "precision": "fp32",
        "batch_size": batch_size,
        "threads": threads,
    }


def describe_machine(cores: Sequence[int] = ()) -> Dict[str, Any]:
    """Describe the system, the pinning and the clocks, whatever the runtime."""
    clock = Path("/sys/devices/system/cpu/cpu%d/cpufreq" % (cores[0] if cores else 0))
    frequency = _read(clock / "cpuinfo_max_freq")
    return {
        "cores": ",".join(map(str, cores)) or "any",
        "governor": _read(clock / "scaling_governor") or "unknown",
        "frequency_mhz": int(frequency) / 1000 if frequency and frequency.isdigit() else None,
        "operating_system": f"{platform.system()} {platform.machine()}",
        "notes": f"kernel {platform.release()}",
    }


def processor_name() -> str:
    """Return the board or the CPU model as the operating system names it.

    Where it names none, what it tells of the core (an ARM server's part numbers, say).
    """
    board = _read(Path("/proc/device-tree/model"))  # ARM boards, whose cpuinfo has no model name
    if board and not board.startswith("linux,dummy"):  # a virtual machine's
        return _printable(board)
    fields: Dict[str, str] = {}
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    if fields.get("model name"):
        return _printable(fields["model name"])
    if platform.system() == "Darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return _printable(subprocess.check_output(command, text=True, timeout=5))
    parts = [fields[key] for key in ("cpu implementer", "cpu part", "cpu variant") if key in fields]
    generic = platform.processor() or platform.machine() or "unknown"
    return _printable(" ".join([generic, *parts]))


def accelerator_name(provider: str) -> Optional[str]:
    """Return the NVIDIA GPU that a provider computes on, as its driver names it."""
    if not any(word in provider for word in ("CUDA", "Tensorrt", "TensorRT")):
        return None
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        names = subprocess.check_output(command, text=True, timeout=20).splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return _printable(names[0]) if names else None


def _printable(text: str) -> str:
    return "".join(letter for letter in text.strip() if letter.isprintable())[:100]


def _read(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return None


@contextlib.contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Keep this process on these cores; empty leaves it where it is.

    Raises:
        DeviceError: the system has no such cores, or does not let processes be pinned.
    """
    if not cores:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise DeviceError("this system does not let a process be pinned; leave --cores out")
    before = os.sched_getaffinity(0)
    if not set(cores) <= before:
        raise DeviceError(f"expected cores among {sorted(before)}, got {sorted(cores)}")
    _pin_all_threads(cores)
    try:
        yield
    finally:
        _pin_all_threads(before)


def _pin_all_threads(cores: Iterable[int]) -> None:
    """Pin every thread of this process: those of a pool that is there already too."""
    os.sched_setaffinity(0, cores)
    threads = os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else []
    for thread in threads:
        with contextlib.suppress(OSError):  # it has just ended
            os.sched_setaffinity(int(thread), cores)


@contextlib.contextmanager
def undisturbed(cores: Sequence[int] = ()) -> Iterator[None]:
    """Keep this process on these cores, at the greatest priority that the system grants.

    What it grants is often nothing more (to a user on Linux, say); then other work on the same core
    still interrupts runs, of which the thread's own clock leaves the caches' share only.

    Raises:
        DeviceError: see `pinned`.
    """
    with pinned(cores):
        if not hasattr(os, "setpriority"):
            yield
            return
        before = os.getpriority(os.PRIO_PROCESS, 0)
        for priority in range(-20, before):
            try:
                os.setpriority(os.PRIO_PROCESS, 0, priority)
                break
            except OSError:
                continue
        try:
            yield
        finally:
            os.setpriority(os.PRIO_PROCESS, 0, before)


# --- the program of a kit -------------------------------------------------------------------------


DAMAGED_ZIP = (
    KeyError,
    ValueError,
    OSError,
    EOFError,
    RuntimeError,  # encrypted; NotImplementedError is one
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged or crafted zip can raise."""


class Kit:
    """The networks beside this file: `kit.json` names them, `models.zip` holds them."""

    def __init__(self, folder: Path) -> None:
        try:
            self.manifest = json.loads((folder / KIT_NAME).read_bytes())
            self._zip = zipfile.ZipFile(folder / MODELS_NAME)
            self.items = {item["id"]: item for item in self.manifest["items"]}
            self.reference = self.manifest["reference"]
            known = self.manifest["kind"] == "kit" and self.manifest["format"] == FORMAT
        except FileNotFoundError as error:
            raise DeviceError(f"{error.filename} is missing; unpack the whole kit again") from None
        except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise DeviceError(f"{folder} holds no whole kit ({error!r}); unpack it again") from None
        if not known or self.reference not in self.items:
            raise DeviceError(f"{folder / KIT_NAME} is no kit of format {FORMAT}; make a new one")
        self.sha256 = checksum(self.manifest)
        self._checked: Set[str] = set()

    def model(self, name: str) -> bytes:
        """Return a network, checked against its hash the first time."""
        item = self.items[name]
        try:
            data, sha256 = self._zip.read(item["file"]), item["sha256"]
        except DAMAGED_ZIP as error:
            raise DeviceError(f"{MODELS_NAME} is damaged ({error}); unpack the kit again") from None
        if name not in self._checked and hashlib.sha256(data).hexdigest() != sha256:
            raise DeviceError(f"{item['file']} in {MODELS_NAME} was changed; unpack the kit again")
        self._checked.add(name)
        return data


def measure_kit(kit: Kit, out: Path, settings: argparse.Namespace) -> Optional[str]:
    """Measure a kit, writing `out` every half minute; return why it should not be believed.

    Raises:
        DeviceError: a damaged kit, a provider that is not here, or a log of other measurements.
    """
    if out.is_dir():
        raise DeviceError(f"expected --out as a file, {out} is a folder")
    target = describe_target(
        settings.threads, settings.batch_size, settings.provider, settings.cores
    )
    header = {"plan": kit.sha256, "target": target}
    log = WindowLog(out.with_name(_stem(out) + ".windows.jsonl"), header)
    if log.visits:
        print("going on with %d visits of %s" % (sum(map(len, log.visits.values())), log.path))
    openers = {
        name: onnx_opener(
            lambda name=name: kit.model(name),
            settings.threads,
            settings.batch_size,
            settings.provider,
        )
        for name in kit.items
    }
    show = _Progress(settings.minutes * 60)
    memory = ResidentMemory(settings.threads, settings.batch_size, settings.provider)

    def resident_bytes(name: str) -> Optional[int]:
        return None if kit.items[name].get("role") == "layer" else memory(kit.model(name))

    def progress(done: int, total: int) -> None:
        if show(done, total):
            write_result(out, kit, target, session, complete=False)

    session = Session(
        openers,
        reference=kit.reference,
        known=log.visits,
        record=log.add,
        seconds=settings.minutes * 60,
        progress=progress,
        resident_bytes=resident_bytes,
        refused=(RefusedError,),
    )
    complete = False
    try:
        complete = session.run()
    finally:  # also after Ctrl-C
        log.close()
        memory.close()
        if any(session.visits.values()):
            write_result(out, kit, target, session, complete)
    _tell(session, complete)
    if not session.measurements():
        raise DeviceError("nothing was measured; give it more --minutes")
    return too_noisy(session.measurements().values())


def _stem(path: Path) -> str:
    return path.name[: -len(".json")] if path.name.endswith(".json") else path.name


def _tell(session: Session, complete: bool) -> None:
    """Print what is missing from a session."""
    for name, reason in session.failures.items():
        print("left out %s: %s" % (name, reason), file=sys.stderr)
    if not complete:
        counts = (len(session.measurements()), len(session.visits))
        print("time is up: %d of %d networks measured; the same command goes on" % counts)


def write_result(
    out: Path, kit: Kit, target: Mapping[str, Any], session: Session, complete: bool
) -> None:
    """Write what is known by now, under a temporary name first."""
    result: Dict[str, Any] = {
        "format": FORMAT,
        "kind": "kit-result",
        "kit": kit.manifest,
        "kit_sha256": kit.sha256,
        "target": target,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "complete": complete,
        "drift": drift(session.visits[kit.reference]),
        "items": [
            {
                "id": name,
                "latency_ms": measured.latency_ms,
                "noise": measured.noise,
                "disagreement": measured.disagreement,
                "wall_ms": measured.wall_ms,
                "visits": measured.visits,
                "resident_bytes": measured.resident_bytes,
            }
            for name, measured in session.measurements().items()
        ],
    }
    result["sha256"] = checksum(result)
    _write_json(out, result)


def _write_json(out: Path, result: Mapping[str, Any]) -> None:
    temporary = out.with_name(out.name + ".tmp")
    with temporary.open("w") as file:
        file.write(json.dumps(result, indent=1))
        file.flush()
        os.fsync(file.fileno())
    os.replace(str(temporary), str(out))


def write_models_result(
    out: Path,
    models: Mapping[str, bytes],
    target: Mapping[str, Any],
    measurements: Iterable[Measurement],
) -> None:
    """Write what was measured of a few files (by name), with their hashes."""
    result: Dict[str, Any] = {
        "format": FORMAT,
        "kind": "models-result",
        "target": target,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "items": [
            {
                "id": name,
                "file_sha256": hashlib.sha256(data).hexdigest(),
                "latency_ms": measured.latency_ms,
                "noise": measured.noise,
                "disagreement": measured.disagreement,
                "wall_ms": measured.wall_ms,
                "visits": measured.visits,
                "resident_bytes": measured.resident_bytes,
            }
            for (name, data), measured in zip(models.items(), measurements)
        ],
    }
    result["sha256"] = checksum(result)
    _write_json(out, result)


def checksum(result: Mapping[str, Any]) -> str:
    """SHA-256 of a result without its own checksum: tells a damaged file from a whole one."""
    rest = {key: value for key, value in result.items() if key != "sha256"}
    return hashlib.sha256(
        json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


class _Progress:
    """Prints a line every two seconds; tells when half a minute is over."""

    def __init__(self, seconds: float) -> None:
        self._start = self._printed = self._told = time.monotonic()
        self._end = self._start + seconds

    def __call__(self, done: int, total: int) -> bool:
        now = time.monotonic()
        if now - self._printed > 2:
            self._printed = now
            left = min((now - self._start) / done * (total - done), max(self._end - now, 0))
            print("visit %d of %d, %.0f s left" % (done, total, left), flush=True)
        if now - self._told < 30:
            return False
        self._told = now
        return True


def _cores(text: str) -> Tuple[int, ...]:
    return tuple(sorted({int(core) for core in text.split(",")}))


def _positive(number: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = number(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError("expected more than 0, got " + text)
        return value

    read.__name__ = number.__name__  # argparse says "invalid float value"
    return read


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Measure the kit beside this file, or the models that are named; return the exit code."""
    parser = argparse.ArgumentParser(
        description="Time the networks of a kit on this device and write result.json. "
        "Ctrl-C keeps what was measured; the same command goes on.",
        epilog="example: python profile_device.py --threads 1 --minutes 20",
    )
    parser.add_argument("--threads", type=_positive(int), default=1, help="of ONNX Runtime (1)")
    parser.add_argument(
        "--minutes", type=_positive(float), default=20.0, help="bound on everything (20)"
    )
    parser.add_argument("--batch-size", type=_positive(int), default=1, help="1 by default")
    parser.add_argument("--cores", type=_cores, default=(), help="pin to these, 2,3 say")
    parser.add_argument("--provider", default=CPU_PROVIDER, help="of ONNX Runtime (its CPU one)")
    parser.add_argument(
        "--kit", type=Path, default=Path(__file__).resolve().parent, help="its folder"
    )
    parser.add_argument("--out", type=Path, default=None, help="result.json in the kit's folder")
    parser.add_argument("--serve-memory", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--models", nargs="+", help="time these ONNX files instead of a kit")
    settings = parser.parse_args(arguments)
    if sys.path and Path(sys.path[0]) == Path(__file__).resolve().parent:
        del sys.path[0]  # what else lies in this folder is no module of ours
    if settings.serve_memory:
        return _serve_memory(settings)
    try:
        with undisturbed(settings.cores):
            if settings.models:
                return _time_models(settings)
            out = settings.out or settings.kit / RESULT_NAME
            noisy = measure_kit(Kit(settings.kit), out, settings)
    except DeviceError as error:
        print("profile_device: %s" % error, file=sys.stderr)
        return 2
    except OSError as error:
        where = error.filename or "cannot go on"
        print("profile_device: %s: %s" % (where, error.strerror or error), file=sys.stderr)
        return 2
    except ImportError as error:
        print("profile_device: %s; pip install numpy onnxruntime" % error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("profile_device: interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(out)
    if noisy:
        print("profile_device: " + noisy, file=sys.stderr)
    return 1 if noisy else 0


def _time_models(settings: argparse.Namespace) -> int:
    out = settings.out
    if out is not None and out.is_dir():
        raise DeviceError(f"expected --out as a file, {out} is a folder")
    names = [Path(model).name for model in settings.models]
    if out is not None and len(set(names)) < len(names):
        raise DeviceError("with --out, expected model files of different names")
    measurements = measure_models(
        settings.models, settings.threads, settings.batch_size, settings.provider
    )
    for model, measured in zip(settings.models, measurements):
        print("%s  %.4f ms, noise %.1f %%" % (model, measured.latency_ms, 100 * measured.noise))
    if out is not None:
        target = describe_target(
            settings.threads, settings.batch_size, settings.provider, settings.cores
        )
        models = {name: Path(path).read_bytes() for name, path in zip(names, settings.models)}
        write_models_result(out, models, target, measurements)
        print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
