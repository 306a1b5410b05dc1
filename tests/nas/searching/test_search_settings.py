"""Searches with more objectives, more devices, own functions, and measured quality."""

import json

import numpy as np
import pytest

import nas
from nas.results import SearchResult
from nas.run_directory import open_run
from search_spaces import InputError
from tests.nas.known_profiles import by_costs, keep, made_up


def members(result: SearchResult, space) -> np.ndarray:
    """The front of a result, n x d."""
    return space.encode_all(space.architecture(member.values) for member in result.front)


@pytest.fixture
def other_device(slow_here, known):
    """A run, and a known device whose latencies follow the parameters, not the MACs."""
    space = open_run(slow_here).space

    def latency(space, population):
        return space.layers.costs(population).num_params / 1e4

    keep(known, "other", made_up(space, latency=latency))
    return slow_here


# --- several devices ------------------------------------------------------------------------------


def test_every_device_is_an_objective_and_a_limit(other_device):
    result = nas.search(other_device, "90%", also={"other": "40%"})
    assert result.objectives == (result.predicted_quantity, "latency_ms", "latency_ms@other")
    assert len(result.hypervolume_reference) == 3
    other = result.also["other"]
    assert other.reachable_ms[0] < other.budget_ms < other.reachable_ms[1]
    for member in result.front:
        assert member.predicted["latency_upper_ms"] <= result.budget_ms
        assert member.predicted["latency_upper_ms@other"] <= other.budget_ms
        assert member.predicted["latency_ms@other"] < member.predicted["latency_upper_ms@other"]
    assert result.winner is not None
    space = open_run(other_device).space
    values = json.loads(
        (other_device / "subnets" / result.winner.architecture_id / "architecture.json").read_text()
    )["values"]
    genome = space.encode(space.architecture(values))
    assert space.layers.costs(genome).num_params[0] / 1e4 <= other.budget_ms * 1.001


def test_the_worst_case_of_all_devices_is_one_objective(other_device):
    result = nas.search(other_device, "90%", also={"other": "40%"}, worst_case=True)
    assert result.objectives == (result.predicted_quantity, "worst_share")
    assert result.hypervolume_reference[1] == 1.0
    shares = [member.predicted["worst_share"] for member in result.front]
    for member, share in zip(result.front, shares, strict=True):
        expected = max(
            member.predicted["latency_ms"] / result.budget_ms,
            member.predicted["latency_ms@other"] / result.also["other"].budget_ms,
        )
        assert share == pytest.approx(expected)
    assert max(shares) <= 1


def test_another_device_from_the_command_line(other_device, nas_command):
    answer = nas_command(
        *("search", other_device, "--latency-ms", "90%", "--also", "other=40%", "--json"),
        profiles=other_device.parent / "known",
    )
    assert answer.code == 0, answer.stderr
    assert answer.json["also"]["other"]["budget_ms"] > 0
    nas_command("search", other_device, "--also", "other").assert_refused("DEVICE=BUDGET")
    nas_command("search", other_device, "--also", "other=fast").assert_refused("latency budget")


# --- objectives and limits ------------------------------------------------------------------------


def test_a_function_of_the_users_as_objective_and_limit(slow_here, tmp_path, monkeypatch):
    (tmp_path / "my_budget.py").write_text(
        "def kilobytes(space, population):\n"
        "    return space.layers.costs(population).num_params * 4 / 1e3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    name, space = "python:my_budget:kilobytes", open_run(slow_here).space
    free = nas.search(slow_here, "90%", objectives=["latency_ms", name])
    assert free.objectives == (free.predicted_quantity, "latency_ms", name)
    for member in free.front:
        assert member.predicted[name] == pytest.approx(member.costs["num_params"] * 4 / 1e3)
    most = float(np.median([member.predicted[name] for member in free.front]))
    held = nas.search(slow_here, "90%", limits={name: most})
    assert held.limits == {name: most}
    assert (space.layers.costs(members(held, space)).num_params * 4 / 1e3 <= most).all()
    (tmp_path / "my_budget.py").write_text("def kilobytes(space, population):\n    return [1]\n")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objectives": ["latency"]}, "did you mean 'latency_ms'"),
        ({"objectives": []}, "expected an objective"),
        ({"objectives": ["energy_mj"]}, "holds no energy"),
        ({"objectives": ["python:nowhere:at_all"]}, "can be imported"),
        ({"limits": {"macs": 5.0}}, "unknown limit 'macs'"),
        ({"limits": {"python:a:b": -1.0}}, "limits"),
        ({"also": {"nobody": "50%"}}, "nobody"),
        ({"also": {"nobody": 0}}, "above 0"),
        ({"wokers": 2}, "wokers"),
        ({"objectives": ["macs", "macs"]}, "each objectives once"),
        ({"objectives": ["macs"], "worst_case": True}, "among the objectives"),
        ({"measured_evaluations": -1}, "measured_evaluations"),
    ],
)
def test_settings_that_say_nothing_are_refused(finished, settings, words):
    with pytest.raises(InputError, match=words):
        nas.search(finished.path, "90%", **settings)


def test_limits_from_the_command_line(finished, nas_command):
    nas_command("search", finished.path, "--limit", "python:a:b").assert_refused("NUMBER")
    nas_command("search", finished.path, "--limit", "macs=5").assert_refused("unknown limit")
    nas_command("search", finished.path, "--set", "wokers=2").assert_refused("'workers'")
    nas_command("search", finished.path, "--set", "searcher=nobody").assert_refused("nobody")


def test_solutions_of_an_additive_model_come_first(slow_here):
    """They keep the limits, and a search of little more than them is better than one without."""
    by_formula(slow_here)
    few = {"population": 12, "generations": 1, "searcher": "random"}
    gained = []
    for budget in ("60%", "80%"):
        without = nas.search(slow_here, budget, **few)
        begun = nas.search(slow_here, budget, exact_start=10, **few)
        assert begun.evaluations == without.evaluations == 12
        gained.append(begun.hypervolume / without.hypervolume)
    assert min(gained) > 1


def by_formula(path) -> None:
    """Let the sampled qualities of a run follow from its architectures, not from its weights."""
    run = open_run(path)
    records = run.accuracy_samples.read()
    genomes = run.space.encode_all(run.space.architecture(one["values"]) for one in records)
    params = run.space.layers.costs(genomes).num_params
    losses = 3 - params / params.max() - np.sqrt(by_costs(run.space, genomes))
    run.accuracy_samples.path.unlink()
    for record, loss in zip(records, losses.tolist(), strict=True):
        figures = {"loss": loss, "accuracy": 1 - loss / 3}
        halves = {f"{name}_halves": [one, one] for name, one in figures.items()}
        run.accuracy_samples.append({**record, **figures, **halves})


# --- measured quality -----------------------------------------------------------------------------


def test_measured_quality_is_logged_and_used_again(slow_here):
    settings = {"measured_evaluations": 8, "searcher": "random"}
    seen = []

    def remember(progress):
        seen.append(progress.evaluations)

    first = nas.search(slow_here, "90%", callbacks=[remember], **settings)
    assert seen[-1] == 8
    assert first.measured_objectives == (first.predicted_quantity,)
    assert first.evaluations == 8
    log = slow_here / "search" / "validations.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert 0 < len(lines) <= 8
    known = {line["architecture_id"]: line["measured"] for line in lines}
    quantity = first.predicted_quantity
    for line in map(json.loads, (slow_here / "accuracy_samples.jsonl").read_text().splitlines()):
        sampled = {"loss": line["loss"], "error": 1 - line["accuracy"]}
        known.setdefault(line["architecture_id"], sampled)
    for member in first.front:
        measured = member.measured[quantity]
        assert measured == pytest.approx(known[member.architecture_id][quantity])
        assert quantity in member.predicted, "both are told, each as what it is"
    second = nas.search(slow_here, "85%", **settings)
    assert second.evaluations == 8
    ids = [json.loads(line)["architecture_id"] for line in log.read_text().splitlines()]
    assert len(ids) == len(set(ids)), "nothing is validated twice"
    kept = [
        member.measured[quantity]
        for member in first.front
        if member.predicted["latency_upper_ms"] <= second.budget_ms
    ]
    best = min(member.measured[quantity] for member in second.front)
    assert kept
    assert best <= min(kept), "what was validated for one budget counts for the other"


def test_validating_in_several_processes_gives_the_same(slow_here):
    settings = {"measured_evaluations": 6, "searcher": "random"}
    here = nas.search(slow_here, "90%", **settings)
    (slow_here / "search" / "validations.jsonl").unlink()
    side_by_side = nas.search(slow_here, "89%", workers=2, **settings)
    quality = [
        {member.architecture_id: member.measured[here.predicted_quantity] for member in front}
        for front in (here.front, side_by_side.front)
    ]
    both = quality[0].keys() & quality[1].keys()
    assert both
    assert all(quality[0][id_] == pytest.approx(quality[1][id_], rel=1e-5) for id_ in both)


def test_what_was_validated_outside_of_a_part_is_left_out(copied, known):
    space = open_run(copied).space
    keep(known, "part", made_up(space, options={"resolution": (8,)}))
    settings = {"device": "part", "measured_evaluations": 4, "searcher": "random"}
    result = nas.search(copied, 1000.0, **settings)  # which those outside keep too
    assert result.evaluations == 4
    assert {member.values["resolution"] for member in result.front} == {8}
