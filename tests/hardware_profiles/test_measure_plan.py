"""Real measurements of tiny plans; nothing is asserted of how long anything takes."""

import gc
import json
import os
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hardware_profiles import measure_plan as module
from hardware_profiles import profile_device
from hardware_profiles.artifact import file_hash
from hardware_profiles.measure_plan import measure_plan, measure_workloads
from hardware_profiles.plan import make_plan
from hardware_profiles.profile import Profile
from hardware_profiles.profile_device import AGREEMENT, BUDGET_PASSES, ENOUGH_VISITS, Session
from hardware_profiles.runtimes import build_runtime
from hardware_profiles.runtimes.runtime import RuntimeSettings
from hardware_profiles.workloads import layer_workload, workload
from search_spaces import InputError, build_space


@pytest.fixture(scope="module")
def runtime():
    return build_runtime("onnxruntime", RuntimeSettings())


@pytest.fixture(scope="module")
def measured(space, plan, runtime, tmp_path_factory):
    """(profile, path of its windows, calls of progress) of the tiny plan."""
    calls = []
    path = tmp_path_factory.mktemp("profile") / "profile.windows.jsonl"
    profile = measure_plan(
        space,
        plan,
        runtime,
        path,
        accept_noise=True,
        progress=lambda *call: calls.append(call),
    )
    return profile, path, calls


def visits_in(path):
    """Names in the windows file, in order."""
    return [json.loads(line)["item"] for line in path.read_bytes().splitlines()[1:]]


class Sure:
    """A runtime whose networks take as long as they are told to."""

    def __init__(self, target, latency_ns=lambda visit: 20_000_000):
        self.target = target.model_copy(update={"runtime": "none", "provider": "none"})
        self.opened = 0
        self._latency_ns = latency_ns

    def open(self, network):
        runtime, self.network = self, network

        class Opened:
            def __enter__(self):
                took = runtime._latency_ns(runtime.opened)
                runtime.opened += 1
                return lambda n: ([took] * n, [took] * n)

            def __exit__(self, *error):
                pass

        return Opened()


# --- the profile ----------------------------------------------------------------------------------


def test_a_profile_holds_all_that_was_planned(plan, measured):
    profile, _, _ = measured
    assert profile.missing == {}
    assert profile.complete
    assert {layer.spec for layer in profile.layers} == {
        item.spec for item in plan.items if item.role == "layer"
    }
    expected = [(item.role, item.values) for item in plan.items if item.role != "layer"]
    assert [(subnet.role, subnet.values) for subnet in profile.subnets] == expected


def test_a_profile_says_how_it_was_made(space, plan, runtime, measured):
    profile, path, _ = measured
    assert (profile.space, profile.seed) == (space.name, plan.seed)
    assert profile.space_settings == {"num_classes": 10, "input_channels": 1}
    assert profile.options == {"resolution": (8,)}
    assert profile.target == runtime.target
    assert profile.made_from == {"plan": plan.sha256, "windows": file_hash(path)}
    created = datetime.fromisoformat(profile.created)
    assert created.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - created) < timedelta(hours=1)


def test_its_figures_are_those_of_the_windows(plan, measured):
    profile, path, _ = measured
    best, wall = {}, {}
    for line in path.read_text().splitlines()[1:]:
        record = json.loads(line)
        best.setdefault(record["item"], []).append(min(record["own_ms"]))
        wall.setdefault(record["item"], []).append(min(record["wall_ms"]))
    for item, found in zip(plan.items, [*profile.layers, *profile.subnets], strict=True):
        counted = sorted(best[item.id])
        if len(counted) >= ENOUGH_VISITS and counted[1] / counted[0] - 1 > AGREEMENT:
            counted = counted[1:]  # a lone fast one
        assert found.latency_ms == counted[0]
        assert found.wall_ms == min(wall[item.id])
        assert found.visits == len(best[item.id]) >= 3
        assert found.noise == pytest.approx(np.median(counted) / counted[0] - 1)
    assert (profile.drift is None) == (len(best[plan.reference]) < 4)


def test_the_memory_of_whole_subnets_is_known(measured):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux has a mark that can be set back")
    for subnet in measured[0].subnets:
        assert 0 < subnet.resident_bytes < 100e6
        assert subnet.energy_mj is None


def test_progress_reaches_the_total(measured):
    _, _, calls = measured
    assert [done for done, _ in calls] == list(range(1, len(calls) + 1))
    assert all(done <= total for done, total in calls)


def test_a_profile_survives_its_file(measured, tmp_path):
    profile, _, _ = measured
    profile.save(tmp_path / "profile.json")
    assert Profile.load(tmp_path / "profile.json") == profile


def test_other_runtimes_measure_the_same_plan(space, plan, tmp_path):
    runtime = build_runtime("torch-cpu", RuntimeSettings())
    profile = measure_plan(
        space, plan, runtime, tmp_path / "windows.jsonl", passes=2, accept_noise=True
    )
    assert profile.missing == {}
    assert profile.target.runtime == "torch-cpu"
    assert all(subnet.resident_bytes is None for subnet in profile.subnets)


def test_layers_and_subnets_are_visited_in_one_random_order(space, runtime, tmp_path):
    plan = make_plan(space, num_calibration=12, num_held_out=0, max_specs=12)
    path = tmp_path / "windows.jsonl"
    measure_plan(space, plan, Sure(runtime.target), path, passes=2)
    names = visits_in(path)[:25]
    is_layer = [name.startswith("layer") for name in names]
    changes = sum(a != b for a, b in pairwise(is_layer))
    assert changes > 5
    assert names != sorted(names)


# --- going on -------------------------------------------------------------------------------------


def test_the_same_call_goes_on_with_its_windows(space, plan, runtime, tmp_path):
    path = tmp_path / "windows.jsonl"
    sure = Sure(runtime.target)

    def stop(done, total):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_plan(space, plan, sure, path, progress=stop)
    first = visits_in(path)
    assert len(first) == sure.opened
    profile = measure_plan(space, plan, sure, path)
    assert visits_in(path)[: len(first)] == first
    counts = Counter(visits_in(path))
    assert {counts[i.id] for i in plan.items if i.id != plan.reference} == {3}
    assert sum(counts.values()) == sure.opened
    assert profile.missing == {}
    assert profile.made_from["windows"] == file_hash(path)


def test_windows_of_another_plan_or_target_are_refused(space, plan, runtime, tmp_path):
    path = tmp_path / "windows.jsonl"
    sure = Sure(runtime.target)
    measure_plan(space, plan, sure, path)
    before = sure.opened
    seeded = plan.model_copy(update={"seed": 9})
    assert "unfinished measurements of another plan;" in refused(space, seeded, sure, path)
    assert sure.opened == before
    other = Sure(runtime.target.model_copy(update={"threads": 2}))
    assert "unfinished measurements of another threads;" in refused(space, plan, other, path)
    assert other.opened == 0
    noted = Sure(runtime.target.model_copy(update={"notes": "a new kernel", "frequency_mhz": 1.0}))
    assert measure_plan(space, plan, noted, path).missing == {}
    assert noted.opened <= 1  # the reference


def test_time_that_ends_early_leaves_a_part(space, plan, runtime, tmp_path, monkeypatch):
    """By a clock of visits: how many a busy machine makes in a second is its matter."""
    sure = Sure(runtime.target)
    monkeypatch.setattr(module, "Session", partial(Session, clock=lambda: float(sure.opened)))
    path = tmp_path / "windows.jsonl"
    profile = measure_plan(space, plan, sure, path, seconds=3.5, accept_noise=True)
    there = len(profile.layers) + len(profile.subnets)
    assert 1 <= there < len(plan.items)
    assert len(visits_in(path)) == 3
    assert not profile.complete
    assert sum(profile.missing.values()) == len(plan.items) - there
    assert set(profile.missing) <= {"layer", "calibration", "held_out"}
    assert all(one.noise is None for one in (*profile.layers, *profile.subnets) if one.visits == 1)


def test_no_time_at_all_is_refused(space, plan, runtime, tmp_path):
    with pytest.raises(InputError, match="nothing was measured"):
        measure_plan(space, plan, runtime, tmp_path / "windows.jsonl", seconds=1e-9)


# --- noise ----------------------------------------------------------------------------------------


def test_a_noisy_machine_is_refused_and_its_windows_are_kept(
    space, plan, runtime, tmp_path, monkeypatch
):
    monkeypatch.setattr(profile_device, "ENOUGH_NETWORKS", len(plan.items))
    path = tmp_path / "windows.jsonl"
    noisy = Sure(runtime.target, lambda visit: 10**9 * 2 ** (20 - visit / 6))
    with pytest.raises(InputError, match=r"^too noisy: .* of 6 networks .*--accept-noise"):
        measure_plan(space, plan, noisy, path)
    kept = path.read_bytes()
    assert len(visits_in(path)) == noisy.opened >= 2 * len(plan.items)
    profile = measure_plan(space, plan, noisy, path, accept_noise=True)  # goes on with them
    assert path.read_bytes().startswith(kept)
    assert min(one.visits for one in profile.layers) >= 3


def test_a_noisy_machine_is_accepted_where_that_is_wanted(space, plan, runtime, tmp_path):
    noisy = Sure(runtime.target, lambda visit: 10**9 * 2 ** (20 - visit / 6))
    profile = measure_plan(space, plan, noisy, tmp_path / "windows.jsonl", accept_noise=True)
    assert profile.missing == {}
    assert profile.noise > 0


def test_the_drift_of_the_machine_is_stored(space, plan, runtime, tmp_path):
    once = Sure(runtime.target)
    profile = measure_plan(space, plan, once, tmp_path / "windows.jsonl", passes=2)
    assert profile.drift is None  # the reference was visited too few times for it
    path = tmp_path / "more.jsonl"
    slower = Sure(runtime.target, lambda visit: 20_000_000 + (visit > 30) * 5_000_000)
    profile = measure_plan(space, plan, slower, path, passes=11, accept_noise=True)
    assert profile.drift == pytest.approx(0.25)


# --- what is refused ------------------------------------------------------------------------------


def refused(space, plan, runtime, path, **settings):
    """The error; nothing was visited, no file of windows made or changed."""
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(InputError) as error:
        measure_plan(space, plan, runtime, path, **settings)
    assert (path.read_bytes() if path.exists() else None) == before
    return str(error.value)


@pytest.mark.parametrize("passes", [-1, 0, 1])
def test_one_pass_tells_no_noise_and_is_refused(space, plan, runtime, tmp_path, passes):
    said = refused(space, plan, runtime, tmp_path / "windows.jsonl", passes=passes)
    assert f"expected at least 2 passes, between which noise shows, got {passes}" in said


def test_a_plan_of_another_space_is_refused(plan, runtime, tmp_path):
    other = build_space("mobilenet-cifar")
    assert "mobilenet-cifar@1" in refused(other, plan, runtime, tmp_path / "windows.jsonl")


def test_cores_that_are_not_there_are_refused(space, plan, tmp_path, measured):
    path = tmp_path / "windows.jsonl"
    path.write_bytes(measured[1].read_bytes())
    runtime = build_runtime("onnxruntime", RuntimeSettings(cores=(99999,)))
    assert "expected cores among" in refused(space, plan, runtime, path)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no pinning on this system")
def test_the_process_is_pinned_while_it_measures_and_not_after(space, plan, tmp_path):
    before = os.sched_getaffinity(0)
    core = min(before)
    seen = set()
    runtime = build_runtime("onnxruntime", RuntimeSettings(cores=(core,)))
    sure = Sure(runtime.target, lambda visit: seen.add(frozenset(os.sched_getaffinity(0))) or 10**7)
    measure_plan(space, plan, sure, tmp_path / "windows.jsonl", passes=2)
    assert seen == {frozenset({core})}
    assert os.sched_getaffinity(0) == before


# --- energy ---------------------------------------------------------------------------------------


def test_energy_is_asked_for_of_whole_subnets_on_a_gpu(space, plan, runtime, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "energy_counter", lambda: lambda: 0.0)

    def energy(timer, counter):
        asked.append(timer(1))
        return None if len(asked) == 1 else 3.5

    monkeypatch.setattr(module, "energy_per_run_mj", energy)
    gpu = Sure(runtime.target.model_copy(update={"host": "a CPU"}))
    profile = measure_plan(space, plan, gpu, tmp_path / "windows.jsonl", passes=2)
    assert [subnet.energy_mj for subnet in profile.subnets] == [None, 3.5, 3.5]
    assert all(subnet.resident_bytes is None for subnet in profile.subnets)


# --- against a budget -----------------------------------------------------------------------------


def test_a_few_networks_are_timed_side_by_side(space, plan, runtime):
    workloads = [workload(space, item) for item in plan.items[-2:]]
    workloads.append(layer_workload(plan.items[0].spec))
    found = measure_workloads(runtime, workloads)
    assert [one.visits >= BUDGET_PASSES for one in found] == [True] * 3
    assert all(0 < one.latency_ms <= one.typical_ms for one in found)
    took = {id(one): (n + 1) * 10**7 for n, one in enumerate(workloads)}
    sure = Sure(runtime.target, lambda visit: took[id(sure.network)])
    told = measure_workloads(sure, workloads)
    assert [one.latency_ms for one in told] == [10, 20, 30], "each its own"


def test_nothing_is_left_open(space, plan, runtime, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    path = tmp_path / "windows.jsonl"
    before = open_files()
    with pytest.raises(KeyboardInterrupt):
        measure_plan(space, plan, runtime, path, progress=interrupt)
    assert len(visits_in(path)) >= 1
    assert open_files() == before


def open_files():
    if sys.platform != "linux":
        pytest.skip("only Linux lists the open files")
    gc.collect()  # what earlier tests left is none of this one's
    return sorted(link.name for link in Path("/proc/self/fd").iterdir())
