"""How far a profile's latencies shift when another process spins on the same core.

    python benchmarks/noisy_machine.py
    setpriv --bounding-set=-sys_nice --inh-caps=-sys_nice python benchmarks/noisy_machine.py

Measures whole subnets and layers of mobilenet-v3, pinned to one core: twice on the idle machine,
and once with a process spinning on that core. Beside the profile's own figure stands a naive one:
the median of the wall times. The second line runs it as a user who may not raise priorities.
"""

import os
import statistics
import subprocess
import sys

import numpy as np

from hardware_profiles.measure_plan import workload_opener
from hardware_profiles.plan import make_plan
from hardware_profiles.profile_device import Measurement, Session, undisturbed
from hardware_profiles.runtimes import build_runtime
from hardware_profiles.runtimes.runtime import RuntimeSettings
from hardware_profiles.workloads import workload
from search_spaces import build_space

SPIN = "while True: pass"

space = build_space("mobilenet-v3")
plan = make_plan(
    space, num_calibration=12, num_held_out=0, max_specs=40, options={"resolution": (128, 160)}
)
core = min(os.sched_getaffinity(0))
runtime = build_runtime("onnxruntime", RuntimeSettings(cores=(core,)))
openers = {item.id: workload_opener(runtime, workload(space, item)) for item in plan.items}


def session() -> Session:
    made = Session(openers, reference=plan.reference, passes=3)
    with undisturbed((core,)):
        made.run()
    return made


def profile_ms(made: Session) -> np.ndarray:
    return np.array([Measurement(made.visits[item.id]).latency_ms for item in plan.items])


def naive_ms(made: Session) -> np.ndarray:
    return np.array(
        [
            statistics.median(ms for visit in made.visits[item.id] for ms in visit.wall_ms)
            for item in plan.items
        ]
    )


def describe(shift: np.ndarray) -> str:
    size = np.abs(shift)
    return f"median {np.median(shift):+7.1%}, 90 % of them within {np.quantile(size, 0.9):6.1%}"


first, second = session(), session()
spinner = subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", SPIN])
try:
    busy = session()
finally:
    spinner.kill()
whole = np.array([item.role != "layer" for item in plan.items])
for name, rows in (("subnets", whole), ("layers", ~whole)):
    print(f"{rows.sum()} {name}")
    for words, one in (("idle again", second), ("core shared", busy)):
        for figure, of in (("profile", profile_ms), ("naive", naive_ms)):
            print(f"  {words:<12} {figure:<8} {describe((of(one) / of(first) - 1)[rows])}")
