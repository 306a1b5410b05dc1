"""Searches for known devices: elsewhere, here, of a part, of other settings, within memory."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import nas
from hardware_profiles.profile import Profile
from hardware_profiles.profile_device import Measurement, Visit
from nas.artifacts import load_supernet, subnet_evaluator, supernet_hash
from nas.device import run_device
from nas.exporting.manifest import Manifest
from nas.results import SearchResult
from nas.run_directory import open_run
from nas.searching.choose import Chooser
from nas.searching.evaluations import Evaluations
from nas.searching.search import search
from nas.searching.setting import search_setting
from predictors.linear_in_costs import fit_memory
from search_spaces import InfeasibleError, InputError, build_space
from tests.nas.known_profiles import ELSEWHERE, by_costs, keep, made_up, on, resident_bytes


@pytest.fixture(scope="module")
def devices(finished, tmp_path_factory) -> Path:
    """Known profiles of the run's space."""
    folder = tmp_path_factory.mktemp("devices")
    space = finished.open().space
    own = Profile.load(finished.path / "profile.json")
    keep(folder, "elsewhere", own, target=ELSEWHERE.model_dump())
    keep(folder, "memory", made_up(space, memory=True))
    keep(folder, "part", made_up(space, options={"resolution": (8,), "width": (0.5,)}))
    hundred = build_space("mobilenet-digits", num_classes=100)
    keep(folder, "hundred", made_up(hundred, max_specs=60))
    keep(folder, "partial", made_up(space, held_out=0), missing={"layer": 3, "held_out": 8})
    keep(folder, "other-space", made_up(space), space="mobilenet-cifar@1")
    keep(folder, "damaged", made_up(space), layers="none")
    version = on(own.target, runtime_version="0.0.1").model_dump()
    keep(folder, "older-runtime", own, target=version)
    return folder


@pytest.fixture
def known_devices(devices, monkeypatch) -> Path:
    monkeypatch.setenv("NAS_PROFILES", str(devices))
    return devices


@pytest.fixture
def logged(copied):
    """What the log of measurements holds, called now."""
    return lambda: (copied / "search" / "evaluations.jsonl").read_bytes()


def members(result: SearchResult, space) -> np.ndarray:
    """The front of a result, n x d."""
    return space.encode_all(space.architecture(member.values) for member in result.front)


# --- elsewhere ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found_elsewhere(finished, devices, nas_command, tmp_path_factory):
    """A search for a device that is not here: (run, answer)."""
    path = shutil.copytree(finished.path, tmp_path_factory.mktemp("elsewhere") / "run")
    before = (path / "search" / "evaluations.jsonl").read_bytes()
    search = ("search", path, "--latency-ms", "50%", "--device", "elsewhere", "--json")
    answer = nas_command(*search, profiles=devices)
    assert (path / "search" / "evaluations.jsonl").read_bytes() == before, "nothing was measured"
    return path, answer


def test_a_device_elsewhere_gives_a_candidate_and_no_winner(found_elsewhere):
    path, answer = found_elsewhere
    assert answer.code == 0, answer.stderr
    data = answer.json
    assert data["winner"] is None
    assert data["closest_miss"] is None
    assert data["target"]["device"] == ELSEWHERE.device
    candidate = data["candidate"]
    assert "measured_latency_ms" not in candidate
    assert candidate["predicted_latency_ms"] <= candidate["predicted_upper_ms"]
    assert candidate["predicted_upper_ms"] <= data["budget_ms"]
    assert 0 <= candidate["test_accuracy"] <= 1
    model = Path(candidate["model_path"])
    assert model == path / "subnets" / candidate["architecture_id"] / "model.onnx"
    assert model.is_file()
    manifest = Manifest.load(model.parent / "manifest.json")
    assert manifest.validation_accuracy == candidate["validation_accuracy"]


def test_the_manifest_of_a_candidate_states_no_measurement(found_elsewhere):
    _, answer = found_elsewhere
    candidate = answer.json["candidate"]
    manifest = Manifest.load(Path(candidate["model_path"]).parent / "manifest.json")
    assert manifest.predicted_latency_ms == candidate["predicted_latency_ms"]
    assert manifest.measured == ()
    assert manifest.budget_ms is None


def test_verifying_a_candidate_says_that_it_was_not_measured(found_elsewhere, nas_command):
    _, answer = found_elsewhere
    folder = Path(answer.json["candidate"]["model_path"]).parent
    verified = nas_command("verify", folder)
    assert verified.code == 0, verified
    assert "ok      parity" in verified.stdout
    assert "not measured" in verified.stdout


def test_people_are_told_that_nothing_was_measured(found_elsewhere, devices, nas_command):
    """The same search again, which is read from its file."""
    path, answer = found_elsewhere
    search = ("search", path, "--latency-ms", "50%", "--device", "elsewhere")
    told = nas_command(*search, profiles=devices)
    assert told.code == 0, told.stderr
    assert "has this search already" in told.stderr
    assert "not measured" in told.stdout
    assert ELSEWHERE.device in told.stdout
    assert answer.json["candidate"]["architecture_id"] in told.stdout
    assert "chosen subnet" not in told.stdout
    assert "measured latency     0" not in told.stdout


def test_another_device_is_another_search(found_elsewhere, devices, monkeypatch):
    monkeypatch.setenv("NAS_PROFILES", str(devices))
    path, answer = found_elsewhere
    before = {file.name for file in (path / "search" / "budgets").iterdir()}
    budget = answer.json["budget_ms"]
    assert nas.search(path, budget, device="elsewhere").target.device == ELSEWHERE.device
    assert {file.name for file in (path / "search" / "budgets").iterdir()} == before


def test_the_report_shows_a_search_for_a_device_elsewhere(found_elsewhere):
    path, answer = found_elsewhere
    text = nas.report(path).read_text(encoding="utf-8")
    assert answer.json["candidate"]["architecture_id"] in text
    assert "No measured subnet keeps the budget" not in text
    assert "earlier profile" not in text, "it was made from the device's profile, as it is now"


# --- here -----------------------------------------------------------------------------------------


def test_a_profile_of_an_older_runtime_warns_and_is_measured_on(
    copied, devices, nas_command, logged
):
    before = logged()
    search = ("search", copied, "--latency-ms", 1000, "--device", "older-runtime", "--json")
    answer = nas_command(*search, profiles=devices)
    assert answer.code == 0, answer.stderr
    assert "warning" in answer.stderr
    assert "0.0.1" in answer.stderr
    assert answer.json["candidate"] is None
    assert answer.json["winner"] is not None
    assert len(logged()) > len(before), "something was measured"
    assert answer.json["target"]["runtime_version"] != "0.0.1", "by what is here now"


# --- profiles that do not serve -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("other-space", ["mobilenet-cifar@1", "mobilenet-digits@1"]),
        ("elsewere", ["'elsewhere'"]),
        ("damaged", ["damaged.json", "layers"]),
        ("nowhere/at/all.json", ["unknown profile"]),
    ],
)
def test_bad_devices(finished, devices, nas_command, device, words):
    answer = nas_command("search", finished.path, "--device", device, profiles=devices)
    answer.assert_refused(*words)


# --- parts, other settings, partial profiles ------------------------------------------------------


def test_a_restricted_profile_keeps_the_search_inside(copied, known_devices):
    run = open_run(copied)
    result = nas.search(run, "100%", device="part")
    folder = Path(result.candidate.model_path).parent
    found = json.loads((folder / "architecture.json").read_text())["values"]
    for values in (found, *(member.values for member in result.front)):
        assert values["resolution"] == 8
        assert values["width"] == 0.5
    setting = search_setting(run, run.recipe.search.replaced({"device": "part"}))
    outcome = search(setting.problem(), setting.config, np.random.default_rng(0))
    proposed = [run.space.decode(genome).values for genome in outcome.population]
    assert len(proposed) > 20
    assert {(v["resolution"], v["width"]) for v in proposed} == {(8, 0.5)}
    greatest = by_costs(run.space, run.space.largest())[0]
    assert result.reachable_ms[1] < 0.6 * greatest, "of the part, not of the space"


def test_what_was_measured_outside_of_a_part_does_not_win_inside(copied, known):
    """A restricted profile of this very machine: the log knows subnets of the whole space."""
    own = Profile.load(copied / "profile.json")
    space = open_run(copied).space
    part = made_up(space, target=own.target, options={"resolution": (8,)}, latency=own_scale(own))
    keep(known, "part-here", part)
    lines = (copied / "search" / "evaluations.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    outside = space.architecture({**record["values"], "resolution": 16})
    record |= {"architecture_id": outside.id, "values": dict(outside.values)}
    record |= {"latency_ms": 1e-6, "noise": 0.0, "validation_accuracy": 1.0}
    with (copied / "search" / "evaluations.jsonl").open("a") as log:
        log.write(json.dumps(record) + "\n")
    result = nas.search(copied, 1000.0, device="part-here")
    assert result.winner is not None
    assert result.winner.architecture_id != outside.id
    found = Path(result.winner.model_path).parent / "architecture.json"
    assert json.loads(found.read_text())["values"]["resolution"] == 8


def own_scale(own: Profile):
    """A formula as fast as the profile's machine, so that nothing there looks impossible."""

    def latency(space, population):
        mean = float(np.mean([subnet.latency_ms for subnet in own.subnets]))
        middle = by_costs(space, space.sample(200, np.random.default_rng(0))).mean()
        return by_costs(space, population) * mean / middle

    return latency


def test_a_profile_of_other_classes_is_used_with_a_message(copied, known_devices, capsys):
    result = nas.search(copied, "80%", device="hundred")
    assert result.candidate is not None
    assert "num_classes 100" in capsys.readouterr().err


def test_a_partial_profile_is_used_and_says_what_is_missing(copied, known_devices, capsys):
    result = nas.search(copied, "80%", device="partial")
    assert result.candidate is not None
    told = capsys.readouterr().err
    assert "partial" in told
    assert "3 layer" in told
    assert "8 held out" in told


# --- resident memory ------------------------------------------------------------------------------


def test_resident_memory_is_kept_by_its_bound(copied, known_devices):
    run = open_run(copied)
    free = nas.search(run, "100%", device="memory")
    setting = search_setting(run, config_of(run))
    memory = fit_memory(run.space, setting.device.profile)

    def bound(population):
        return memory.predict(population).upper(setting.config.coverage)

    limit = float(np.quantile(bound(members(free, run.space)), 0.3))
    result = nas.search(run, "100%", device="memory", max_resident_bytes=limit)
    assert result.limits == {"resident_bytes": limit}
    found = members(result, run.space)
    assert len(found)
    assert (bound(found) <= limit).all()
    mean = memory.predict(found).mean
    assert (mean < bound(found)).all(), "the bound, not the guess, is limited"
    exact = np.array([resident_bytes(run.space, genome[None]) for genome in found])
    assert (exact <= 1.05 * limit).all()
    best = run.space.architecture(
        json.loads((Path(result.candidate.model_path).parent / "architecture.json").read_text())[
            "values"
        ]
    )
    assert bound(run.space.encode(best))[0] <= limit


def config_of(run):
    return run.recipe.search.replaced({"device": "memory", "budget": "100%"})


def test_an_impossible_memory_limit_names_the_least(copied, devices, known_devices, nas_command):
    run = open_run(copied)
    setting = search_setting(run, config_of(run))
    memory = fit_memory(run.space, setting.device.profile)
    least = memory.predict(run.space.smallest()).upper(setting.config.coverage)
    with pytest.raises(InfeasibleError, match="resident bytes") as error:
        nas.search(run, "100%", device="memory", max_resident_bytes=0.9 * float(least[0]))
    assert f"{float(least[0]):.4g}" in str(error.value)
    search = ("search", copied, "--device", "memory", "--max-resident-bytes", "1000")
    nas_command(*search, profiles=devices).assert_refused("no architecture", "resident bytes")


def test_a_profile_without_memory_cannot_limit_it(copied, known_devices):
    with pytest.raises(InputError, match="holds no resident memory") as error:
        nas.search(copied, "100%", device="part", max_resident_bytes=1e9)
    assert "--max-activation-bytes" in str(error.value)


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf"])
def test_memory_limits_that_are_none_are_refused(finished, nas_command, value):
    answer = nas_command("search", finished.path, f"--max-resident-bytes={value}")
    answer.assert_refused("max_resident_bytes")


def test_memory_that_turns_out_larger_than_predicted_is_a_miss(copied):
    """The profile told less than what the finalists then take: no winner, and no crash."""
    run = open_run(copied)
    (copied / "search" / "evaluations.jsonl").unlink()
    device = run_device(run)
    changes = {"budget": 1000.0, "max_resident_bytes": 1e12}
    setting = search_setting(run, run.recipe.search.replaced(changes))
    supernet = load_supernet(run)
    evaluations = Evaluations(
        run.evaluations, run.space, supernet_hash(run), device.profile.target.id
    )
    measured = Measurement([Visit([1.0], [1.0], 2 * 10**12)])
    chooser = Chooser(
        run.space,
        subnet_evaluator(run, supernet),
        evaluations,
        setting.config,
        lambda exported: [measured for _ in exported],
        setting.problem,
        search,
        lambda line: None,
    )
    choice = chooser.choose(1000.0, 0)
    assert choice.winner is None
    assert evaluations.all()
