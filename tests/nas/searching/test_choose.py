"""The search stage on a real run: budgets, what is measured, who wins."""

import csv
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import pytest

import nas
from hardware_profiles.profile_device import Measurement, Visit
from nas.artifacts import fitted_accuracy, supernet_hash
from nas.device import run_device
from nas.exporting.manifest import Manifest
from nas.results import Front, SearchResult
from nas.searching import budget_search
from nas.searching.setting import resolve_budget
from search_spaces import InfeasibleError, InputError
from tests.nas.known_profiles import know_this_machine_by


def log_lines(path: Path) -> list[dict]:
    return [
        json.loads(line) for line in (path / "search/evaluations.jsonl").read_text().splitlines()
    ]


def slowest(lines: list[dict]) -> dict[str, dict]:
    """By architecture the record that counts: of the last two that of the slower typical pass."""
    known: dict[str, list[dict]] = {}
    for line in lines:
        known.setdefault(line["architecture_id"], []).append(line)
    return {id_: max(records[-2:], key=typical_ms) for id_, records in known.items()}


def typical_ms(record: dict) -> float:
    return record["latency_ms"] * (1 + record["noise"])


def keeps(record: dict, budget_ms: float) -> bool:
    return typical_ms(record) <= budget_ms


def assert_consistent(lines: list[dict], result: SearchResult) -> None:
    """The winner is the most accurate measured subnet within the budget; or there is none.

    `lines` are those of the log when the search ended.
    """
    known = slowest(lines)
    within = {id_: record for id_, record in known.items() if keeps(record, result.budget_ms)}
    if result.winner is None:
        miss = result.closest_miss
        assert miss is not None
        assert not within
        assert typical_ms(known[miss.architecture_id]) == min(map(typical_ms, known.values()))
        assert miss.measured_latency_ms == known[miss.architecture_id]["latency_ms"]
        assert miss.measured_latency_ms * (1 + miss.noise) > result.budget_ms
        return
    winner = result.winner
    assert result.closest_miss is None
    assert winner.kept is True
    assert winner.architecture_id in within
    best = max(record["validation_accuracy"] for record in within.values())
    assert within[winner.architecture_id]["validation_accuracy"] == best
    assert winner.validation_accuracy == pytest.approx(best)
    assert winner.measured_latency_ms == within[winner.architecture_id]["latency_ms"]
    assert winner.measured_latency_ms * (1 + winner.noise) <= result.budget_ms
    times = sum(line["architecture_id"] == winner.architecture_id for line in lines)
    assert times >= 2, "measured once among the finalists and once to confirm"


# --- the first search -----------------------------------------------------------------------------


@pytest.fixture
def first(finished) -> SearchResult:
    """The search that `nas.run` made."""
    (path,) = (finished.path / "search" / "budgets").iterdir()
    return SearchResult.load(path)


def test_the_run_names_the_winner_of_its_search(finished, first):
    assert first.winner.model_path == f"subnets/{first.winner.architecture_id}/model.onnx"
    here = str(finished.path / first.winner.model_path)
    assert finished.result.winner == first.winner.model_copy(update={"model_path": here})
    assert finished.result.budget_ms == first.budget_ms
    assert first.winner is not None, "any machine keeps its budget"
    assert_consistent(log_lines(finished.path), first)


def test_the_manifest_states_what_the_search_measured(finished, first):
    manifest = Manifest.load(finished.folder / "manifest.json")
    assert manifest.architecture_id == first.winner.architecture_id
    assert manifest.budget_ms == first.budget_ms
    (measured,) = manifest.measured
    assert measured.latency_ms == first.winner.measured_latency_ms
    assert measured.noise == first.winner.noise
    assert manifest.predicted_latency_ms == first.winner.predicted_latency_ms
    assert manifest.test_accuracy == first.winner.test_accuracy


def test_milliseconds_are_taken_as_they_are(first):
    least, greatest = first.reachable_ms
    assert 0 < least < greatest
    assert first.budget_ms == 1000


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(0.3, 0.3), ("50%", 3.0), ("100%", 5.0), ("1%", 1.04), ("0.3", 0.3)],
)
def test_budgets_are_resolved_to_milliseconds(budget, expected):
    assert resolve_budget(budget, (1.0, 5.0)) == pytest.approx(expected)


def test_a_resolved_share_is_never_below_the_least():
    least = 0.0199999
    assert least <= resolve_budget("0.001%", (least, 0.08)) < 0.0201


def test_no_more_is_measured_than_the_finalists_of_every_round(finished, first):
    config = finished.open().recipe.search
    lines = log_lines(finished.path)
    assert first.measurements == len(slowest(lines)) <= config.finalists * first.rounds
    assert 1 <= first.rounds <= config.rounds
    assert first.evaluations <= config.generations * config.population


def test_log_lines_belong_to_this_supernet_and_target(finished):
    run = finished.open()
    profile = run_device(run).profile
    for line in log_lines(finished.path):
        assert line["target_id"] == profile.target.id
        assert line["supernet_sha256"] == supernet_hash(run)
        assert run.space.architecture(line["values"]).id == line["architecture_id"]


def test_front_members_keep_measured_and_predicted_apart(finished, first):
    run, quantity = finished.open(), fitted_accuracy(finished.open()).quantity
    known = slowest(log_lines(finished.path))
    assert first.front
    latencies = []
    for member in first.front:
        architecture = run.space.architecture(member.values)
        assert architecture.id == member.architecture_id
        assert set(member.predicted) == {quantity, "latency_ms", "latency_upper_ms"}
        assert member.predicted["latency_upper_ms"] <= first.budget_ms
        assert dict(member.costs) == run.space.layers.costs(run.space.encode(architecture)).row(0)
        latencies.append(member.predicted["latency_ms"])
        if member.architecture_id in known:
            record = known[member.architecture_id]
            assert member.measured == {
                name: record[name] for name in ("validation_accuracy", "loss", "latency_ms")
            }
        else:
            assert member.measured == {}
    assert latencies == sorted(latencies)
    assert any(member.measured for member in first.front)


def test_front_files_say_the_same(finished, first):
    front = Front.load(finished.path / "search" / "front.json")
    assert front.budget_ms == first.budget_ms
    assert front.members == first.front
    ids = [member.architecture_id for member in first.front]
    with (finished.path / "search" / "front.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["architecture_id"] for row in rows] == ids
    for row, member in zip(rows, first.front, strict=True):
        for group in ("costs", "predicted", "measured"):
            for key, value in getattr(member, group).items():
                assert float(row[f"{group}.{key}"]) == pytest.approx(value)
        if not member.measured:
            assert row["measured.latency_ms"] == ""


# --- further searches -----------------------------------------------------------------------------


SHARES = ("5%", "30%", "55%", "80%", "100%")


def by_weights(space, population):
    return 0.01 + 4e-6 * space.layers.costs(population).num_params


def timed_by_size(runtime, workloads):
    """Measure by the size of the files: slower than the profile tells, and some less steady."""
    found = []
    for one in workloads:
        size = len(one.onnx())
        least = 1.4 * (0.01 + 1e-6 * size)
        slower = least * (1.02 if size % 2 else 1.2)
        found.append(Measurement([Visit([ms], [ms]) for ms in (least, slower, slower)]))
    return found


@pytest.fixture(scope="module")
def spread(finished, tmp_path_factory):
    """Five budgets over the reachable range, one after the other: (run, results, log lengths).

    Latencies are made up: what is kept and what is missed must not be this machine's matter.
    """
    path = shutil.copytree(finished.path, tmp_path_factory.mktemp("spread") / "run")
    know_this_machine_by(
        path, latency=by_weights, layer=lambda macs, num_params: 0.002 + 4e-6 * num_params
    )
    results, lengths = [], [0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget_search, "measure_workloads", timed_by_size)
        for share in SHARES:
            results.append(nas.search(path, share))
            lengths.append(len(log_lines(path)))
    return path, results, lengths


def test_shares_are_taken_of_the_reachable_range(spread):
    for share, result in zip(SHARES, spread[1], strict=True):
        least, greatest = result.reachable_ms
        assert 0 < least < greatest
        exact = least + float(share[:-1]) / 100 * (greatest - least)
        assert result.budget_ms == pytest.approx(exact, rel=1e-3)


def test_the_least_budget_is_kept_by_nothing_and_the_greatest_by_all(spread):
    """Or the tests below would say little of winners, or of misses."""
    results = spread[1]
    assert results[0].winner is None
    assert results[-1].winner is not None


def test_every_budget_gives_a_winner_that_keeps_it_or_the_closest_miss(spread):
    path, results, lengths = spread
    lines = log_lines(path)
    for result, length in zip(results, lengths[1:], strict=True):
        assert_consistent(lines[:length], result)


def test_known_subnets_are_not_measured_again_but_to_confirm_a_winner(spread):
    path, results, lengths = spread
    lines = log_lines(path)
    for i, result in enumerate(results):
        before, new = lines[: lengths[i]], lines[lengths[i] : lengths[i + 1]]
        known = slowest(before)
        times = Counter(line["architecture_id"] for line in new)
        for id_, count in times.items():
            # a new one: once as a finalist; then, or a known one: once a round to confirm it
            most = result.rounds + (id_ not in known)
            assert count <= most
            if id_ in known:
                won = result.winner is not None and result.winner.architecture_id == id_
                missed = any(
                    line["architecture_id"] == id_ and not keeps(line, result.budget_ms)
                    for line in new
                )
                assert won or missed


def test_one_file_per_budget_and_all_of_them_readable(spread):
    path, results, _ = spread
    files = sorted((path / "search" / "budgets").iterdir())
    found = {SearchResult.load(file).budget_ms for file in files}
    assert {result.budget_ms for result in results} <= found
    assert len(files) == len(found)


def test_larger_budgets_find_no_less_accurate_winners(spread):
    """What was measured before stays a candidate."""
    accuracies = [r.winner.validation_accuracy for r in spread[1] if r.winner is not None]
    assert len(accuracies) >= 3
    assert accuracies == sorted(accuracies)


def test_the_same_search_again_is_read_from_its_file(spread):
    path, results, _ = spread
    before = (path / "search" / "evaluations.jsonl").read_bytes()
    # the last one: of an earlier one a later search may have measured a better subnet since
    share, done = [pair for pair in zip(SHARES, results, strict=True) if pair[1].winner][-1]
    assert nas.search(path, share) == done
    assert (path / "search" / "evaluations.jsonl").read_bytes() == before


def test_the_front_files_are_those_of_the_last_search_even_if_it_was_known(slow_here):
    budgets, before = ("40%", "90%"), None
    for _ in range(6):  # until neither finds a better one that the other has measured since
        found = [nas.search(slow_here, budget) for budget in budgets]
        if found == before:
            break
        before = found
    again = nas.search(slow_here, budgets[0])
    assert again == found[0]
    assert Front.load(slow_here / "search" / "front.json").budget_ms == again.budget_ms


def test_a_copied_run_answers_with_its_own_files(copied):
    result = nas.search(copied)
    assert result.winner is not None
    assert Path(result.winner.model_path).resolve().is_relative_to(copied.resolve())


def test_limits_are_kept_by_winner_and_front(slow_here, finished):
    run = finished.open()
    cost = run.space.layers.costs
    members = nas.search(slow_here).front
    middle = sorted(members, key=lambda member: member.costs["macs"])[len(members) // 2]
    limits = {
        "max_macs": middle.costs["macs"],
        "max_params": middle.costs["num_params"],
        "max_activation_bytes": middle.costs["activation_bytes"],
    }
    result = nas.search(slow_here, "100%", **limits)
    assert result.limits == {
        "macs": limits["max_macs"],
        "params": limits["max_params"],
        "activation_bytes": limits["max_activation_bytes"],
    }
    for member in result.front:
        assert member.costs["macs"] <= limits["max_macs"]
        assert member.costs["num_params"] <= limits["max_params"]
        assert member.costs["activation_bytes"] <= limits["max_activation_bytes"]
    assert result.winner is not None
    values = {r["architecture_id"]: r["values"] for r in log_lines(slow_here)}
    architecture = run.space.architecture(values[result.winner.architecture_id])
    winner = cost(run.space.encode(architecture)).row(0)
    assert winner["macs"] <= limits["max_macs"]
    assert winner["num_params"] <= limits["max_params"]
    assert winner["activation_bytes"] <= limits["max_activation_bytes"]
    unlimited = nas.search(slow_here, "100%")
    assert unlimited.limits == {}, "a file of its own"


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0, -1.0, math.nan, "0%", "120%", "abc"])
def test_impossible_budgets_are_refused(finished, budget):
    with pytest.raises(InputError, match="budget"):
        nas.search(finished.path, budget)


def test_a_budget_below_the_least_names_it_and_measures_nothing(copied, first):
    before = (copied / "search" / "evaluations.jsonl").read_bytes()
    with pytest.raises(InfeasibleError) as error:
        nas.search(copied, first.reachable_ms[0] * 0.5)
    assert f"{first.reachable_ms[0]:.4g}" in str(error.value)
    assert (copied / "search" / "evaluations.jsonl").read_bytes() == before
    assert len(list((copied / "search" / "budgets").iterdir())) == 1


def test_unreachable_limits_name_the_least(copied, space):
    with pytest.raises(InfeasibleError, match="MACs"):
        nas.search(copied, max_macs=1)
    with pytest.raises(InputError, match="max_params"):
        nas.search(copied, max_params=-1)
    with pytest.raises(InputError, match="'nsga2'"):
        nas.search(copied, "77%", searcher="nsga3")
