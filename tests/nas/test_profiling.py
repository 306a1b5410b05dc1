"""`nas profile measure`, `kit` and `import`: real measurements of a few small networks."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from hardware_profiles import measure_plan
from hardware_profiles.artifact import content_hash
from hardware_profiles.kit import kit_hash
from hardware_profiles.profile import Profile
from hardware_profiles.profile_device import Session, checksum
from hardware_profiles.store import default_name
from nas.config import profile_config
from nas.profiling import make_kit, measure_known_profile, profile_plan
from search_spaces import Dimension, InputError, SearchSpace, build_space
from tests.nas.known_profiles import by_costs, keep, made_up, on

SMALL = ("--subnets", 5, "--held-out", 2, "--max-specs", 3)
MEASURE = ("profile", "measure", "mobilenet-digits", *SMALL, "--passes", 2, "--accept-noise")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where the known profiles of a test are kept."""
    return tmp_path / "known"


def windows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- measure --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory, nas_command):
    """A small profile of a space, made without a run: (folder, answer)."""
    folder = tmp_path_factory.mktemp("measured") / "known"
    answer = nas_command(*MEASURE, "--json", profiles=folder)
    assert answer.code == 0, answer.stderr
    return folder, answer


def test_a_measured_space_is_known_by_device_and_space(measured):
    folder, answer = measured
    path = Path(answer.json["path"])
    profile = Profile.load(path)
    assert path.parent == folder
    assert path.stem == default_name(profile.target, profile.space)
    assert answer.json["target"] == profile.target.model_dump(mode="json")
    assert profile.space == "mobilenet-digits@1"
    assert len(profile.layers) == 3
    assert [s.role for s in profile.subnets].count("calibration") == 5
    assert [s.role for s in profile.subnets].count("held_out") == 2
    assert profile.missing == {}
    assert all(layer.visits >= 2 for layer in (*profile.layers, *profile.subnets))


def test_raw_windows_lie_beside_it(measured):
    path = Path(measured[1].json["path"])
    head, *visits = windows(path.with_suffix(".windows.jsonl"))
    assert head["kind"] == "windows"
    assert len(visits) >= 2 * 10
    least = min(min(v["own_ms"]) for v in visits if v["item"].startswith("subnet"))
    assert least == min(s.latency_ms for s in Profile.load(path).subnets)
    assert {file.name for file in path.parent.iterdir()} == {
        path.name,
        path.with_suffix(".windows.jsonl").name,
    }


def test_a_known_profile_is_listed_and_serves_a_search(measured, copied, nas_command):
    folder, answer = measured
    name = Path(answer.json["path"]).stem
    rows = nas_command("devices", name, "--json", profiles=folder).json
    assert rows[0]["predictor_error"]["n"] == 2
    search = ("search", copied, "--latency-ms", 1000, "--device", name, "--json")
    found = nas_command(*search, profiles=folder)
    assert found.code == 0, found.stderr
    assert found.json["candidate"] is None, "it was measured, the device is here"


def test_measuring_again_starts_anew(measured, nas_command):
    folder, answer = measured
    path = Path(answer.json["path"])
    before = windows(path.with_suffix(".windows.jsonl"))
    again = nas_command(*MEASURE, profiles=folder)
    assert again.code == 0, again.stderr
    assert "going on" not in again.stderr
    assert again.stdout.strip() == str(path)
    after = windows(path.with_suffix(".windows.jsonl"))
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_measurement_that_was_stopped_goes_on(folder, nas_command):
    path = folder / "mine.json"
    log = path.with_suffix(".windows.jsonl")
    stopped = nas_command(*MEASURE, "--name", "mine", profiles=folder, stop_at=(log, 4))
    assert stopped.code == 130, stopped
    assert stopped.stderr.strip().splitlines()[-1].startswith("nas: interrupted")
    assert "Traceback" not in stopped.stderr
    assert not path.exists()
    kept = windows(log)
    assert len(kept) >= 4
    answer = nas_command(*MEASURE, "--name", "mine", profiles=folder)
    assert answer.code == 0, answer.stderr
    assert f"going on with {log}" in answer.stderr
    lines = windows(log)
    assert lines[: len(kept)] == kept
    assert Profile.load(path).missing == {}
    counts = {v["item"]: 0 for v in lines[1:]}
    for visit in lines[1:]:
        counts[visit["item"]] += 1
    assert len(counts) == 10


def test_a_measurement_out_of_time_is_of_no_use_yet_and_goes_on(tmp_path, nas_command, monkeypatch):
    """At every look at the clock a second has passed, so that no machine gets far."""
    ticking = partial(Session, clock=map(float, count()).__next__)
    monkeypatch.setattr(measure_plan, "Session", ticking)
    out = tmp_path / "here" / "p.json"
    small = {"num_calibration": 5, "num_held_out": 2, "max_specs": 3, "passes": 2}
    with pytest.raises(InputError, match=r"too few.*--minutes: .*goes on"):
        measure_known_profile("mobilenet-digits", {**small, "minutes": 0.1}, (), out=out)
    assert not out.exists()
    kept = windows(out.with_suffix(".windows.jsonl"))
    assert kept
    second = nas_command(*MEASURE, "--out", out)
    assert second.code == 0, second.stderr
    assert Profile.load(out).missing == {}
    assert windows(out.with_suffix(".windows.jsonl"))[: len(kept)] == kept, "it goes on"


def test_a_measurement_without_time_leaves_no_empty_profile(folder, nas_command):
    answer = nas_command(*MEASURE, "--minutes", 1e-9, profiles=folder)
    answer.assert_refused("measured")
    assert not list(folder.glob("*digits.json"))


def test_whole_subnets_only_of_a_part(tmp_path, nas_command, known):
    out = tmp_path / "p.json"
    answer = nas_command(
        *("profile", "measure", "mobilenet-digits", "--max-specs", 0, "--subnets", 5),
        *("--held-out", 1, "--passes", 2, "--accept-noise", "--options", "resolution=8,12"),
        *("--options", "width=0.5", "--out", out),
        profiles=known,
    )
    assert answer.code == 0, answer.stderr
    assert answer.stdout.strip() == str(out)
    profile = Profile.load(out)
    assert profile.layers == ()
    assert len(profile.subnets) == 6
    assert {s.values["resolution"] for s in profile.subnets} <= {8, 12}
    assert {s.values["width"] for s in profile.subnets} == {0.5}
    assert profile.options == {"resolution": (8, 12), "width": (0.5,)}
    assert list(known.iterdir()) == [], "a file was asked for instead"


def test_subnets_that_tell_most_are_chosen_by_what_known_devices_say(space, known):
    config = profile_config({"max_specs": 0, "num_calibration": 8, "num_held_out": 3})
    alone = profile_plan(space, config)
    keep(known, "board", made_up(space))
    informed = profile_plan(space, config)
    ids = [{i.id for i in p.items if i.role == "calibration"} for p in (alone, informed)]
    assert len(ids[0]) == len(ids[1]) == 8
    assert ids[0] != ids[1]
    held_out = {i.id for i in informed.items if i.role == "held_out"}
    assert len(held_out) == 3
    assert not held_out & ids[1]
    genomes = space.encode_all(
        space.architecture(i.values) for i in informed.items if i.role == "calibration"
    )
    pool = by_costs(space, space.sample(500, np.random.default_rng(0)))
    assert by_costs(space, genomes).std() > pool.std(), "spread, not random"


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runtime", "onnxruntim"], ["'onnxruntime'"]),
        (["--options", "resolutoin=8"], ["'resolution'"]),
        (["--options", "resolution=9"], ["8, 12, 16", "9"]),
        (["--options", "resolution"], ["dimension=option"]),
        (["--options", "resolution="], ["none"]),
        (["--precision", "fp8"], ["precision", "fp8"]),
        (["--precision", "fp16"], ["onnxruntime", "fp16"]),
        (["--provider", "Imaginary"], ["Imaginary", "CPUExecutionProvider"]),
        (["--cores", "one"], ["cores"]),
        (["--cores", "-1"], ["cores"]),
        (["--cores", "4095"], ["4095"]),
        (["--minutes", "0"], ["minutes"]),
        (["--minutes", "nan"], ["minutes"]),
        (["--subnets", "2"], ["--subnets", "5"]),
        (["--name", "../../evil"], ["name", "evil"]),
    ],
    ids=" ".join,
)
def test_bad_settings(nas_command, folder, arguments, words):
    small = ("--max-specs", 1, "--held-out", 0)
    answer = nas_command(
        "profile", "measure", "mobilenet-digits", *small, *arguments, profiles=folder
    )
    answer.assert_refused(*words)
    assert list(folder.glob("*.json")) == []


@pytest.mark.parametrize("passes", [1, 0, -3])
def test_too_few_passes(nas_command, folder, passes):
    answer = nas_command(*MEASURE, f"--passes={passes}", profiles=folder)
    assert answer.code == 2
    assert "passes" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("space", "word"),
    [
        ("mobilenet-digit", "'mobilenet-digits'"),
        ("no/such/run", "no/such/run"),
    ],
)
def test_spaces_that_cannot_be_measured(nas_command, folder, space, word):
    for command in (["measure", space], ["kit", space, "--out", "kit.zip"]):
        nas_command("profile", *command, profiles=folder).assert_refused(word)
    assert not folder.exists()


def test_spaces_without_layers_cannot_be_measured():
    table = SearchSpace("table@1", [Dimension("operation", ("none", "conv"))])
    with pytest.raises(InputError, match="table@1 has no layers"):
        profile_plan(table, profile_config({}))


def test_a_runtime_that_is_not_installed_names_its_extra(nas_command, folder):
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    answer = nas_command(*MEASURE, "--runtime", "tensorrt", profiles=folder)
    answer.assert_refused("tensorrt", "pip install", code=3)
    assert not folder.exists()


def test_settings_of_a_measurement_are_no_settings_of_a_run(copied, nas_command):
    """A run is measured by its recipe; what is asked for besides must not be quietly dropped."""
    before = (copied / "profile.json").read_bytes()
    answer = nas_command("profile", "measure", copied, "--threads", 2, "--name", "mine")
    answer.assert_refused("recipe")
    assert (copied / "profile.json").read_bytes() == before


def test_a_name_that_is_taken_is_refused_before_anything_is_measured(folder, nas_command):
    path = keep(folder, "board", made_up(build_space("mobilenet-digits")))
    before = path.read_bytes()
    answer = nas_command(*MEASURE, "--name", "board", profiles=folder)
    answer.assert_refused("Pocket board", "--name")
    assert path.read_bytes() == before
    assert [file.name for file in folder.iterdir()] == ["board.json"]


def test_a_newer_runtime_replaces_its_older_profile(measured, folder, nas_command):
    """As the warning of an older version tells: measure anew, with the same command."""
    known = Profile.load(Path(measured[1].json["path"]))
    older = on(known.target, runtime_version="0.0.1")
    name = default_name(known.target, known.space)
    path = keep(folder, name, known.model_copy(update={"target": older}))
    answer = nas_command(*MEASURE, profiles=folder)
    assert answer.code == 0, answer.stderr
    assert Profile.load(path).target == known.target


# --- the kit --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kit(tmp_path_factory, nas_command) -> Path:
    """A small kit."""
    path = tmp_path_factory.mktemp("kit") / "new" / "kit.zip"
    answer = nas_command("profile", "kit", "mobilenet-digits", *SMALL, "--out", path)
    assert answer.code == 0, answer.stderr
    assert str(path) in answer.stdout
    assert "MB" in answer.stdout
    return path


@pytest.fixture(scope="module")
def result(kit) -> Path:
    """What a device (this one) made of the kit, by its own program alone."""
    with zipfile.ZipFile(kit) as archive:
        archive.extractall(kit.parent / "there")
    command = [sys.executable, "profile_device.py", "--minutes", "10"]
    done = subprocess.run(
        command, cwd=kit.parent / "there", capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr  # 1: noisy
    return kit.parent / "there" / "result.json"


@pytest.fixture
def changed(result, tmp_path):
    """Write the result with some of it changed, its checksum made right."""

    def write(**changes) -> Path:
        data = {**json.loads(result.read_text()), **changes}
        data["sha256"] = checksum(data)
        path = tmp_path / "result.json"
        path.write_text(json.dumps(data))
        return path

    return write


def test_the_same_settings_give_the_same_kit(kit, tmp_path):
    settings = {"max_specs": 3, "num_calibration": 5, "num_held_out": 2}
    make_kit("mobilenet-digits", settings, [], tmp_path / "kit.zip")
    assert (tmp_path / "kit.zip").read_bytes() == kit.read_bytes()
    make_kit("mobilenet-digits", settings, ["resolution=8"], tmp_path / "kit.zip")
    assert kit_hash(tmp_path / "kit.zip") != kit_hash(kit)


def test_a_result_becomes_a_known_profile(kit, result, folder, nas_command):
    imported = ("profile", "import", result, "--name", "pi-4", "--accept-noise", "--kit", kit)
    answer = nas_command(*imported, "--json", profiles=folder)
    assert answer.code == 0, answer.stderr
    data = answer.json
    assert data["name"] == "pi-4"
    assert data["path"] == str(folder / "pi-4.json")
    assert (data["layers"], data["subnets"], data["missing"]) == (3, 7, {})
    assert data["predictor_error"]["n"] == 2
    profile = Profile.load(folder / "pi-4.json")
    assert data["target"] == profile.target.model_dump(mode="json")
    items = {item["id"]: item for item in json.loads(result.read_text())["items"]}
    assert sorted(i["latency_ms"] for i in items.values()) == sorted(
        one.latency_ms for one in (*profile.layers, *profile.subnets)
    )
    told = nas_command(*imported, profiles=folder)
    assert told.code == 0, told.stderr
    for words in ("pi-4", "3 layers, 7 subnets", "missing              nothing", "MAPE"):
        assert words in told.stdout


def test_without_a_name_it_is_named_after_the_device(result, folder, nas_command):
    answer = nas_command("profile", "import", result, "--accept-noise", "--json", profiles=folder)
    assert answer.code == 0, answer.stderr
    target = Profile.load(Path(answer.json["path"])).target
    assert answer.json["name"] == default_name(target, "mobilenet-digits@1")


def test_a_result_of_another_device_does_not_take_a_name(changed, result, folder, nas_command):
    command = ("profile", "import", result, "--name", "pi", "--accept-noise")
    assert nas_command(*command, profiles=folder).code == 0
    target = {**json.loads(result.read_text())["target"], "device": "Another"}
    command = ("profile", "import", changed(target=target), "--name", "pi", "--accept-noise")
    nas_command(*command, profiles=folder).assert_refused("--name")


def test_a_device_that_died_half_way_says_what_is_missing(changed, result, folder, nas_command):
    items = json.loads(result.read_text())["items"]
    layers = [i for i in items if i["id"].startswith("layer")]
    subnets = [i for i in items if i["id"].startswith("subnet")]
    path = changed(items=layers[1:] + subnets[1:], complete=False)
    answer = nas_command(
        "profile", "import", path, "--name", "half", "--accept-noise", profiles=folder
    )
    assert answer.code == 0, answer.stderr
    line = next(line for line in answer.stdout.splitlines() if line.startswith("missing"))
    assert "1 layer" in line
    assert "1 held out" in line or "1 calibration" in line


def test_a_device_that_died_early_is_imported_too(changed, result, folder, nas_command):
    """Two subnets are too few to predict from, which is said; they are kept all the same."""
    items = json.loads(result.read_text())["items"]
    path = changed(items=items[:2], complete=False)
    answer = nas_command(
        "profile", "import", path, "--name", "early", "--accept-noise", profiles=folder
    )
    assert "Traceback" not in answer.stderr
    assert (folder / "early.json").exists()
    assert answer.code == 0, answer.stderr
    assert "missing" in answer.stdout


@pytest.mark.parametrize(
    "changes",
    [
        {"items": []},
        {"kit_sha256": "0" * 64},
        {"format": 9},
        {"target": {}},
        {"surprise": 1},
    ],
    ids=str,
)
def test_results_that_cannot_be_are_refused(changed, folder, nas_command, changes):
    answer = nas_command("profile", "import", changed(**changes), profiles=folder)
    answer.assert_refused("result.json")
    assert not list(folder.glob("*"))


def test_bad_files_are_refused(kit, result, tmp_path, folder, nas_command):
    truncated = tmp_path / "result.json"
    truncated.write_text(result.read_text()[:-100])
    for path, words in (
        (truncated, "result.json"),
        (tmp_path / "none.json", "none.json"),
        (kit, "kit.zip"),
        (tmp_path, str(tmp_path)),
    ):
        nas_command("profile", "import", path, profiles=folder).assert_refused(words)
    for path in (result, tmp_path / "none.zip"):
        command = ("profile", "import", result, "--kit", path)
        nas_command(*command, profiles=folder).assert_refused(path.name)
    assert not list(folder.glob("*"))


def test_a_kit_of_settings_that_the_space_does_not_have_is_refused(
    changed, result, folder, nas_command
):
    kit = json.loads(result.read_text())["kit"] | {"space_settings": {"surprise": 3}}
    path = changed(kit=kit, kit_sha256=content_hash(kit))
    command = ("profile", "import", path, "--accept-noise")
    nas_command(*command, profiles=folder).assert_refused("surprise")


def test_a_profile_of_settings_that_the_space_does_not_have_hides_no_other(folder, nas_command):
    digits = build_space("mobilenet-digits")
    keep(folder, "odd", made_up(digits), space_settings={"surprise": 3})
    keep(folder, "wild", made_up(digits), space_settings={"num_classes": -1})
    keep(folder, "board", made_up(digits))
    answer = nas_command("devices", "--json", profiles=folder)
    assert answer.code == 0, answer.stderr
    rows = {row["name"]: row for row in answer.json}
    assert "predictor_error" in rows["board"]
    assert "problem" in rows["odd"]
    assert "problem" in rows["wild"]


def test_kits_need_sound_settings(tmp_path, known):
    with pytest.raises(InputError, match="'resolution'"):
        make_kit("mobilenet-digits", {}, ["resolutio=8"], tmp_path / "kit.zip")
    with pytest.raises(InputError, match="num_calibration"):
        make_kit("mobilenet-digits", {"num_calibration": 0}, [], tmp_path / "kit.zip")
    assert list(tmp_path.glob("*.zip")) == []
