"""The command line as a user meets it: exit codes, streams, errors, `--json`, `--help`."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.nas.command_line import nas_script, python
from tests.nas.known_profiles import by_costs, know_this_machine_by, layer_by_costs
from tests.nas.settings import TINY

COMMANDS = [
    ["run"],
    ["train"],
    ["profile", "measure"],
    ["profile", "kit"],
    ["profile", "import"],
    ["devices"],
    ["compare"],
    ["search"],
    ["export"],
    ["verify"],
    ["report"],
    ["spaces"],
    ["doctor"],
]
WINNER = {
    "architecture_id",
    "model_path",
    "validation_accuracy",
    "test_accuracy",
    "predicted_latency_ms",
    "measured_latency_ms",
    "kept",
}


def settings(*overrides: str) -> list[str]:
    """`--set` options."""
    return [word for override in overrides for word in ("--set", override)]


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["profile"], *COMMANDS], ids=" ".join)
def test_every_command_explains_itself_with_an_example(nas_command, command):
    answer = nas_command(*command, "--help")
    assert answer.code == 0
    assert answer.stderr == ""
    assert f"Example: nas {' '.join(command)}".rstrip() in answer.stdout


def test_help_lists_every_command(nas_command):
    text = nas_command("--help").stdout
    assert all(f"\n  {command[0]} " in text for command in COMMANDS)
    inside = nas_command("profile", "--help").stdout
    assert all(f"\n  {name} " in inside for name in ("measure", "kit", "import"))


def test_examples_name_real_commands_and_options(nas_command):
    for command in COMMANDS:
        text = nas_command(*command, "--help").stdout
        example = text.split("Example: nas ")[1].split("\n\n")[0].split()
        assert example[: len(command)] == command
        for word in example:
            if word.startswith("--"):
                assert f"  {word}" in text


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["search", "--help"], ["profile", "measure", "--help"], ["devices", "--help"]],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys; from nas.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'sklearn', 'onnxruntime', 'onnx', 'pymoo', 'scipy'}\n"
        "sys.exit(str(heavy & set(sys.modules) or ''))"
    )
    assert python(code, *arguments).stderr.strip() == ""


BAD_AT_ONCE = [
    "run nosuch.toml",
    "run .",
    "run notes.toml",
    "run damaged",
    "run --set training.nosuch=1",
    "run --set training.strategy=nobody",
    "train nosuch",
    "train nosuch --dry-run",
    "search nosuch --latency-ms 1",
    "search damaged --latency-ms 1",
    "export nosuch x",
    "export nosuch --budgets 1,2",
    "verify nosuch",
    "report nosuch",
    "finetune nosuch x",
    "audit nosuch",
    "proxies nosuch",
    "profile measure nosuch",
    "profile kit nosuch --out kit.zip",
    "devices nosuch",
    "compare nosuch other",
    "import-weights mobilenet-v3 nosuch",
]


@pytest.mark.parametrize("line", BAD_AT_ONCE)
def test_what_is_not_there_or_not_readable_is_told_before_heavy_imports(tmp_path, line):
    (tmp_path / "notes.toml").write_text("no recipe")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    code = (
        "import os, sys\n"
        "os.chdir(sys.argv.pop(1))\n"
        "from nas.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n"
        "    heavy = {'torch', 'pymoo', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "    print(end.code, *heavy)"
    )
    result = python(code, tmp_path, *line.split())
    assert result.stdout.split() == ["2"], result
    assert result.stderr.startswith("nas: ")
    assert result.stderr.count("\n") == 1


def test_the_installed_script_answers():
    result = subprocess.run([nas_script(), "--help"], capture_output=True, text=True, check=True)
    assert "latency budget" in result.stdout


def test_without_arguments_help_is_shown(nas_command):
    answer = nas_command()
    assert "Commands:" in answer.stdout + answer.stderr
    assert answer.code in (0, 2)


# --- --json ---------------------------------------------------------------------------------------


def test_run_json(copied, nas_command):
    result = nas_command("run", copied, "--json")
    assert result.code == 0, result.stderr
    data = result.json
    assert {"run", "budget_ms", "winner", "front_path", "report_path", "seconds"} <= set(data)
    assert set(data["winner"]) >= WINNER
    assert data["winner"]["kept"] is True
    assert 0 <= data["winner"]["test_accuracy"] <= 1
    assert set(data["seconds"]) >= {"train", "profile", "accuracy", "predictors", "search"}
    assert data["run"] == str(copied)


def test_search_json(slow_here, nas_command):
    answer = nas_command("search", slow_here, "--latency-ms", "70%", "--json")
    assert answer.code == 0, answer.stderr
    data = answer.json
    names = {"budget_ms", "winner", "front", "evaluations", "hypervolume"}
    assert names <= set(data)
    assert set(data["winner"]) >= WINNER
    assert data["front"]
    for member in data["front"]:
        assert {"architecture_id", "costs", "predicted", "measured"} <= set(member)
    assert 0 < data["hypervolume"] < 10 * data["budget_ms"]


def test_a_search_without_a_winner_tells_its_closest_miss(copied, nas_command):
    """By the profile all takes less than on any machine, so that nothing keeps the budget."""
    know_this_machine_by(
        copied,
        latency=lambda *what: 1e-6 * by_costs(*what),
        layer=lambda *costs: 1e-6 * layer_by_costs(*costs),
    )
    answer = nas_command("search", copied, "--latency-ms", "100%", "--json")
    assert answer.code == 1, answer.stderr
    assert answer.json["winner"] is None
    assert answer.json["closest_miss"]["measured_latency_ms"] > answer.json["budget_ms"]


def test_export_json(copied, nas_command):
    answer = nas_command("export", copied, "largest", "--json")
    assert answer.code == 0, answer.stderr
    data = answer.json
    assert {"directory", "files", "parity", "measured_latency_ms"} <= set(data)
    assert set(data["files"]) > {"model.onnx", "architecture.json", "reference.npz"}
    assert set(data["models"]) == {"model.onnx"}
    for parity in data["parity"].values():
        assert {"max_abs_difference", "top1_agreement"} <= set(parity)
    assert nas_command("verify", data["directory"]).code == 0


def test_export_of_the_whole_front(copied, nas_command):
    path = copied / "search" / "front.json"
    front = json.loads(path.read_text())
    front["members"] = front["members"][:2]  # to be done sooner
    path.write_text(json.dumps(front))
    answer = nas_command("export", copied, "--front", "--json")
    assert answer.code == 0, answer.stderr
    names = [row["directory"].rpartition("/")[2] for row in answer.json["exports"]]
    assert names == [member["architecture_id"] for member in front["members"]]


def test_export_of_budgets(copied, nas_command):
    """The first is that of the run, whose search is done."""
    answer = nas_command("export", copied, "--budgets", "1000,2000", "--json")
    assert answer.code == 0, answer.stderr
    assert [row["budget_ms"] for row in answer.json["searches"]] == [1000, 2000]
    assert all(row["winner"] for row in answer.json["searches"])


def test_spaces_json(nas_command):
    one = nas_command("spaces", "mobilenet-digits", "--json").json
    assert one["name"] == "mobilenet-digits"
    for member in ("least", "middle", "largest"):
        assert set(one["costs"][member]) == {"macs", "num_params", "activation_bytes"}
    assert one["num_architectures"] > 10**6
    assert len(one["dimensions"]) == one["num_dimensions"]
    rows = nas_command("spaces", "--json").json["spaces"]
    assert {row["name"] for row in rows} >= {"mobilenet-digits", "mobilenet-cifar", "mobilenet-v3"}


def test_doctor_json(nas_command):
    data = nas_command("doctor", "--json").json
    assert data["libraries"]["torch"]
    assert data["libraries"]["onnxruntime"]
    assert "data" in data["extras"]
    assert data["can_profile"]


def test_tables_for_people(nas_command):
    assert "mobilenet-v3" in nas_command("spaces").stdout
    assert "stage1.depth" in nas_command("spaces", "mobilenet-digits").stdout
    assert "onnxruntime" in nas_command("doctor").stdout


def test_profile_measure_of_a_run_and_report(copied, nas_command):
    answer = nas_command("profile", "measure", copied, "--json")
    assert answer.code == 0, answer.stderr
    assert answer.json["path"] == str(copied / "profile.json")
    assert answer.json["target"]["runtime"] == "onnxruntime"
    answer = nas_command("report", copied)
    assert answer.code == 0, answer.stderr
    assert answer.stdout.strip() == str(copied / "report.html")


def test_run_goes_on_with_a_run_and_prints_its_winner(used, nas_command):
    answer = nas_command("run", used)
    assert answer.code == 0, answer.stderr
    assert "chosen subnet" in answer.stdout
    assert "measured latency" in answer.stdout


# --- what a user can cause ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["space.name=mobilenet-digit"], ["'mobilenet-digits'"]),
        (["data.source=digit"], ["'digits'"]),
        (["data.source=npz:nowhere.npz"], ["no such file"]),
        (["data.source=python:nowhere:load"], ["nowhere"]),
        (["training.epoch=3"], ["'training.epochs'"]),
        (["trainin.epochs=3"], ["'training'"]),
        (["training.epochs=many"], ["training.epochs"]),
        (["training.epochs"], ["--set section.key=value"]),
        (["search.budget=0"], ["budget"]),
        (["search.budget=-1"], ["budget"]),
        (["search.budget=120%"], ["budget"]),
        (["training.strategy=sandwhich"], ["'sandwich'"]),
        (["search.searcher=nsga3"], ["'nsga2'"]),
        (["accuracy.predictor=gaussian"], ["'gaussian-process'"]),
        (["profile.runtime=onnxruntim"], ["'onnxruntime'"]),
        (["profile.predictor=transfr"], ["'transfer'"]),
        (["profile.options={resolutoin=[8]}"], ["'resolution'"]),
        (["profile.precision=fp8"], ["profile.precision"]),
        (["profile.passes=1"], ["profile.passes"]),
        (["profile.minutes=0"], ["profile.minutes"]),
    ],
    ids=lambda value: value[0],
)
def test_bad_settings(nas_command, tmp_path, overrides, words):
    """At once: nothing is trained for a name that is known to be wrong."""
    quick = settings(*TINY)
    answer = nas_command("run", "--out", tmp_path / "run", *quick, *settings(*overrides))
    answer.assert_refused(*words)
    assert not (tmp_path / "run" / "supernet" / "checkpoint.safetensors").exists()


def images(n: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 8, 8), dtype=np.uint8)


BAD_DATA = {
    "one class": (images(), np.zeros(40, int), "2 classes"),
    "wrong shape": (images().reshape(40, 64), np.arange(40) % 2, "(40, 64)"),
    "NaN": (np.full((40, 8, 8), np.nan), np.arange(40) % 2, "NaN"),
    "fewer samples than classes": (images(3), np.array([0, 4, 8]), "fewer than 9 classes"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(nas_command, tmp_path, case):
    x, y, words = BAD_DATA[case]
    np.savez(tmp_path / "data.npz", x=x, y=y)
    answer = nas_command(
        "run", "--out", tmp_path / "run", *settings(f"data.source=npz:{tmp_path}/data.npz")
    )
    answer.assert_refused("data.npz", words)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def used(finished, tmp_path_factory) -> Path:
    """A copy of the finished run that refused commands leave as it is, but for `run.json`."""
    return shutil.copytree(finished.path, tmp_path_factory.mktemp("used") / "run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "RUN", "--latency-ms", "0"], ["budget"]),
        (["search", "RUN", "--latency-ms=-2"], ["budget"]),
        (["search", "RUN", "--latency-ms", "nan"], ["budget"]),
        (["search", "RUN", "--latency-ms", "soon"], ["budget"]),
        (["search", "RUN", "--latency-ms", "0.000001"], ["no architecture", "least"]),
        (["search", "RUN", "--max-macs", "1"], ["no architecture", "MACs"]),
        (["search", "RUN", "--max-params", "0"], ["max_params"]),
        (["search", "RUN", "--searcher", "nsga3"], ["'nsga2'"]),
        (["search", "nowhere"], ["nowhere", "run.json"]),
        (["export", "RUN", "0123456789"], ["nearest"]),
        (["export", "RUN", '{"resolutoin": 8}'], ["'resolution'"]),
        (["export", "RUN", '{"resolution": 9}'], ["8, 12, 16"]),
        (["export", "RUN", "nowhere.json"], ["nowhere.json"]),
        (["export", "RUN"], ["ARCH"]),
        (["export", "RUN", "largest", "--front"], ["ARCH"]),
        (["export", "RUN", "--budgets", "50%,,"], ["budget"]),
        (["export", "nowhere", "largest"], ["run.json"]),
        (["verify", "nowhere"], ["manifest.json"]),
        (["report", "nowhere"], ["run.json"]),
        (["spaces", "mobilenet-digit"], ["'mobilenet-digits'"]),
        (["profile", "measure", "mobilenet-digit"], ["'mobilenet-digits'"]),
        (["run", "nowhere.toml"], ["nowhere.toml"]),
        (["train", "nowhere.toml"], ["nowhere.toml"]),
        (["run", "RUN", "--set", "seed=1"], ["--set"]),
        (["run", "RUN", "--out", "elsewhere"], ["--out"]),
    ],
    ids=lambda value: " ".join(value) if value[0] in {c[0] for c in COMMANDS} else "",
)
def test_bad_arguments(used, nas_command, arguments, words):
    filled = [used if word == "RUN" else word for word in arguments]
    nas_command(*filled).assert_refused(*words)


@pytest.mark.parametrize(
    "arguments",
    [
        ["search"],
        ["serch"],
        ["search", "x", "--max-macs", "many"],
        ["search", "x", "--latency", "2"],
        ["profile", "measure", "mobilenet-digits", "--threads", "0"],
    ],
    ids=" ".join,
)
def test_arguments_that_do_not_parse_are_bad_input_too(nas_command, arguments):
    answer = nas_command(*arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.stderr
    assert "see nas --help" in answer.stderr


def test_another_recipe_in_the_same_folder(copied, nas_command):
    answer = nas_command("run", "--out", copied, *settings(*TINY, "training.epochs=9", "seed=3"))
    answer.assert_refused("training.epochs", "seed")


def test_a_foreign_folder(tmp_path, nas_command):
    (tmp_path / "thesis.tex").write_text("important")
    nas_command("run", "--out", tmp_path).assert_refused("no run")


def test_a_folder_that_cannot_be_written(tmp_path, nas_command):
    (tmp_path / "file").write_text("x")
    nas_command("run", "--out", tmp_path / "file" / "run").assert_refused("file")


TRUNCATED = {
    "supernet/checkpoint.safetensors": [["search"], ["export", "largest"]],
    "profile.json": [["run"], ["search"], ["export", "largest"]],
    "run.json": [["run"], ["search"], ["report"]],
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_truncated_files_are_named(copied, nas_command, name):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: len(content) // 2])
    for command, *rest in TRUNCATED[name]:
        answer = nas_command(command, copied, *rest)
        after_work = command == "run" and name == "profile.json"  # it finds training done first
        answer.assert_refused(name.rpartition("/")[2], after_work=after_work)


def test_an_edited_checkpoint_is_named(copied, nas_command):
    path = copied / "supernet" / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 4
    path.write_bytes(content)
    nas_command("export", copied, "largest").assert_refused("checkpoint.safetensors", "hash")


@pytest.mark.parametrize("name", ["accuracy_samples.jsonl", "search/evaluations.jsonl"])
def test_damaged_logs_are_named(copied, nas_command, name):
    path = copied / name
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (
        [lines[0][:40] + b"\n", *lines[1:]],  # torn, and then written on
        [b'{"surprise": 1}\n', *lines[1:]],  # of somebody else
    ):
        path.write_bytes(b"".join(damaged))
        answer = nas_command("export", copied, "abcdef")
        answer.assert_refused(name.rpartition("/")[2])
    path.write_bytes(whole + b'{"architecture_id": "0')  # killed while writing
    assert nas_command("search", copied).code == 0


def test_a_parity_failure_is_one_line_and_exit_code_1(copied):
    """A weight changed behind the checkpoint's back is caught by its hash; so the exporter itself
    is made to fail, by a limit that nothing keeps."""
    code = (
        "import dataclasses, sys, nas.exporting.limits as limits\n"
        "exact = dataclasses.replace(limits.LIMITS['fp32'], difference=0.0)\n"
        "limits.LIMITS = {'fp32': exact}\n"
        "import nas.cli\n"
        "sys.argv = ['nas', 'export', sys.argv[1], 'smallest']\n"
        "nas.cli.main()"
    )
    result = python(code, copied)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("nas: ")


def test_a_run_works_from_anywhere(finished, tmp_path, nas_command):
    """A relative path, and a run that has been moved."""
    shutil.copytree(finished.path, tmp_path / "moved")
    answer = nas_command("search", "moved", "--json", folder=tmp_path)
    assert answer.code == 0, answer.stderr
    model = tmp_path / answer.json["winner"]["model_path"]
    assert model.is_file()
    assert model.resolve().is_relative_to((tmp_path / "moved").resolve())


def test_a_function_in_the_folder_of_the_call_is_found(tmp_path, nas_command):
    (tmp_path / "my_images.py").write_text("def load():\n    return [1, 2, 3]\n")
    answer = nas_command(
        "run", "--out", "run", *settings("data.source=python:my_images:load"), folder=tmp_path
    )
    answer.assert_refused("expected (images, labels)")
