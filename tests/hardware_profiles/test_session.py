"""The measuring loop under a clock that only advances when something runs."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hardware_profiles.profile_device import (
    AGREEMENT,
    MAX_PASSES,
    PASSES,
    REFERENCE_SECONDS,
    REFERENCE_SHARE,
    Visit,
    drift,
)
from tests.hardware_profiles.fake_machine import LONG, RUNS_OF_VISIT, Machine, made

VISIT_SECONDS = LONG * RUNS_OF_VISIT / 1e9  # of a network that takes LONG
NAMES = "abcdefghijkl"
QUIET = dict.fromkeys(NAMES, LONG)


@pytest.fixture
def machine():
    return Machine()


def unsteady(share, first=0):
    """A network that is slower by `share` more at every visit, from the visit `first` on."""
    return lambda visit, run: round(LONG * (1 + share * max(0, visit - first)))


def never_agreeing(visit, run):
    """A network whose every visit halves what was the least before, but takes as long."""
    return LONG, LONG >> visit


def agreeing_after(num_visits):
    """A network whose two best visits agree from the `num_visits`-th on (the last two are best)."""
    return lambda visit, run: LONG * max(1, num_visits - 1 - visit)


# --- passes ---------------------------------------------------------------------------------------


def orders(seed, costs=QUIET, passes=4):
    machine = Machine()
    assert machine.session(costs, passes=passes, seed=seed).run()
    size = len(costs)
    return [machine.opened[i : i + size] for i in range(0, len(machine.opened), size)]


def test_every_pass_visits_everything_once_in_another_order():
    passes = orders(seed=0)
    assert [sorted(names) for names in passes] == [list(NAMES)] * 4
    assert len({tuple(names) for names in passes}) == 4
    assert list(NAMES) not in passes


def test_the_seed_alone_decides_about_the_order():
    assert orders(seed=3) == orders(seed=3)
    assert orders(seed=3) == orders(seed=3, costs=dict(reversed(QUIET.items())))
    assert orders(seed=3) != orders(seed=4)


def test_the_order_leaves_the_global_generator_alone(machine):
    before = random.getstate()
    machine.session(QUIET).run()
    assert random.getstate() == before


def test_a_slow_moment_of_the_machine_costs_no_network_its_latency(machine):
    """All that runs in a whole third of the time takes three times as long."""
    third = len(NAMES) * VISIT_SECONDS

    def cost(visit, run):
        return LONG * (3 if third <= machine.clock() < 4 * third else 1)

    session = machine.session(dict.fromkeys(NAMES, cost))
    session.run()
    assert {one.latency_ms for one in session.measurements().values()} == {LONG / 1e6}


def test_measurements_are_of_the_networks_that_were_visited(machine):
    session = machine.session(QUIET, seconds=4.5 * VISIT_SECONDS)
    assert not session.run()
    found = session.measurements()
    assert list(found) == sorted(machine.opened)
    assert 0 < len(found) < len(NAMES)


def test_memory_is_asked_for_once_for_each(machine):
    asked = []

    def resident_bytes(name):
        asked.append(name)
        return None if name == "a" else 1000 + ord(name)

    known = {"b": [Visit([1.0], [1.0], 7)] * 2}
    session = machine.session(QUIET, known=known, reference="c", resident_bytes=resident_bytes)
    session.run()
    assert sorted(asked) == sorted(set(NAMES) - {"b"})
    found = {name: one.resident_bytes for name, one in session.measurements().items()}
    assert found == {name: 1000 + ord(name) for name in NAMES} | {"a": None, "b": 7}


def test_nothing_to_measure(machine):
    session = machine.session({})
    assert session.run()
    assert session.measurements() == {}


def test_a_network_that_fails_ends_the_session_and_the_others_are_kept(machine):
    def broken(visit, run):
        raise ZeroDivisionError

    session = machine.session({**QUIET, "broken": broken})
    with pytest.raises(ZeroDivisionError):
        session.run()
    assert "broken" not in session.measurements()
    assert len(session.measurements()) == len(machine.opened) - 1


def test_a_network_that_the_runtime_refuses_is_left_out(machine):
    def broken(visit, run):
        raise ZeroDivisionError("it cannot be run")

    for reference in ("a", "broken"):
        machine = Machine()
        costs = {**QUIET, "broken": broken}
        session = machine.session(costs, reference=reference, refused=(ZeroDivisionError,))
        assert session.run()
        assert session.failures == {"broken": "it cannot be run"}
        assert machine.opened.count("broken") == 1
        assert set(session.measurements()) == set(NAMES)
        assert min(one.visits for one in session.measurements().values()) == PASSES


# --- visits of those that disagree ----------------------------------------------------------------


def test_networks_that_agree_are_visited_no_more(machine):
    costs = {**QUIET, "steady": unsteady(0.9 * AGREEMENT), "slow first": unsteady(-0.3, 3)}
    machine.session(costs).run()
    assert set(Counter(machine.opened).values()) == {PASSES}


@pytest.mark.parametrize("num_visits", [4, 5, 7])
def test_networks_that_disagree_are_visited_until_they_agree(machine, num_visits):
    costs = {**QUIET, "doubtful": agreeing_after(num_visits)}
    assert machine.session(costs).run()
    assert Counter(machine.opened) == {**dict.fromkeys(NAMES, PASSES), "doubtful": num_visits}


def test_networks_that_never_agree_are_visited_a_bounded_number_of_times(machine):
    costs = {**QUIET, "doubtful": never_agreeing}
    assert machine.session(costs, seconds=1e9).run()
    assert Counter(machine.opened) == {**dict.fromkeys(NAMES, PASSES), "doubtful": MAX_PASSES}


def test_without_a_limit_extra_visits_take_half_the_time_of_the_passes(machine):
    costs = {name: never_agreeing for name in NAMES}
    machine.session(costs).run()
    start = machine.begun[PASSES * len(NAMES)]
    assert len(machine.opened) > PASSES * len(NAMES)
    assert max(machine.begun) <= 1.5 * start
    assert machine.now / 1e9 <= 1.5 * start + VISIT_SECONDS
    assert len(machine.opened) == PASSES * len(NAMES) * 3 // 2


def test_chance_decides_which_are_visited_again_where_not_all_can_be():
    again = set()
    for seed in range(8):
        machine = Machine()
        machine.session(dict.fromkeys(NAMES, never_agreeing), seed=seed).run()
        counts = Counter(machine.opened)
        again.add("".join(name for name in NAMES if counts[name] == max(counts.values())))
    assert len(again) > 4


def test_passes_are_complete_where_time_ends_the_extra_ones(machine):
    costs = {name: never_agreeing for name in NAMES}
    whole = Machine()
    assert whole.session(costs, seconds=1e9).run()
    after_passes = whole.begun[PASSES * len(NAMES)]
    assert machine.session(costs, seconds=1.1 * after_passes).run()
    counts = Counter(machine.opened)
    assert min(counts.values()) >= PASSES
    assert max(counts.values()) < MAX_PASSES


# --- the reference --------------------------------------------------------------------------------


def reference_times(machine, reference="r"):
    return [t for t, name in zip(machine.begun, machine.opened, strict=True) if name == reference]


def test_the_reference_is_visited_throughout(machine):
    costs = {**QUIET, "r": LONG}
    session = machine.session(costs, reference="r", passes=6)
    session.run()
    times = reference_times(machine)
    assert machine.opened[0] == "r"
    gaps = [later - earlier for earlier, later in pairwise(times)]
    longest = max(REFERENCE_SECONDS, REFERENCE_SHARE * VISIT_SECONDS) + 2 * VISIT_SECONDS
    assert max(gaps) <= longest
    assert len(times) >= 6 * len(NAMES) * VISIT_SECONDS / longest
    assert len(session.visits["r"]) == len(times)


def test_a_slow_reference_is_visited_more_rarely(machine):
    machine.session({**QUIET, "r": 10 * LONG}, reference="r", passes=6).run()
    assert REFERENCE_SECONDS < machine.clock() < REFERENCE_SHARE * 10 * VISIT_SECONDS
    assert len(reference_times(machine)) == 6  # of the passes alone


def test_the_reference_is_not_visited_more_often_than_that(machine):
    costs = {name: LONG // 100 for name in NAMES} | {"r": LONG // 100}
    machine.session(costs, reference="r", passes=4).run()
    assert machine.clock() < 4 * REFERENCE_SECONDS
    assert len(reference_times(machine)) <= 4 + 4


def test_the_drift_of_the_machine_shows_in_the_reference(machine):
    def cost(visit, run):
        return round(LONG * (1.2 if machine.clock() > 5 * REFERENCE_SECONDS else 1.0))

    session = machine.session(dict.fromkeys([*NAMES, "r"], cost), reference="r", passes=8)
    session.run()
    assert machine.clock() > 8 * REFERENCE_SECONDS
    assert drift(session.visits["r"]) == pytest.approx(0.2)
    steady = Machine()
    quiet = steady.session({**QUIET, "r": LONG}, reference="r", passes=6)
    quiet.run()
    assert drift(quiet.visits["r"]) == 0


# --- time -----------------------------------------------------------------------------------------

costs_of_networks = st.lists(
    st.integers(10**5, 10**9) | st.lists(st.integers(10**5, 10**9), min_size=1, max_size=13),
    min_size=1,
    max_size=6,
)


def timed_out(costs, seconds, reference=None):
    """(machine, whether every pass was made) of a session of so many seconds."""

    def of_visits(cost):
        return cost if isinstance(cost, int) else lambda visit, run: cost[visit % len(cost)]

    machine = Machine()
    named = {f"{i}": of_visits(cost) for i, cost in enumerate(costs)}
    session = machine.session(named, seconds=seconds, reference=reference)
    return machine, session.run()


@settings(max_examples=60)
@given(costs_of_networks, st.floats(0.001, 60))
@example([10**8], 5.0)
def test_no_visit_begins_when_time_is_up(costs, seconds):
    machine, complete = timed_out(costs, seconds)
    assert all(begun <= seconds for begun in machine.begun)
    counts = Counter(machine.opened)
    assert complete == (min(counts[f"{i}"] for i in range(len(costs))) >= PASSES)


@settings(max_examples=30)
@given(costs_of_networks, st.floats(0.001, 60))
@example([10**9, 10**9], 1.0)
def test_no_visit_begins_when_the_reference_took_the_last_of_the_time(costs, seconds):
    machine, _ = timed_out(costs, seconds, reference="0")
    assert all(begun <= seconds for begun in machine.begun)


def test_no_visit_begins_that_would_likely_end_too_late(machine):
    session = machine.session(QUIET, seconds=5.5 * VISIT_SECONDS)
    assert not session.run()
    assert len(machine.opened) == 5


def test_time_is_asked_for_by_what_a_network_took_before():
    """A quick one is visited again where there is no time for the slow one."""
    after = set()
    for seed in range(8):
        machine = Machine()
        costs = {"slow": 3 * LONG, "quick": LONG}
        assert not machine.session(costs, seed=seed, seconds=6.5 * VISIT_SECONDS).run()
        assert set(machine.opened[:2]) == {"slow", "quick"}
        after.add(tuple(machine.opened[2:]))
    assert after == {(), ("quick",)}


def test_reading_memory_does_not_count_as_the_time_of_a_visit(machine):
    def resident_bytes(name):
        machine.now += 10**9
        return 5

    seconds = 1 + (PASSES + 0.5) * VISIT_SECONDS
    session = machine.session({"a": LONG}, seconds=seconds, resident_bytes=resident_bytes)
    assert session.run()
    assert session.measurements()["a"].resident_bytes == 5


def test_memory_is_not_asked_for_when_time_is_up(machine):
    asked = []
    for visits, expected in ((1.5, []), (2.5, ["a"])):
        session = machine.session(
            {"a": LONG}, seconds=visits * VISIT_SECONDS, resident_bytes=asked.append
        )
        assert not session.run()
        assert asked == expected


def test_without_a_limit_every_pass_is_made_however_long_it_takes(machine):
    assert machine.session(dict.fromkeys(NAMES, 10**12)).run()
    assert set(Counter(machine.opened).values()) == {PASSES}


# --- going on -------------------------------------------------------------------------------------


def test_known_visits_count(machine):
    known = {"a": made(LONG / 1e6, LONG / 1e6), "b": made(*[LONG / 1e6] * 3), "gone": made(1.0)}
    session = machine.session(QUIET, known=known)
    assert session.run()
    assert Counter(machine.opened) == {**dict.fromkeys(NAMES[2:], PASSES), "a": 1}
    assert set(session.measurements()) == set(NAMES)
    assert all(one.visits == PASSES for one in session.measurements().values())
    assert len(known["a"]) == 2  # what was given is not changed


def test_known_visits_that_disagree_are_repeated(machine):
    known = dict.fromkeys(NAMES, made(*[LONG / 1e6] * 3)) | {"a": made(20.0, 30.0, 40.0)}
    assert machine.session(QUIET, known=known).run()
    assert Counter(machine.opened) == {"a": 2}  # both far below what was known


def test_a_session_begins_a_bounded_number_of_passes_whatever_is_known(machine):
    known = dict.fromkeys(NAMES, made(*[LONG / 1e6] * 3))
    known["a"] = made(*(2.0**-i for i in range(21)))  # no two agree, and none that is to come
    assert machine.session(QUIET, known=known, seconds=1e9).run()
    assert Counter(machine.opened) == {"a": MAX_PASSES - PASSES}


@pytest.mark.parametrize("visits_before", [0, 1, 7, 23, 35])
def test_an_interrupted_session_goes_on_where_it_was(machine, visits_before):
    log = []

    def interrupting(visit, run):
        if len(machine.opened) > visits_before and run == 5:
            raise KeyboardInterrupt
        return LONG

    costs = dict.fromkeys(NAMES, interrupting)
    session = machine.session(costs, record=lambda name, made: log.append((name, made)), seed=5)
    with pytest.raises(KeyboardInterrupt):
        session.run()
    assert [name for name, _ in log] == machine.opened[:visits_before]
    kept = {name: list(visits) for name, visits in session.visits.items()}
    assert sum(map(len, kept.values())) == visits_before
    again = Machine()
    assert again.session(QUIET, known=kept, seed=5).run()
    both = Counter(machine.opened[:visits_before]) + Counter(again.opened)
    assert both == dict.fromkeys(NAMES, PASSES)


def test_every_visit_is_recorded_at_once(machine):
    recorded = []
    session = machine.session(
        {**QUIET, "doubtful": never_agreeing},
        reference="b",
        record=lambda name, visit: recorded.append((name, visit, len(machine.opened))),
    )
    session.run()
    assert [name for name, _, _ in recorded] == machine.opened
    assert [count for _, _, count in recorded] == list(range(1, len(machine.opened) + 1))
    assert all(isinstance(visit, Visit) for _, visit, _ in recorded)


# --- progress -------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [{}, {"a": made(1.0, 1.0), "c": made(1.0, 1.0, 1.0)}], ids=len)
@pytest.mark.parametrize("doubtful", [LONG, agreeing_after(6), never_agreeing])
def test_progress_counts_up_to_the_total(machine, known, doubtful):
    calls = []
    costs = {"a": LONG, "c": LONG, "doubtful": doubtful}
    machine.session(costs, known=known, progress=lambda *call: calls.append(call)).run()
    done = [call[0] for call in calls]
    assert done == list(range(1, len(machine.opened) + 1))
    assert all(call[0] <= call[1] for call in calls)
    assert calls[-1][0] == calls[-1][1]


def test_progress_does_not_count_visits_of_the_reference(machine):
    calls = []
    machine.session(QUIET, reference="a", progress=lambda *call: calls.append(call)).run()
    assert [call[0] for call in calls] == list(range(1, len(calls) + 1))
    assert len(calls) < len(machine.opened)
    assert all(total == PASSES * len(NAMES) for _, total in calls)
