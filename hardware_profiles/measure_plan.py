"""Make a profile: measure the networks of a plan on this machine, and keep every window."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hardware_profiles.artifact import file_hash
from hardware_profiles.energy import energy_counter, energy_per_run_mj
from hardware_profiles.plan import Plan
from hardware_profiles.profile import Profile, make_profile
from hardware_profiles.profile_device import (
    BUDGET_PASSES,
    DeviceError,
    Measurement,
    Opener,
    ResidentMemory,
    Session,
    WindowLog,
    drift,
    measure,
    too_noisy,
    undisturbed,
)
from hardware_profiles.runtimes.runtime import Runtime, Workload
from hardware_profiles.workloads import workload
from search_spaces import InputError, SearchSpace

Progress = Callable[[int, int], None]  # visits done, visits in all


def measure_plan(
    space: SearchSpace,
    plan: Plan,
    runtime: Runtime,
    windows_path: Path,
    *,
    passes: int = 3,
    seconds: float | None = None,
    accept_noise: bool = False,
    progress: Progress = lambda done, total: None,
) -> Profile:
    """Measure a plan on this machine.

    Every visit is logged to `windows_path`; the same call goes on with what a log of the same plan
    and target holds. Layers and subnets are visited in one random order, so that a slow moment of
    the machine disturbs both alike.

    Args:
        seconds: bound on everything; None makes every pass, and half as many again where needed.
        accept_noise: make a profile even of a noisy machine's figures.

    Raises:
        InputError: fewer than two passes; a machine that is too noisy now.
    """
    if passes < 2:
        raise InputError(f"expected at least 2 passes, between which noise shows, got {passes}")
    plan.check_space(space)
    header = {"plan": plan.sha256, "target": runtime.target.model_dump(mode="json")}
    workloads = {item.id: workload(space, item) for item in plan.items}
    openers = {name: workload_opener(runtime, one) for name, one in workloads.items()}
    whole = {item.id for item in plan.items if item.role != "layer"}
    with (
        undisturbed_on(runtime),
        _window_log(windows_path, header) as log,
        _resident_memory(runtime) as resident_bytes,
    ):
        session = Session(
            openers,
            reference=plan.reference,
            known=log.visits,
            record=log.add,
            passes=passes,
            seconds=seconds,
            seed=plan.seed,
            progress=progress,
            resident_bytes=lambda name: resident_bytes(workloads[name]) if name in whole else None,
        )
        complete = session.run()
        measured = session.measurements()
        if not measured:
            raise InputError("nothing was measured in that time; give it more minutes")
        noisy = None if accept_noise else too_noisy(measured.values())
        if noisy is not None:
            raise InputError(noisy)
        energy_mj = _energy(plan, runtime, openers) if complete else {}
    return make_profile(
        plan,
        runtime.target,
        measured,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        drift=drift(session.visits[plan.reference]),
        complete=complete,
        made_from={"windows": file_hash(windows_path)},
        energy_mj=energy_mj,
    )


def measure_workloads(runtime: Runtime, workloads: Sequence[Workload]) -> list[Measurement]:
    """Time a few networks side by side, and read their memory, to hold them against limits."""
    openers = [workload_opener(runtime, one) for one in workloads]
    with undisturbed_on(runtime), _resident_memory(runtime) as resident_bytes:
        return measure(
            openers,
            BUDGET_PASSES,
            resident_bytes=lambda position: resident_bytes(workloads[position]),
        )


def workload_opener(runtime: Runtime, network: Workload) -> Opener:
    """Return what opens a network for the measuring loop."""
    return lambda: runtime.open(network)


@contextmanager
def undisturbed_on(runtime: Runtime) -> Iterator[None]:
    """Keep this process on the cores of the runtime's target, before others.

    Raises:
        InputError: there are no such cores here.
    """
    try:
        with undisturbed(runtime.target.core_numbers):
            yield
    except DeviceError as error:
        raise InputError(str(error)) from None


@contextmanager
def _window_log(path: Path, header: Mapping[str, Any]) -> Iterator[WindowLog]:
    try:
        log = WindowLog(path, header)
    except DeviceError as error:
        raise InputError(str(error)) from None
    try:
        yield log
    finally:
        log.close()


@contextmanager
def _resident_memory(runtime: Runtime) -> Iterator[Callable[[Workload], int | None]]:
    """Open what tells the memory of networks: of ONNX Runtime's on a CPU, so far."""
    target = runtime.target
    if target.runtime != "onnxruntime":
        yield lambda network: None
        return
    memory = ResidentMemory(target.threads, target.batch_size, target.provider)
    try:
        yield lambda network: memory(network.onnx())
    finally:
        memory.close()


def _energy(plan: Plan, runtime: Runtime, openers: Mapping[str, Opener]) -> dict[str, float]:
    """Energy of a run of each whole subnet, where the device has a counter; else nothing."""
    counter = energy_counter() if runtime.target.host else None  # a CPU beside it: it is a GPU
    if counter is None:
        return {}
    energy = {}
    for item in plan.items:
        if item.role != "layer":
            with openers[item.id]() as timer:
                energy[item.id] = energy_per_run_mj(timer, counter)
    return {name: value for name, value in energy.items() if value is not None}
