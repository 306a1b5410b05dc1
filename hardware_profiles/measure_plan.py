"""Make a profile: measure the networks of a plan on this machine, and keep every window."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from hardware_profiles.artifact import file_hash
from hardware_profiles.energy import energy_counter, energy_per_run_mj
from hardware_profiles.plan import Plan
from hardware_profiles.profile import Profile, make_profile
from hardware_profiles.profile_device import (
    BUDGET_PASSES,
    CPU_PROVIDER,
    DeviceError,
    Measurement,
    Opener,
    ResidentMemory,
    Session,
    WindowLog,
    drift,
    measure,
    pinned,
    too_noisy,
)
from hardware_profiles.runtimes.runtime import Runtime, Workload
from hardware_profiles.target import Target
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
    log = WindowLog(windows_path, header)
    workloads = {item.id: workload(space, item) for item in plan.items}
    openers = {name: workload_opener(runtime, one) for name, one in workloads.items()}
    whole = {item.id for item in plan.items if item.role != "layer"}
    memory = _memory(runtime.target)

    def resident_bytes(name: str) -> int | None:
        return memory(workloads[name].onnx()) if memory and name in whole else None

    session = Session(
        openers,
        reference=plan.reference,
        known=log.visits,
        record=log.add,
        passes=passes,
        seconds=seconds,
        seed=plan.seed,
        progress=progress,
        resident_bytes=resident_bytes,
    )
    with pinned_to(runtime):
        try:
            session.run()
        finally:
            log.close()
            if memory is not None:
                memory.close()
        measured = session.measurements()
        noisy = None if accept_noise else too_noisy(measured.values())
        if noisy is not None:
            raise InputError(noisy)
        energy_mj = _energy(plan, runtime, openers)
    return make_profile(
        plan,
        runtime.target,
        measured,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        drift=drift(session.visits[plan.reference]),
        made_from={"windows": file_hash(windows_path)},
        energy_mj=energy_mj,
    )


def measure_workloads(runtime: Runtime, workloads: Sequence[Workload]) -> list[Measurement]:
    """Time a few networks side by side, to hold them against a budget."""
    with pinned_to(runtime):
        return measure([workload_opener(runtime, one) for one in workloads], BUDGET_PASSES)


def workload_opener(runtime: Runtime, network: Workload) -> Opener:
    """Return what opens a network for the measuring loop."""
    return lambda: runtime.open(network)


@contextmanager
def pinned_to(runtime: Runtime) -> Iterator[None]:
    """Keep this process on the cores of the runtime's target.

    Raises:
        InputError: there are no such cores here.
    """
    try:
        with pinned(runtime.target.core_numbers):
            yield
    except DeviceError as error:
        raise InputError(str(error)) from None


def _memory(target: Target) -> ResidentMemory | None:
    """Return what tells the memory of networks on a target: ONNX Runtime's on a CPU, so far."""
    if (target.runtime, target.provider) != ("onnxruntime", CPU_PROVIDER):
        return None
    return ResidentMemory(target.threads, target.batch_size)


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
