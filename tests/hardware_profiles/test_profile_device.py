"""The measuring loop under a clock that only advances when something runs, so figures are exact."""

import ast
import json
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from hardware_profiles import profile_device
from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import (
    MAX_RUNS,
    MIN_RUNS,
    WARM_UP_SECONDS,
    WINDOW_SECONDS,
    Measurement,
    measure,
    onnx_runner,
)

MILLISECOND = 1_000_000  # nanoseconds
# A run longer than the warm-up and a whole window: one run warms up, MIN_RUNS fill a window
LONG = round(1.05 * WARM_UP_SECONDS * 1e9)
WINDOWS = 3
RUNS_OF_VISIT = 1 + WINDOWS * MIN_RUNS


class Machine:
    """A clock, and runs that advance it; `log` holds what ran, in order."""

    def __init__(self):
        self.now = 17
        self.log = []

    def clock(self):
        return self.now

    def runner(self, cost, name=0):
        """A function whose k-th call takes `cost(k)` nanoseconds."""
        calls = 0

        def run():
            nonlocal calls
            self.now += cost(calls)
            calls += 1
            self.log.append(name)

        return run


@pytest.fixture
def machine():
    return Machine()


def pass_of(call):
    """Which pass a call of a LONG runner belongs to (the first call of all warms it up)."""
    return max(0, call - 1) // RUNS_OF_VISIT


def test_every_long_run_is_where_the_constants_say(machine):
    measure([machine.runner(lambda call: LONG)], passes=2, windows=WINDOWS, clock=machine.clock)
    assert len(machine.log) == 1 + 2 * RUNS_OF_VISIT


@pytest.mark.parametrize("seed", range(5))
def test_latency_is_the_least_window_median(machine, seed):
    passes = 4
    draw = random.Random(seed)
    costs = [draw.randrange(LONG, 5 * LONG) for _ in range(1 + passes * RUNS_OF_VISIT)]
    (found,) = measure(
        [machine.runner(lambda call: costs[call])], passes, WINDOWS, clock=machine.clock
    )
    visits = np.array(costs[1:]).reshape(passes, RUNS_OF_VISIT)[:, 1:]  # the first is not timed
    medians = np.median(visits.reshape(passes, WINDOWS, MIN_RUNS), axis=2)
    bests = medians.min(axis=1) / 1e6
    assert found.pass_latencies_ms == bests.tolist()
    assert found.latency_ms == bests.min()
    assert found.noise == pytest.approx((np.median(bests) - bests.min()) / bests.min())


def test_results_are_in_the_order_of_the_runners(machine):
    costs = [LONG + i * MILLISECOND for i in (5, 0, 9, 2)]
    runners = [machine.runner(lambda call, cost=cost: cost) for cost in costs]
    found = measure(runners, passes=2, clock=machine.clock)
    assert [result.latency_ms for result in found] == [cost / 1e6 for cost in costs]
    assert [result.noise for result in found] == [0.0] * 4


@pytest.mark.parametrize("cost", [MILLISECOND // 10, MILLISECOND // 3, 2 * MILLISECOND])
def test_a_window_lasts_its_time_and_its_runs(machine, cost):
    measure([machine.runner(lambda call: cost)], passes=1, windows=1, clock=machine.clock)
    in_window = max(MIN_RUNS, -(-round(WINDOW_SECONDS * 1e9) // cost))
    warming_up = round(WARM_UP_SECONDS * 1e9) // cost + 1  # until more than its time is over
    assert len(machine.log) == warming_up + 1 + in_window


@pytest.mark.parametrize("passes", [1, 2])
def test_runs_are_bounded_where_the_clock_hardly_moves(machine, passes):
    (found,) = measure(
        [machine.runner(lambda call: 1)], passes=passes, windows=2, clock=machine.clock
    )
    assert len(machine.log) == MAX_RUNS + passes * (1 + 2 * MAX_RUNS)
    assert found.latency_ms == pytest.approx(1e-6)


def test_every_visit_begins_with_a_run_that_is_not_timed(machine):
    def cost(call):
        first_of_visit = call > 0 and (call - 1) % RUNS_OF_VISIT == 0
        return 50 * LONG if first_of_visit else LONG

    (found,) = measure([machine.runner(cost)], passes=3, windows=WINDOWS, clock=machine.clock)
    assert found.pass_latencies_ms == [LONG / 1e6] * 3


def test_everything_is_warmed_up_before_anything_is_timed(machine):
    runners = [machine.runner(lambda call: LONG, name) for name in "abc"]
    measure(runners, passes=1, clock=machine.clock)
    assert machine.log[:3] == ["a", "b", "c"]


# --- slow moments ---------------------------------------------------------------------------------


def measured_with_slow_passes(machine, slow, passes):
    """Two items of which every run takes three times as long in the passes in `slow`."""

    def cost(call):
        return LONG * (3 if pass_of(call) in slow else 1)

    runners = [machine.runner(cost), machine.runner(cost)]
    return measure(runners, passes, WINDOWS, clock=machine.clock)


@pytest.mark.parametrize(
    ("slow", "passes", "noise"),
    [
        ({0}, 2, 1.0),  # halfway between 1 and 3, over 1
        ({1}, 2, 1.0),
        ({0, 2}, 3, 2.0),
        ({1}, 3, 0.0),  # the typical pass is a quick one
        ({0, 1}, 4, 1.0),
        (set(), 3, 0.0),
    ],
)
def test_slow_passes_show_in_the_noise_and_not_in_the_latency(machine, slow, passes, noise):
    for found in measured_with_slow_passes(machine, slow, passes):
        assert found.latency_ms == LONG / 1e6
        assert found.noise == pytest.approx(noise)
        assert found.pass_latencies_ms == [
            LONG * (3 if i in slow else 1) / 1e6 for i in range(passes)
        ]


def test_a_slow_window_shows_nowhere(machine):
    def cost(call):  # the second window of every visit, and a few single runs
        place = (call - 1) % RUNS_OF_VISIT - 1
        return LONG * (7 if place // MIN_RUNS == 1 or place % MIN_RUNS == 2 else 1)

    (found,) = measure([machine.runner(cost)], passes=3, windows=WINDOWS, clock=machine.clock)
    assert found.pass_latencies_ms == [LONG / 1e6] * 3


# --- visiting order -------------------------------------------------------------------------------


def visits(seed, passes=4, num_runners=12):
    """Names in the order of visits: `passes x num_runners`."""
    machine = Machine()
    runners = [machine.runner(lambda call: LONG, name) for name in range(num_runners)]
    measure(runners, passes, windows=1, seed=seed, clock=machine.clock)
    visited = np.array(machine.log[num_runners:]).reshape(passes, num_runners, 1 + MIN_RUNS)
    assert (visited == visited[:, :, :1]).all()  # nothing else runs during a visit
    return visited[:, :, 0].tolist()


def test_every_pass_visits_everything_once_in_another_order():
    orders = visits(seed=0)
    assert [sorted(order) for order in orders] == [list(range(12))] * 4
    assert len({tuple(order) for order in orders}) == 4
    assert list(range(12)) not in orders


def test_order_follows_the_seed():
    assert visits(seed=3) == visits(seed=3)
    assert visits(seed=3) != visits(seed=4)


def test_order_leaves_the_global_generator_alone(machine):
    before = random.getstate()
    measure([machine.runner(lambda call: LONG)] * 3, clock=machine.clock)
    assert random.getstate() == before


def test_progress_is_called_after_every_visit(machine):
    runners = [machine.runner(lambda call: LONG, name) for name in "ab"]
    measure(runners, 3, WINDOWS, progress=lambda: machine.log.append("done"), clock=machine.clock)
    after_warm_up = machine.log[2:]
    assert after_warm_up[RUNS_OF_VISIT :: RUNS_OF_VISIT + 1] == ["done"] * 6
    assert after_warm_up.count("done") == 6


def test_nothing_to_measure(machine):
    assert measure([], clock=machine.clock) == []


# --- Measurement ----------------------------------------------------------------------------------


def test_budgets_are_kept_by_the_typical_pass():
    measurement = Measurement([1.25, 1.0, 2.0])
    assert measurement.latency_ms == 1.0
    assert measurement.noise == 0.25
    assert measurement.keeps(1.25)
    assert measurement.keeps(1.3)
    assert not measurement.keeps(1.24)
    assert not measurement.keeps(1.0)


def test_a_budget_of_exactly_the_typical_pass_is_kept():
    draw = random.Random(0)
    for _ in range(100):
        latencies = [draw.uniform(0.1, 5.0) for _ in range(3)]
        assert Measurement(latencies).keeps(statistics.median(latencies))


def test_a_clock_too_coarse_for_the_item_does_not_end_the_measuring(machine):
    slow = machine.runner(lambda call: LONG)
    found = measure([machine.runner(lambda call: 0), slow], passes=1, clock=machine.clock)
    assert found[1].latency_ms == LONG / 1e6


# --- the file alone -------------------------------------------------------------------------------

ALONE = """
import json, sys
source = sys.argv[1]
namespace = {"__name__": "profile_device"}
with open(source) as file:
    exec(compile(file.read(), source, "exec"), namespace)
loaded = {name.partition(".")[0] for name in sys.modules}
found = namespace["measure"]([lambda: sum(range(2000)), lambda: sum(range(100))], passes=2)
print(json.dumps({
    "loaded": sorted(loaded),
    "standard": sorted(getattr(sys, "stdlib_module_names", ())),
    "latencies": [item.latency_ms for item in found],
    "keeps": found[0].keeps(1e6),
}))
"""


def run_alone(interpreter, folder):
    """Run the file in an interpreter that sees no installed package; what it printed."""
    source = profile_device.__file__
    run = subprocess.run(
        [interpreter, "-I", "-S", "-W", "error", "-c", ALONE, source],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_syntax_is_that_of_python_3_8():
    source = Path(profile_device.__file__).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 8))


def test_file_alone_measures_with_the_standard_library(tmp_path):
    result = run_alone(sys.executable, tmp_path)
    assert set(result["loaded"]) - {"__main__"} <= set(result["standard"])
    assert all(latency > 0 for latency in result["latencies"])
    assert result["keeps"]


def test_file_alone_measures_on_python_3_8(tmp_path):
    interpreter = shutil.which("python3.8")
    if interpreter is None:
        pytest.skip("no python3.8 on the path")
    answer = subprocess.run([interpreter, "--version"], capture_output=True, text=True)
    if answer.returncode or not answer.stdout.startswith("Python 3.8"):
        pytest.skip(f"{interpreter} does not start Python 3.8 (a shim without a version?)")
    result = run_alone(interpreter, tmp_path)
    assert not set(result["loaded"]) & {"numpy", "onnxruntime", "torch", "pydantic"}
    assert all(latency > 0 for latency in result["latencies"])


# --- ONNX Runtime ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 7),
    )  # fmt: skip
    return onnx_model(module.eval(), (3, 9, 9)).SerializeToString()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_runner_runs_an_emitted_graph(model, batch_size):
    (logits,) = onnx_runner(model, batch_size=batch_size)()
    assert logits.shape == (batch_size, 7)
    assert np.isfinite(logits).all()
    assert logits.std() > 0


def test_runner_opens_paths_too(model, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    np.testing.assert_array_equal(onnx_runner(str(path))()[0], onnx_runner(model)()[0])


def test_inputs_follow_the_seed(model):
    (first,), (again,), (other,) = (onnx_runner(model, seed=seed)() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("threads", [1, 2])
def test_session_has_the_stated_threads(model, threads):
    options = profile_device.onnx_session(model, threads).get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.inter_op_num_threads == 1


def test_real_runs_are_measured(model):
    found = measure([onnx_runner(model), onnx_runner(model, batch_size=2)], passes=2, windows=1)
    for result in found:
        assert len(result.pass_latencies_ms) == 2
        assert 0 < result.latency_ms == min(result.pass_latencies_ms)
        assert result.noise >= 0
