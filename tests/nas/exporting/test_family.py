import csv
import json
import resource
import shutil
import signal
import subprocess

import pytest

from nas.exporting.family import FamilyMember, member_of_folder, save_family
from nas.exporting.manifest import Manifest
from tests.nas.command_line import nas_script


def member(latency_ms: float | None, accuracy: float, **changes) -> FamilyMember:
    fields = {
        "budget_ms": None,
        "architecture_id": f"id{accuracy}",
        "directory": None,
        "kept": None,
        "metric": "accuracy",
        "validation_accuracy": accuracy,
        "test_accuracy": None,
        "measured_latency_ms": latency_ms,
        "predicted_latency_ms": None,
        "macs": None,
        "num_params": None,
    }
    return FamilyMember(**{**fields, **changes})


@pytest.fixture
def run(copied):
    from nas.run_directory import open_run

    return open_run(copied)


def test_a_family_is_ordered_and_tells_what_a_millisecond_more_gains(run):
    rows = save_family(run, [member(4.0, 0.9), member(1.0, 0.5), member(2.0, 0.8)])
    assert [row.measured_latency_ms for row in rows] == [1.0, 2.0, 4.0]
    assert rows[0].marginal_accuracy_per_ms is None
    assert rows[1].marginal_accuracy_per_ms == pytest.approx(0.3)
    assert rows[2].marginal_accuracy_per_ms == pytest.approx(0.05)
    with (run.path / "family.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["measured_latency_ms"]) for row in table] == [1.0, 2.0, 4.0]
    assert table[0]["marginal_accuracy_per_ms"] == ""
    assert [row["budget_ms"] for row in table] == ["", "", ""]


def test_the_same_subnet_under_two_budgets_gains_nothing(run):
    first, second = save_family(run, [member(1.0, 0.5), member(1.0, 0.5)])
    assert (first.marginal_accuracy_per_ms, second.marginal_accuracy_per_ms) == (None, None)


def test_what_was_not_measured_is_ordered_by_its_prediction(run):
    rows = save_family(run, [member(None, 0.9, predicted_latency_ms=3.0), member(2.0, 0.8)])
    assert [row.validation_accuracy for row in rows] == [0.8, 0.9]
    assert rows[1].measured_latency_ms is None


def test_a_folder_as_a_row(finished):
    manifest = Manifest.load(finished.folder / "manifest.json")
    row = member_of_folder(finished.folder, manifest.budget_ms, True)
    assert row.measured_latency_ms == manifest.measured[0].latency_ms
    assert (row.macs, row.test_accuracy) == (manifest.costs["macs"], manifest.test_accuracy)
    assert member_of_folder(finished.folder, is_candidate=True).measured_latency_ms is None


def test_budgets_give_a_table_on_screen_in_json_and_as_a_file(copied, nas_command):
    """The budget is that of the run, whose search is done."""
    answer = nas_command("export", copied, "--budgets", "90%", "--json")
    assert answer.code in (0, 1), answer.stderr
    (row,) = answer.json["family"]
    winner = answer.json["searches"][0]["winner"]
    if winner is not None:  # a busy machine need not keep it
        assert row["architecture_id"] == winner["architecture_id"]
        assert row["validation_accuracy"] == winner["validation_accuracy"]
        assert row["measured_latency_ms"] == winner["measured_latency_ms"]
        assert row["kept"] is True
    assert row["budget_ms"] == answer.json["searches"][0]["budget_ms"]
    with (copied / "family.csv").open(newline="") as file:
        assert [one["architecture_id"] for one in csv.DictReader(file)] == [row["architecture_id"]]
    told = nas_command("export", copied, "--budgets", "90%")
    assert "gain per ms" in told.stdout
    assert row["architecture_id"] in told.stdout


def test_a_front_gives_the_same_table(copied, nas_command):
    path = copied / "search" / "front.json"
    front = json.loads(path.read_text())
    front["members"] = front["members"][:1]
    path.write_text(json.dumps(front))
    answer = nas_command("export", copied, "--front", "--json")
    assert answer.code == 0, answer.stderr
    (row,) = answer.json["family"]
    assert row["budget_ms"] is None
    assert row["architecture_id"] == front["members"][0]["architecture_id"]
    assert row["measured_latency_ms"] == answer.json["exports"][0]["measured_latency_ms"]
    assert (copied / "family.csv").is_file()


# --- targets that cannot be written ---------------------------------------------------------------


def test_a_full_target_leaves_what_was_there(copied):
    shutil.rmtree(copied / "subnets")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    answer = subprocess.run(
        [nas_script(), "export", copied, "smallest"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=limit,
    )
    assert answer.returncode == 2, answer.stderr
    last = answer.stderr.splitlines()[-1]
    assert last.startswith("nas: ") and last.endswith("File too large")
    assert "/subnets/" in last and ".tmp" not in last
    assert "Traceback" not in answer.stderr
    assert not list(copied.rglob("*.onnx"))


def test_a_target_that_takes_no_folder_is_named(copied, nas_command):
    shutil.rmtree(copied / "subnets")
    (copied / "subnets").write_text("in the way")
    answer = nas_command("export", copied, "smallest")
    answer.assert_refused("subnets", after_work=True)
