"""Latencies that a device brings back to a folder."""

import json
import shutil
import subprocess
import sys
from hashlib import sha256

import pytest

from hardware_profiles.models_result import read_models_result
from hardware_profiles.profile_device import checksum
from hardware_profiles.target import Target
from nas.exporting.manifest import Manifest, WantedBudget
from nas.exporting.measured import join_result
from nas.exporting.verify import verify_folder
from search_spaces import InputError

BOARD = Target(
    device="Pocket board",
    runtime="onnxruntime",
    runtime_version="1.20",
    provider="CPUExecutionProvider",
)


def item(path, latency_ms: float = 4.1, **changes) -> dict:
    return {
        "id": path.name,
        "file_sha256": sha256(path.read_bytes()).hexdigest(),
        "latency_ms": latency_ms,
        "noise": 0.01,
        "disagreement": 0.002,
        "wall_ms": latency_ms,
        "visits": 5,
        "resident_bytes": None,
        **changes,
    }


def write(path, *items: dict, target: Target = BOARD, **changes):
    result = {
        "format": 1,
        "kind": "models-result",
        "target": target.model_dump(mode="json"),
        "created": "2026-01-01T00:00:00+00:00",
        "items": list(items),
    }
    result["sha256"] = checksum(result)
    path.write_text(json.dumps({**result, **changes}))
    return path


@pytest.fixture
def candidate(exported):
    """A folder that was searched for a device elsewhere, under 5 ms, and not measured."""
    manifest = Manifest.load(exported / "manifest.json")
    wanted = (WantedBudget(target=BOARD, budget_ms=5.0),)
    changes = {"measured": (), "budget_ms": None, "wanted": wanted}
    manifest.model_copy(update=changes).save(exported / "manifest.json")
    return exported


def test_a_measurement_on_the_device_that_was_searched_for_keeps_its_budget(
    candidate, tmp_path, nas_command
):
    path = write(tmp_path / "result.json", item(candidate / "model.onnx"))
    answer = nas_command("measured", candidate, path)
    assert answer.code == 0, answer.stderr
    assert "model.onnx measured on Pocket board" in answer.stdout
    assert "4.1 ms, budget 5 ms, kept" in answer.stdout
    manifest = Manifest.load(candidate / "manifest.json")
    assert manifest.budget_ms == 5.0
    assert (manifest.measured[0].target, manifest.measured[0].latency_ms) == (BOARD, 4.1)
    latency = verify_folder(candidate).checks[-1]
    assert latency.ok
    assert "not compared" in latency.detail, "this machine is not that board"
    assert "Pocket board" in latency.detail


@pytest.mark.parametrize(("latency_ms", "words"), [(6.0, "missed"), (4.99, "typical pass")])
def test_a_budget_that_is_missed_there_is_a_failure(
    candidate, tmp_path, nas_command, latency_ms, words
):
    path = write(tmp_path / "result.json", item(candidate / "model.onnx", latency_ms))
    answer = nas_command("measured", candidate, path, "--json")
    assert answer.code == 1
    (row,) = answer.json["measured"]
    assert (row["kept"], row["budget_ms"], row["latency_ms"]) == (False, 5.0, latency_ms)
    assert words in row["note"]
    manifest = Manifest.load(candidate / "manifest.json")
    assert manifest.budget_ms is None
    failed = [check for check in verify_folder(candidate).checks if not check.ok]
    assert [check.name for check in failed] == ["latency"]
    assert "wanted there 5.0000 ms" in failed[0].detail


def test_a_tighter_budget_that_was_wanted_later_is_compared(candidate, tmp_path):
    result = write(tmp_path / "result.json", item(candidate / "model.onnx"))
    assert join_result(candidate, result).kept
    manifest = Manifest.load(candidate / "manifest.json")
    wanted = (WantedBudget(target=BOARD, budget_ms=2.0),)
    manifest.model_copy(update={"wanted": wanted}).save(candidate / "manifest.json")
    again = join_result(candidate, result)
    assert (again.kept, again.measured[0].budget_ms) == (False, 2.0)


def test_a_budget_that_is_missed_when_measured_again_fails_verification(candidate, tmp_path):
    manifest = Manifest.load(candidate / "manifest.json")
    for latency_ms in (4.1, 6.0):
        path = write(tmp_path / "result.json", item(candidate / "model.onnx", latency_ms))
        join_result(candidate, path)
    manifest = Manifest.load(candidate / "manifest.json")
    assert (manifest.budget_ms, manifest.measured[0].latency_ms) == (5.0, 6.0)
    manifest.model_copy(update={"wanted": ()}).save(candidate / "manifest.json")
    failed = [check for check in verify_folder(candidate).checks if not check.ok]
    assert [check.name for check in failed] == ["latency"]


def test_a_file_outside_the_folder_is_not_opened(candidate, tmp_path):
    outside = tmp_path / "outside.onnx"
    shutil.copyfile(candidate / "model.onnx", outside)
    path = candidate / "manifest.json"
    data = json.loads(path.read_text())
    name = f"../{outside.relative_to(candidate.parent)}"
    data["models"] = {name: data["models"]["model.onnx"]}
    data["files"] = {name: data["files"]["model.onnx"]}
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="outside the folder"):
        join_result(candidate, write(tmp_path / "result.json", item(outside)))


def test_a_budget_of_another_target_is_not_compared(candidate, tmp_path):
    other = BOARD.model_copy(update={"threads": 4})
    path = write(tmp_path / "result.json", item(candidate / "model.onnx", 99.0), target=other)
    joined = join_result(candidate, path)
    assert joined.kept
    assert joined.measured[0].kept is None
    assert "not compared with the budget of 5 ms, which is of Pocket board" in str(
        joined.measured[0]
    )


def test_measuring_again_replaces_what_was_measured_there(candidate, tmp_path):
    for latency_ms in (4.5, 4.2):
        path = write(tmp_path / "result.json", item(candidate / "model.onnx", latency_ms))
        join_result(candidate, path)
    (one,) = Manifest.load(candidate / "manifest.json").measured
    assert one.latency_ms == 4.2


def test_further_files_keep_their_own_figures(further, tmp_path):
    before = Manifest.load(further / "manifest.json")
    items = [item(further / name) for name in ("model.ort", "model.pixels.onnx")]
    join_result(further, write(tmp_path / "result.json", *items))
    after = Manifest.load(further / "manifest.json")
    assert after.measured[: len(before.measured)] == before.measured
    added = after.measured[len(before.measured) :]
    assert [one.file for one in added] == ["model.ort", "model.pixels.onnx"]
    assert after.files == before.files
    fixed = write(tmp_path / "other.json", item(further / "model.batch3.opset18.onnx"))
    with pytest.raises(InputError, match="takes batch 3 alone"):
        join_result(further, fixed)


# --- results that cannot be -----------------------------------------------------------------------


def test_results_that_are_not_of_the_folder_are_refused(candidate, tmp_path, nas_command):
    path, model = tmp_path / "result.json", candidate / "model.onnx"
    good = item(model)
    for words, made in {
        "no model of": lambda: write(path, {**good, "file_sha256": "0" * 64}),
        "checksum": lambda: write(path, good, created="2027-01-01T00:00:00+00:00"),
        "do not fit": lambda: write(path, {**good, "wall_ms": 1e5}),
        "format 9": lambda: write(path, good, format=9),
        "items": lambda: write(path),
        "twice": lambda: write(path, good, good),
        "profile_device.py": lambda: path.write_text('{"kind": "profile"}'),
        "nas profile import": lambda: path.write_text('{"kind": "kit-result"}'),
        "not readable": lambda: path.write_text("{"),
    }.items():
        made()
        nas_command("measured", candidate, path).assert_refused(words)
    nas_command("measured", candidate, tmp_path / "absent.json").assert_refused("no such file")
    nas_command("measured", tmp_path, path).assert_refused("manifest.json")
    write(path, good)
    model.write_bytes(model.read_bytes() + b"\0")
    nas_command("measured", candidate, path).assert_refused("not what the manifest says")
    assert Manifest.load(candidate / "manifest.json").measured == ()


def test_the_folder_measures_itself_where_it_lies(exported, tmp_path):
    """The whole way: the script of the folder, alone, and its result back."""
    folder = shutil.copytree(exported, tmp_path / "device")
    out = tmp_path / "result.json"
    command = (sys.executable, "-I", folder / "profile_device.py")
    run = subprocess.run(
        [*command, "--models", folder / "model.onnx", "--out", out],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    result = read_models_result(out)
    assert [one.id for one in result.items] == ["model.onnx"]
    joined = join_result(exported, out)
    (one,) = joined.measured
    assert one.latency_ms == result.items[0].latency_ms
    assert one.budget_ms == 1000.0, "the fixture's, which is of this machine"
    assert one.kept
