"""The program of a kit as a device runs it: other processes, other Pythons, damaged files."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from hardware_profiles import profile_device
from hardware_profiles.kit import read_result, result_profile
from hardware_profiles.profile_device import (
    AGREEMENT,
    PASSES,
    Measurement,
    WindowLog,
    checksum,
    main,
    write_result,
)
from tests.hardware_profiles.conftest import unpack

ENOUGH = ("--minutes", "10")  # far off, on a busy machine too
SETTINGS = ("--threads", "1", *ENOUGH)
ON_A_DEVICE = """
import sys

class Nothing:
    '''A device has the standard library, numpy and onnxruntime, and nothing else.'''

    def find_spec(self, name, path=None, target=None):
        first = name.partition(".")[0]
        if first not in sys.stdlib_module_names and first not in ("numpy", "onnxruntime", *{more}):
            raise ModuleNotFoundError("a device has no " + name, name=first)
        if first in {missing}:
            raise ModuleNotFoundError("No module named " + repr(first), name=first)

sys.meta_path.insert(0, Nothing())
"""
AFTER_VISITS = """
import json, time

dumps, monotonic, visits, later = json.dumps, time.monotonic, [], 0.0

def counted(record, **settings):
    visits.extend(["one"] * ("own_ms" in record))
    return dumps(record, **settings)

def clock():
    global later
    if len(visits) >= {num_visits}:
        visits.clear()
        {happens}
    return monotonic() + later

json.dumps, time.monotonic = counted, clock
"""
WAITS = "time.sleep(3600)"  # to be stopped, however late that is on a busy machine
TIME_IS_UP = "later = 3600.0"


@pytest.fixture
def environment(tmp_path):
    return device_environment(tmp_path / "site")


def device_environment(folder, missing=(), num_visits=None, happens=WAITS):
    """Environment of a Python that has only what a device has, which warnings end.

    Args:
        happens: statement that the program comes to after so many visits.
    """
    folder.mkdir()
    more = ("sitecustomize", "usercustomize")
    code = ON_A_DEVICE.format(more=more, missing=tuple(missing))
    if num_visits is not None:
        code += AFTER_VISITS.format(num_visits=num_visits, happens=happens)
    (folder / "sitecustomize.py").write_text(code)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}


def start(folder, environment, *arguments, interpreter=sys.executable):
    """The program, started as a shell at a device would, where Ctrl-C interrupts."""
    return subprocess.Popen(
        [interpreter, "profile_device.py", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finished(folder, environment, *arguments, interpreter=sys.executable, timeout=600):
    """(exit code, stdout, stderr) of a whole run."""
    with start(folder, environment, *arguments, interpreter=interpreter) as process:
        out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def check_end(code, err):
    """A whole measurement ended; so few networks cannot tell that a machine is too noisy."""
    assert (code, err) == (0, "")


def result_of(folder):
    return json.loads((folder / "result.json").read_bytes())


def visits_in(folder):
    """Names in the windows file, in order; without a torn end."""
    lines = (folder / "result.windows.jsonl").read_bytes().split(b"\n")[1:-1]
    return [json.loads(line)["item"] for line in lines]


def stop_after(folder, process, num_visits, number):
    """Send the signal as soon as so many visits are in the windows file."""
    until = time.monotonic() + 600
    while time.monotonic() < until:
        path = folder / "result.windows.jsonl"
        if path.exists() and path.read_bytes().count(b"\n") > num_visits:
            break
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


# --- a whole run ----------------------------------------------------------------------------------


def test_a_kit_is_measured_with_numpy_and_onnxruntime_alone(
    space, plan, kit, kit_folder, environment
):
    before = {path.name for path in kit_folder.iterdir()}
    code, out, err = finished(kit_folder, environment, *SETTINGS)
    check_end(code, err)
    assert out.splitlines()[-1].endswith("result.json")
    added = {path.name for path in kit_folder.iterdir()} - before
    assert added == {"result.json", "result.windows.jsonl"}

    result = result_of(kit_folder)
    assert result["complete"] is True
    assert result["sha256"] == checksum(result)
    assert {item["id"] for item in result["items"]} == {item.id for item in plan.items}
    assert min(item["visits"] for item in result["items"]) >= PASSES
    assert Counter(visits_in(kit_folder)) == {i["id"]: i["visits"] for i in result["items"]}
    path = kit_folder / "result.json"
    profile = result_profile(read_result(path, kit, accept_noise=True), space, path)
    assert len(profile.layers) + len(profile.subnets) == len(plan.items)
    assert profile.missing == {}
    check_memory(result)


def check_memory(result):
    """Whole subnets tell their memory, where the system does."""
    told = Path("/proc/self/clear_refs").exists()
    roles = {item["id"]: item["role"] for item in result["kit"]["items"]}
    for item in result["items"]:
        assert (item["resident_bytes"] is not None) == (told and roles[item["id"]] != "layer")


def test_the_same_command_goes_on_with_what_was_measured(measured_folder, environment):
    kit_folder = measured_folder
    first = visits_in(kit_folder)
    code, out, err = finished(kit_folder, environment, *SETTINGS)
    check_end(code, err)
    assert f"going on with {len(first)} visits" in out
    assert visits_in(kit_folder)[: len(first)] == first
    again = Counter(visits_in(kit_folder)[len(first) :])
    reference = result_of(kit_folder)["kit"]["reference"]
    doubtful = {i["id"] for i in result_of(kit_folder)["items"] if i["visits"] > PASSES}
    assert set(again) <= doubtful | {reference}


def test_minutes_bound_everything(space, plan, kit, kit_folder, tmp_path):
    environment = device_environment(tmp_path / "short", num_visits=3, happens=TIME_IS_UP)
    code, out, _ = finished(kit_folder, environment, *SETTINGS)
    assert code == 0
    assert len(visits_in(kit_folder)) == 3
    result = result_of(kit_folder)
    assert result["complete"] is False
    there = len(result["items"])
    assert 1 <= there <= 3
    assert f"time is up: {there} of {len(plan.items)} networks" in out
    path = kit_folder / "result.json"
    profile = result_profile(read_result(path, kit, accept_noise=True), space, path)
    assert sum(profile.missing.values()) == len(plan.items) - there


def test_a_run_that_measured_nothing_names_no_result(capsys, kit_folder):
    code = main(["--kit", str(kit_folder), "--minutes", "1e-9"])
    assert not (kit_folder / "result.json").exists()
    assert code != 0
    assert "result.json" not in capsys.readouterr().out


def test_ctrl_c_keeps_what_was_measured(kit_folder, environment, tmp_path):
    waiting = device_environment(tmp_path / "waiting", num_visits=4)
    with start(kit_folder, waiting, *SETTINGS) as process:
        code, _, err = stop_after(kit_folder, process, 4, signal.SIGINT)
    assert code == 130
    assert err.splitlines() == ["profile_device: interrupted; the same command goes on"]
    first = visits_in(kit_folder)
    assert len(first) >= 4
    result = result_of(kit_folder)
    assert result["complete"] is False
    assert {item["id"]: item["visits"] for item in result["items"]} == Counter(first)

    code, out, err = finished(kit_folder, environment, *SETTINGS)
    check_end(code, err)
    assert f"going on with {len(first)} visits" in out
    assert visits_in(kit_folder)[: len(first)] == first
    assert result_of(kit_folder)["complete"] is True


def test_a_killed_program_loses_one_visit_at_most(kit_folder, environment, tmp_path):
    """Killed between two of its instructions, as when the device loses power."""
    waiting = device_environment(tmp_path / "waiting", num_visits=5)
    with start(kit_folder, waiting, *SETTINGS) as process:
        code, _, _ = stop_after(kit_folder, process, 5, signal.SIGKILL)
    assert code == -signal.SIGKILL
    windows = kit_folder / "result.windows.jsonl"
    assert len(visits_in(kit_folder)) >= 5
    kept = windows.read_bytes()
    windows.write_bytes(kept + b'{"item": "layer-')  # and torn in the middle of a line
    code, _, err = finished(kit_folder, environment, *SETTINGS)
    check_end(code, err)
    assert windows.read_bytes().startswith(kept.rpartition(b"\n")[0] + b"\n")
    result = result_of(kit_folder)
    assert result["complete"] is True
    assert Counter(visits_in(kit_folder)) == {i["id"]: i["visits"] for i in result["items"]}
    with closing(WindowLog(windows, {})) as log:
        for name, visits in log.visits.items():  # no visit was made twice
            again = len(visits) > PASSES and name != result["kit"]["reference"]
            assert not again or Measurement(visits[:-1]).disagreement > AGREEMENT


def test_the_result_may_lie_elsewhere(kit_folder, environment, tmp_path):
    out = tmp_path / "new" / "folder" / "board.json"
    code, printed, err = finished(kit_folder, environment, *SETTINGS, "--out", str(out))
    check_end(code, err)
    assert printed.splitlines()[-1] == str(out)
    assert json.loads(out.read_bytes())["complete"] is True
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "board.json",
        "board.windows.jsonl",
    ]
    assert not (kit_folder / "result.json").exists()


@pytest.mark.parametrize(
    ("name", "windows"),
    [("pi4.1t", "pi4.1t.windows.jsonl"), ("pi4.1t.json", "pi4.1t.windows.jsonl")],
)
def test_the_windows_lie_beside_it_under_its_whole_name(kit_folder, tmp_path, name, windows):
    out = tmp_path / "new" / name
    main(["--kit", str(kit_folder), *ENOUGH, "--out", str(out)])
    assert {path.name for path in out.parent.iterdir()} == {name, windows}


@pytest.mark.parametrize("missing", ["numpy", "onnxruntime"])
def test_what_is_not_installed_is_named(kit_folder, tmp_path, missing):
    lacking = device_environment(tmp_path / "lacking", [missing])
    code, _, err = finished(kit_folder, lacking, *SETTINGS)
    assert code == 3
    assert missing in err
    assert "pip install numpy onnxruntime" in err
    assert err.splitlines()[-1].startswith("profile_device: ")


def test_single_models_are_timed_too(kit_folder, environment):
    with zipfile.ZipFile(kit_folder / "models.zip") as archive:
        names = archive.namelist()[:2]
        archive.extractall(kit_folder, names)
    code, out, err = finished(kit_folder, environment, "--models", *names)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == names
    assert all(float(line.split()[1]) > 0 for line in out.splitlines())


# --- other Pythons --------------------------------------------------------------------------------


def test_the_syntax_is_that_of_python_3_8():
    ast.parse(Path(profile_device.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))


def python_3_8():
    """An interpreter of it: `PYTHON38`, one of pyenv's, or on the path."""
    installed = Path.home().glob(".pyenv/versions/3.8.*/bin/python")
    for found in (os.environ.get("PYTHON38"), *map(str, installed), shutil.which("python3.8")):
        if found is not None:
            answer = subprocess.run([found, "--version"], capture_output=True, text=True)
            if answer.stdout.startswith("Python 3.8"):
                return found
    return None


def test_the_program_starts_on_python_3_8(kit_folder):
    interpreter = python_3_8()
    if interpreter is None:
        pytest.skip("no Python 3.8: put python3.8 on the path, or name it in PYTHON38")
    environment = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": "error"}
    code, out, err = finished(kit_folder, environment, "--help", interpreter=interpreter)
    assert (code, err) == (0, "")
    assert "--minutes" in out
    script = (
        "import profile_device as p\n"
        "timer = p.timed(lambda: sum(range(1000)), p.time.thread_time_ns)\n"
        "import contextlib\n"
        "opener = lambda: contextlib.nullcontext(timer)\n"
        "found = p.measure([opener, opener], passes=2)\n"
        "assert all(one.latency_ms > 0 for one in found)\n"
        "assert p.describe_machine()['operating_system']\n"
        "assert p.processor_name()\n"
    )
    run = subprocess.run(
        [interpreter, "-I", "-c", f"import sys; sys.path.insert(0, '.')\n{script}"],
        cwd=kit_folder,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_a_kit_runs_on_another_architecture(space, plan, kit, tmp_path):
    """`ARM64_PYTHON` starts Python scripts there, with numpy and onnxruntime and nothing else."""
    interpreter = os.environ.get("ARM64_PYTHON")
    if not interpreter:
        pytest.skip("ARM64_PYTHON names no interpreter for another architecture")
    folder = unpack(kit, tmp_path / "device")
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    with start(folder, environment, "--minutes", "5", interpreter=interpreter) as process:
        code, _, err = stop_after(folder, process, 4, signal.SIGINT)
    assert code == 130, err
    first = visits_in(folder)
    assert result_of(folder)["complete"] is False
    code, out, err = finished(
        folder, environment, "--minutes", "5", interpreter=interpreter, timeout=900
    )
    assert code in (0, 1), err
    assert "Traceback" not in err
    assert f"going on with {len(first)} visits" in out
    assert visits_in(folder)[: len(first)] == first
    result = result_of(folder)
    assert result["complete"] is True
    assert "aarch64" in result["target"]["operating_system"]
    path = folder / "result.json"
    profile = result_profile(read_result(path, kit, accept_noise=True), space, path)
    assert len(profile.layers) + len(profile.subnets) == len(plan.items)
    assert profile.missing == {}


# --- damaged kits ---------------------------------------------------------------------------------


def refused(capsys, folder, *arguments):
    """What the program says of a kit that it does not measure."""
    code = main(["--kit", str(folder), *ENOUGH, *arguments])
    printed = capsys.readouterr()
    assert code == 2, printed
    (line,) = printed.err.splitlines()
    assert line.startswith("profile_device: ")
    return line


def change_manifest(folder, **changes):
    path = folder / "kit.json"
    manifest = json.loads(path.read_bytes()) | changes
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


@pytest.mark.parametrize("name", ["kit.json", "models.zip"])
def test_a_kit_without_one_of_its_files_is_refused(capsys, kit_folder, name):
    (kit_folder / name).unlink()
    assert f"{name} is missing; unpack the whole kit again" in refused(capsys, kit_folder)


@pytest.mark.parametrize("name", ["kit.json", "models.zip"])
@pytest.mark.parametrize("length", [0, 1, 500, -1, -2])
def test_a_truncated_kit_is_refused(capsys, kit_folder, name, length):
    path = kit_folder / name
    data = path.read_bytes()
    path.write_bytes(data[: length - (name == "kit.json" and length < 0)])
    assert "unpack it again" in refused(capsys, kit_folder)
    assert not (kit_folder / "result.json").exists()


@pytest.mark.parametrize("content", [b"[]", b"null", b"3", b'{"items": {"a": 1}}', b"\xff\xfe"])
def test_another_file_as_a_kit_is_refused(capsys, kit_folder, content):
    (kit_folder / "kit.json").write_bytes(content)
    assert "unpack it again" in refused(capsys, kit_folder)


@pytest.mark.parametrize(
    "changes",
    [{"kind": "profile"}, {"format": 2}, {"kind": None}, {"reference": "layer-0"}, {"items": []}],
    ids=str,
)
def test_a_kit_of_another_format_is_refused(capsys, kit_folder, changes):
    change_manifest(kit_folder, **changes)
    refused(capsys, kit_folder)


def rewrite_models(folder, change):
    """Write the models anew; `change` maps name and bytes to bytes (None: left out)."""
    path = folder / "models.zip"
    with zipfile.ZipFile(path) as archive:
        models = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in models.items():
            changed = change(name, data)
            if changed is not None:
                archive.writestr(name, changed)


def test_a_changed_model_is_refused(capsys, kit_folder, plan):
    chosen = f"{plan.items[0].id}.onnx"
    rewrite_models(kit_folder, lambda name, data: data + b"\0" if name == chosen else data)
    assert f"{chosen} in models.zip was changed" in refused(capsys, kit_folder)


def test_an_absent_model_is_refused(capsys, kit_folder, plan):
    chosen = f"{plan.items[0].id}.onnx"
    rewrite_models(kit_folder, lambda name, data: None if name == chosen else data)
    line = refused(capsys, kit_folder)
    assert "models.zip is damaged" in line
    assert chosen in line


def test_exchanged_models_are_refused(capsys, kit_folder, plan):
    first, second = (f"{item.id}.onnx" for item in plan.items[:2])
    kept = {}
    rewrite_models(kit_folder, lambda name, data: kept.setdefault(name, data))
    other = {first: kept[second], second: kept[first]}
    rewrite_models(kit_folder, lambda name, data: other.get(name, data))
    assert "was changed" in refused(capsys, kit_folder)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_models_damaged_inside_are_refused(capsys, kit_folder, place, plan):
    path = kit_folder / "models.zip"
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
        start = first.header_offset + 30 + len(first.filename)
        at = start + int(place * first.compress_size)
    data = bytearray(path.read_bytes())
    data[at : at + 8] = bytes(byte ^ 0xFF for byte in data[at : at + 8])
    path.write_bytes(data)
    assert "unpack the kit again" in refused(capsys, kit_folder)


def test_what_was_measured_before_the_damage_was_met_is_kept(capsys, kit_folder, plan):
    chosen = f"{plan.items[-1].id}.onnx"
    rewrite_models(kit_folder, lambda name, data: data[:-9] if name == chosen else data)
    refused(capsys, kit_folder)
    done = set(visits_in(kit_folder))
    assert {item["id"] for item in result_of(kit_folder)["items"]} == done
    assert plan.items[-1].id not in done


def replace_model(folder, item, data):
    """Exchange a network of a kit, and its hash in the manifest."""
    rewrite_models(folder, lambda name, old: data if name == f"{item.id}.onnx" else old)
    items = json.loads((folder / "kit.json").read_bytes())["items"]
    for one in items:
        if one["id"] == item.id:
            one["sha256"] = sha256(data).hexdigest()
    change_manifest(folder, items=items)


@pytest.mark.parametrize("which", ["a subnet", "the reference"])
def test_a_network_that_onnx_runtime_refuses_is_left_out(capsys, kit_folder, plan, which):
    (reference,) = [item for item in plan.items if item.id == plan.reference]
    item = reference if which == "the reference" else plan.items[-1]
    assert which == "the reference" or item != reference
    replace_model(kit_folder, item, b"no model")
    assert main(["--kit", str(kit_folder), *ENOUGH]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"left out {item.id}: ONNX Runtime cannot open a model: ")
    result = result_of(kit_folder)
    assert result["complete"] is True
    there = {one.id for one in plan.items} - {item.id}
    assert {one["id"] for one in result["items"]} == there
    assert (result["drift"] is None) or which == "a subnet"


def test_windows_of_another_kit_are_not_taken_for_this_ones(capsys, measured_folder, tmp_path):
    windows = measured_folder / "result.windows.jsonl"
    before = windows.read_bytes()
    change_manifest(measured_folder, seed=77)  # the same networks, another kit
    said = refused(capsys, measured_folder)
    assert "holds unfinished measurements of another plan" in said
    assert "choose another --out, or remove it" in said
    assert windows.read_bytes() == before
    out = tmp_path / "result.json"
    assert main(["--kit", str(measured_folder), *ENOUGH, "--out", str(out)]) == 0
    assert "going on" not in capsys.readouterr().out
    counts = {item["id"]: item["visits"] for item in result_of(tmp_path)["items"]}
    assert Counter(visits_in(tmp_path)) == counts


# --- bad arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threads", "0"], "argument --threads: expected more than 0, got 0"),
        (["--threads", "two"], "argument --threads: invalid int value: 'two'"),
        (["--threads", "1.5"], "argument --threads: invalid int value"),
        (["--minutes", "-1"], "argument --minutes: expected more than 0, got -1"),
        (["--minutes", "nan"], "argument --minutes: expected more than 0, got nan"),
        (["--minutes", "inf"], "argument --minutes: expected more than 0, got inf"),
        (["--batch-size", "0"], "argument --batch-size: expected more than 0"),
        (["--cores", "one"], "argument --cores"),
        (["--cores", ""], "argument --cores"),
        (["--models"], "argument --models"),
        (["--minute", "1", "--surplus"], "unrecognized arguments: --surplus"),
        (["surplus"], "unrecognized arguments: surplus"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cores", "99999"], "expected cores among"),
        (["--cores", "-1"], "expected cores among"),
        (["--provider", "NoProvider"], "has no NoProvider; it has"),
        (["--kit", "no such folder"], "kit.json is missing"),
    ],
    ids=str,
)
def test_what_the_device_lacks_is_named(capsys, kit_folder, arguments, said):
    assert said in refused(capsys, kit_folder, *arguments)


@pytest.mark.parametrize(
    "argument",
    [
        ("--cores", "99999"),
        ("--provider", "NoProvider"),
        ("--threads", "2"),  # another target
    ],
    ids=str,
)
def test_a_wrong_argument_loses_nothing_that_was_measured(capsys, measured_folder, argument):
    paths = [measured_folder / name for name in ("result.json", "result.windows.jsonl")]
    before = [path.read_bytes() for path in paths]
    refused(capsys, measured_folder, *argument)
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.parametrize("case", ["kit", "out", "folder", "absent model", "damaged model"])
def test_files_that_cannot_be_used_are_named(capsys, kit_folder, case):
    file = kit_folder / "kit.json"
    arguments = {
        "kit": ["--kit", str(file)],
        "out": ["--out", str(file / "result.json")],
        "folder": ["--out", str(kit_folder), "--minutes", "0.005"],
        "absent model": ["--models", "absent.onnx"],
        "damaged model": ["--models", str(file)],
    }[case]
    refused(capsys, kit_folder, *arguments)


# --- the result's file ----------------------------------------------------------------------------


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    out = tmp_path / "result.json"
    kit = SimpleNamespace(manifest={}, sha256="0", reference="a")
    session = SimpleNamespace(visits={"a": []}, measurements=dict)
    write_result(out, kit, {}, session, complete=True)
    before = out.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_result(out, kit, {}, session, complete=False)
    assert out.read_bytes() == before


def test_the_result_is_written_now_and_then(kit_folder, monkeypatch):
    """Every half minute, so that a device that dies leaves what it had."""
    written = []
    monkeypatch.setattr(
        profile_device,
        "write_result",
        lambda out, kit, target, session, complete: written.append(
            (complete, sum(map(len, session.visits.values())))
        ),
    )
    now = iter(range(10**9, 2 * 10**9, 10))  # ten seconds between two looks at the clock
    monkeypatch.setattr(
        profile_device, "time", SimpleNamespace(**vars(time) | {"monotonic": lambda: next(now)})
    )
    main(["--kit", str(kit_folder), *ENOUGH])
    assert written[-1][0] is True
    assert len(written) > 3
    assert not any(complete for complete, _ in written[:-1])
    assert [count for _, count in written] == sorted(count for _, count in written)
