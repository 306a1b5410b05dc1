"""One visit, and what visits say: with timers whose figures are exact, and with real networks."""

import math
import os
import random
import runpy
import statistics
import time

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import nn

from hardware_profiles import profile_device
from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import (
    AGREEMENT,
    ENOUGH_NETWORKS,
    ENOUGH_VISITS,
    MAX_RUNS,
    MIN_RUNS,
    NOISY_SHARE,
    WARM_UP_SECONDS,
    WINDOW_SECONDS,
    WINDOWS,
    DeviceError,
    Measurement,
    RefusedError,
    Visit,
    drift,
    measure,
    measure_models,
    onnx_opener,
    onnx_session,
    timed,
    too_noisy,
    visit,
)
from tests.contracts.inputs import one_input
from tests.hardware_profiles.fake_machine import (
    LONG,
    MILLISECOND,
    RUNS_OF_VISIT,
    Machine,
    made,
)


@pytest.fixture
def machine():
    return Machine()


# --- one visit ------------------------------------------------------------------------------------


def test_a_visit_touches_warms_up_and_times_its_windows(machine):
    visit(machine.opener(LONG))
    assert machine.windows == [1, 1] + [MIN_RUNS] * WINDOWS
    assert sum(machine.windows) == RUNS_OF_VISIT
    assert machine.closed == 1


@pytest.mark.parametrize("seed", range(5))
def test_windows_hold_the_medians_of_their_runs_by_both_clocks(machine, seed):
    draw = random.Random(seed)
    costs = [(draw.randrange(LONG, 5 * LONG), draw.randrange(LONG)) for _ in range(RUNS_OF_VISIT)]
    found = visit(machine.opener(lambda _, run: costs[run]))
    windows = np.array(costs[2:]).reshape(WINDOWS, MIN_RUNS, 2) / 1e6
    np.testing.assert_allclose(found.wall_ms, np.median(windows[:, :, 0], axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.own_ms, np.median(windows[:, :, 1], axis=1), rtol=1e-12)


def test_what_warms_up_is_not_timed(machine):
    found = visit(machine.opener(lambda _, run: LONG * (50 if run < 2 else 1)))
    assert found.own_ms == found.wall_ms == [LONG / 1e6] * WINDOWS


@pytest.mark.parametrize("cost", [1000, MILLISECOND // 10, MILLISECOND // 3, 2 * MILLISECOND])
def test_a_window_lasts_its_time(machine, cost):
    visit(machine.opener(cost))
    runs = min(MAX_RUNS, max(MIN_RUNS, round(WINDOW_SECONDS * 1e9 / cost)))
    assert machine.windows[-WINDOWS:] == [runs] * WINDOWS
    warm_up = sum(machine.windows[1:-WINDOWS]) * cost / 1e9
    assert WARM_UP_SECONDS <= warm_up < 1.7 * WARM_UP_SECONDS


@pytest.mark.parametrize(("cost", "runs"), [(2, MAX_RUNS), (10**9, MIN_RUNS), (10**11, MIN_RUNS)])
def test_runs_of_a_window_are_bounded(machine, cost, runs):
    visit(machine.opener(cost))
    assert machine.windows[-WINDOWS:] == [runs] * WINDOWS
    assert max(machine.windows) <= MAX_RUNS


def test_a_network_that_fails_is_closed(machine):
    def cost(_, run):
        if run == 4:
            raise ZeroDivisionError
        return LONG

    with pytest.raises(ZeroDivisionError):
        visit(machine.opener(cost))
    assert machine.closed == 1


# --- the clocks -----------------------------------------------------------------------------------


class Clocks:
    """A wall clock, and a thread's own; reading the own one takes time on both."""

    def __init__(self, monkeypatch, reading_ns):
        self.wall, self.own, self.reading_ns = 1000, 500, reading_ns
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.wall)

    def read_own(self):
        self.own += self.reading_ns
        self.wall += self.reading_ns
        return self.own

    def run(self, own, elsewhere=0):
        self.own += own
        self.wall += own + elsewhere


@pytest.mark.parametrize("reading_ns", [0, 70, 900])
def test_the_cost_of_reading_the_own_clock_is_taken_off(monkeypatch, reading_ns):
    clocks = Clocks(monkeypatch, reading_ns)
    wall, own = timed(lambda: clocks.run(4321), clocks.read_own)(7)
    assert own == [4321] * 7
    assert wall == [4321 + 2 * reading_ns] * 7  # what a stopwatch sees


def test_own_time_stands_still_while_other_work_has_the_core(monkeypatch):
    clocks = Clocks(monkeypatch, 70)
    draw = random.Random(0)
    wall, own = timed(lambda: clocks.run(5000, draw.randrange(20_000)), clocks.read_own)(100)
    assert own == [5000] * 100
    assert statistics.median(wall) > 2 * 5000


def test_times_of_the_own_clock_are_never_nothing(monkeypatch):
    clocks = Clocks(monkeypatch, 70)
    clocks.run(0)
    timer = timed(lambda: None, clocks.read_own)
    clocks.reading_ns = 10  # reading has become quicker than its cost was taken to be
    assert min(timer(5)[1]) > 0


def test_windows_has_no_own_clock(monkeypatch):
    """It tells a thread's time in steps of 15.6 ms: nearly every run would take no time."""
    assert profile_device.OWN_CLOCK is (None if os.name == "nt" else time.thread_time_ns)
    monkeypatch.setattr(os, "name", "nt")
    assert runpy.run_path(profile_device.__file__)["OWN_CLOCK"] is None


def test_without_an_own_clock_the_wall_clock_stands_for_both(monkeypatch):
    clocks = Clocks(monkeypatch, 70)
    assert timed(lambda: clocks.run(30, 12))(3) == ([42] * 3, [42] * 3)


def test_real_clocks():
    for clock in (None, time.thread_time_ns):
        wall, own = timed(lambda: sum(range(1000)), clock)(50)
        assert len(wall) == len(own) == 50
        assert min(wall) > 0
        assert min(own) > 0


def test_a_busy_core_does_not_show_in_the_latency(machine):
    quiet = visit(machine.opener(LONG))
    busy = visit(machine.opener(lambda _, run: (2 * LONG, LONG)))
    assert busy.own_ms == quiet.own_ms
    assert busy.wall_ms == [2 * one for one in quiet.wall_ms]


# --- what visits say ------------------------------------------------------------------------------

figures = st.floats(0.01, 1000)
visits_of_a_network = st.lists(
    st.builds(
        Visit,
        st.lists(figures, min_size=1, max_size=4),
        st.lists(figures, min_size=1, max_size=4),
        st.none() | st.integers(0, 10**9),
    ),
    min_size=1,
    max_size=8,
)


@given(visits_of_a_network)
def test_measurement_is_what_its_definition_says(visits):
    found = Measurement(visits)
    best = np.sort([np.min(one.own_ms) for one in visits])
    assert found.visits == len(visits)
    if len(visits) >= ENOUGH_VISITS and best[1] / best[0] - 1 > AGREEMENT:
        best = best[1:]
    assert found.latency_ms == best[0]
    assert found.typical_ms == pytest.approx(np.median(best))
    assert found.noise == pytest.approx(np.median(best) / best[0] - 1, abs=1e-9)
    assert found.wall_ms == min(min(one.wall_ms) for one in visits)
    if len(visits) == 1:
        assert found.disagreement is None
        assert found.noise == 0
    else:
        assert found.disagreement == pytest.approx(best[1] / best[0] - 1)
    known = [one.resident_bytes for one in visits if one.resident_bytes is not None]
    assert found.resident_bytes == (max(known) if known else None)


@given(visits_of_a_network, st.integers(0), figures)
def test_a_slower_window_never_changes_the_latency(visits, place, extra):
    found = Measurement(visits).latency_ms
    slow = found + extra
    chosen = visits[place % len(visits)]
    chosen.own_ms.append(slow)
    assert Measurement(visits).latency_ms == found
    if len(visits) + 1 != ENOUGH_VISITS:  # the one that tells a lone fast one
        assert Measurement([*visits, Visit([slow], [slow])]).latency_ms == found


@pytest.mark.parametrize(
    ("best", "latency", "noise", "disagreement"),
    [
        ((2.0, 1.0, 2.0, 2.0), 1.0, 1.0, 1.0),  # too few visits to tell
        ((2.0, 1.0, 2.0, 2.0, 2.0), 2.0, 0.0, 0.0),
        ((2.0, 1.0, 1.02, 2.0, 2.0), 1.0, 1.0, 0.02),  # it is not alone
        ((3.0, 1.0, 2.0, 3.0, 3.0), 2.0, 0.5, 0.5),  # one at most
    ],
)
def test_a_lone_fast_visit_does_not_count(best, latency, noise, disagreement):
    found = Measurement(made(*best))
    assert found.latency_ms == latency
    assert found.noise == pytest.approx(noise)
    assert found.disagreement == pytest.approx(disagreement)
    assert found.visits == len(best)


def test_memory_of_a_network_is_the_most_that_is_known():
    visits = [Visit([1.0], [1.0], memory) for memory in (None, 5, 9, 0)]
    assert Measurement(visits).resident_bytes == 9
    assert Measurement(visits[:1]).resident_bytes is None
    assert Measurement(visits[3:]).resident_bytes == 0


@pytest.mark.parametrize(
    ("best", "noise", "disagreement"),
    [
        ((1.0, 3.0), 1.0, 2.0),  # halfway between 1 and 3, over 1
        ((3.0, 1.0, 3.0), 2.0, 2.0),
        ((1.0, 3.0, 1.0), 0.0, 0.0),  # the typical pass is a quick one
        ((3.0, 1.0, 3.0, 1.0), 1.0, 0.0),
    ],
)
def test_slow_passes_show_in_the_noise_and_not_in_the_latency(best, noise, disagreement):
    found = Measurement(made(*best))
    assert found.latency_ms == 1.0
    assert found.noise == pytest.approx(noise)
    assert found.disagreement == pytest.approx(disagreement)


def test_budgets_are_kept_by_the_typical_pass():
    measurement = Measurement(made(1.25, 1.0, 2.0))
    assert measurement.latency_ms == 1.0
    assert measurement.keeps(1.25)
    assert not measurement.keeps(1.24)
    assert not measurement.keeps(1.0)


def test_drift_is_the_slowest_stretch_over_the_fastest():
    assert drift(made(2, 2, 2, 3, 3, 3)) == pytest.approx(0.5)
    assert drift(made(3, 3, 3, 2, 2, 2)) == pytest.approx(0.5)
    assert drift(made(2, 9, 2, 2, 9, 9, 2, 2)) == 0  # never three disturbed visits in a row
    assert drift(made(9, 9, 2, 2, 2, 9, 9)) == 0
    assert drift(made(5, 5, 5, 5)) == 0


@pytest.mark.parametrize("num_visits", range(4))
def test_one_stretch_tells_no_drift(num_visits):
    assert drift(made(*range(1, num_visits + 1))) is None


def measured(num_agreeing, num_doubtful, num_once=0):
    agreeing = 1 + 0.9 * AGREEMENT
    return [
        *(Measurement(made(1.0, agreeing, 5.0)) for _ in range(num_agreeing)),
        *(Measurement(made(1.0, 1 + 1.1 * AGREEMENT)) for _ in range(num_doubtful)),
        *(Measurement(made(1.0)) for _ in range(num_once)),
    ]


@pytest.mark.parametrize(
    ("counts", "noisy"),
    [
        ((10, 0), False),
        ((30, 10), False),  # a quarter is still believed
        ((29, 11), True),
        ((0, 8), True),
        ((0, 7), False),  # too few to tell
        ((0, 0, 50), False),  # nothing is known of their noise
        ((1, 1, 100), False),  # and they do not count
        ((4, 4, 100), True),
        ((0, 0), False),
    ],
)
def test_a_machine_is_too_noisy_where_too_many_networks_disagree(counts, noisy):
    assert (NOISY_SHARE, ENOUGH_NETWORKS) == (0.25, 8)
    verdict = too_noisy(measured(*counts))
    assert (verdict is not None) == noisy
    if verdict:
        assert verdict.startswith("too noisy: ")
        assert "--accept-noise" in verdict
        assert f"{counts[1]} of {counts[0] + counts[1]} networks" in verdict


# --- measure --------------------------------------------------------------------------------------


def test_results_are_in_the_order_of_the_openers(machine):
    costs = [LONG + i * MILLISECOND for i in (5, 0, 9, 2, 1, 7, 3, 4, 8, 6, 11, 10)]
    found = measure([machine.opener(cost, str(cost)) for cost in costs], passes=2)
    assert [one.latency_ms for one in found] == [cost / 1e6 for cost in costs]
    assert [one.noise for one in found] == [0.0] * len(costs)
    assert [one.visits for one in found] == [2] * len(costs)


def test_nothing_to_measure():
    assert measure([]) == []


# --- ONNX Runtime ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 7),
    )  # fmt: skip
    return onnx_model(module.eval(), one_input(3, 9, 9)).SerializeToString()


def feeds(model, batch_size=1):
    return profile_device._feeds(onnx_session(model), batch_size)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_inputs_are_standard_normal_of_the_batch_and_the_same_every_time(model, batch_size):
    (name, images), *others = feeds(model, batch_size).items()
    assert not others
    assert images.shape == (batch_size, 3, 9, 9)
    assert images.dtype == np.float32
    assert abs(images.mean()) < 0.2
    assert 0.8 < images.std() < 1.2
    np.testing.assert_array_equal(images, feeds(model, batch_size)[name])


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.INT64, np.int64),
        (TensorProto.INT32, np.int32),
        (TensorProto.UINT8, np.uint8),
    ],
)
def test_models_of_other_types_get_inputs_too(kind, dtype):
    source = helper.make_tensor_value_info("x", kind, ["batch", "anything", 4])
    result = helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [source], [result])
    opsets = [helper.make_opsetid("", 17)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    assert feeds(data, 2)["x"].dtype == dtype
    assert feeds(data, 2)["x"].shape == (2, 1, 4)
    with onnx_opener(data, batch_size=2)() as timer:
        assert min(timer(3)[0]) > 0


def test_openers_take_bytes_paths_and_functions(model, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    for one in (model, str(path), path, lambda: model):
        with onnx_opener(one)() as timer:
            assert len(timer(2)[0]) == 2


@pytest.mark.parametrize("threads", [1, 2])
def test_session_has_the_stated_threads(model, threads):
    options = onnx_session(model, threads).get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.inter_op_num_threads == 1


@pytest.mark.parametrize(("threads", "own_clock"), [(1, True), (2, False)])
def test_one_thread_is_timed_by_its_own_clock(model, threads, own_clock):
    with onnx_opener(model, threads)() as timer:
        wall, own = timer(5)
    assert (wall is not own) == own_clock
    assert sum(own) <= 1.01 * sum(wall)


def test_a_provider_that_is_not_there_is_named_with_those_that_are(model):
    with pytest.raises(DeviceError, match=r"has no NoProvider; it has .*CPUExecutionProvider"):
        onnx_session(model, provider="NoProvider")


def test_what_onnx_runtime_cannot_open_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    cases = [(b"no model", "a model"), (str(path), str(path)), (str(path) + "x", str(path) + "x")]
    for model, what in cases:
        with pytest.raises(RefusedError) as error:
            onnx_session(model)
        assert str(error.value).startswith(f"ONNX Runtime cannot open {what}: ")
        assert "\n" not in str(error.value)
        with pytest.raises(RefusedError), onnx_opener(model)():
            raise AssertionError("not reached")


def test_what_onnx_runtime_cannot_run_is_refused():
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 3])  # of four numbers
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    graph = helper.make_graph([node], "g", [source], [result], [shape])
    opsets = [helper.make_opsetid("", 17)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    with pytest.raises(RefusedError, match="ONNX Runtime cannot run it: "), onnx_opener(data)():
        raise AssertionError("not reached")
    with onnx_opener(data, batch_size=3)() as timer:
        assert min(timer(2)[0]) > 0


def test_real_models_are_measured_side_by_side(model, tmp_path):
    wide = nn.Sequential(*(nn.Conv2d(24, 24, 3, padding=1) for _ in range(20)))
    data = onnx_model(wide.eval(), one_input(24, 32, 32)).SerializeToString()
    onnx.checker.check_model(onnx.load_from_string(data))
    first, second = measure_models([model, data])
    for one in (first, second):
        assert one.visits >= profile_device.BUDGET_PASSES
        assert math.isfinite(one.latency_ms)
        assert 0 < one.latency_ms <= one.typical_ms
        assert one.noise >= 0
    assert first.latency_ms < second.latency_ms  # by a factor of hundreds
