"""`nas verify` on a real exported folder, whole and with planted faults."""

import io
import json
import shutil
from hashlib import sha256
from unittest.mock import MagicMock

import numpy as np
import onnx
import pytest

from nas.exporting.verify import verify_folder
from search_spaces import InputError
from tests.nas.command_line import python


def change_manifest(folder, change) -> None:
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def replace_file(folder, name: str, content: bytes) -> None:
    """Replace a file and make its hash right: only a closer look tells."""
    (folder / name).write_bytes(content)
    digest = sha256(content).hexdigest()
    change_manifest(folder, lambda data: data["files"].update({name: digest}))


def reference_arrays(folder) -> dict[str, np.ndarray]:
    with np.load(folder / "reference.npz", allow_pickle=False) as reference:
        return {name: reference[name] for name in reference.files}


def replace_reference(folder, **changes) -> None:
    arrays = {**reference_arrays(folder), **changes}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    replace_file(folder, "reference.npz", buffer.getvalue())


# --- a folder without faults ----------------------------------------------------------------------


def test_an_untouched_folder_passes(exported, nas_command):
    answer = nas_command("verify", exported, "--json")
    assert answer.code == 0, answer.stdout
    assert answer.json["ok"] is True
    names = [check["name"] for check in answer.json["checks"]]
    assert {"hash of model.onnx", "graph", "parity", "latency"} <= set(names)
    assert all(set(check) == {"name", "ok", "detail"} for check in answer.json["checks"])
    latency = next(check for check in answer.json["checks"] if check["name"] == "latency")
    assert "budget" in latency["detail"], "measured here, against what was promised"


def test_verifying_needs_no_torch(exported):
    code = (
        "import sys; from nas.cli import app\n"
        "try: app(['verify', sys.argv[1]])\n"
        "except SystemExit as stop: code = stop.code\n"
        "loaded = {'torch', 'sklearn', 'pymoo'} & set(sys.modules)\n"
        "sys.exit(f'loaded {loaded}' if loaded else code)"
    )
    result = python(code, exported)
    assert result.returncode == 0, result.stderr + result.stdout


def test_a_folder_of_another_machine_is_not_held_against_its_latency(exported):
    def move(data):
        data["measured"][0]["target"]["device"] = "some other processor"
        data["measured"][0].update(latency_ms=1e-9, noise=0.0)
        data["budget_ms"] = 1e-9

    change_manifest(exported, move)
    verification = verify_folder(exported)
    assert verification.ok
    assert "not compared" in verification.checks[-1].detail


def test_a_folder_without_a_budget_passes(exported):
    change_manifest(exported, lambda data: data.update(budget_ms=None))
    verification = verify_folder(exported)
    assert verification.ok
    assert "no budget" in verification.checks[-1].detail


# --- planted faults -------------------------------------------------------------------------------


def flip_a_byte_of_the_model(folder):
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)


def edit_a_hash(folder):
    digest = "0" * 64
    change_manifest(folder, lambda data: data["files"].update({"architecture.json": digest}))


def replace_reference_outputs(folder):
    logits = reference_arrays(folder)["outputs.logits"] + np.float32(0.1)
    replace_reference(folder, **{"outputs.logits": logits})


def replace_reference_inputs(folder):
    inputs = reference_arrays(folder)["inputs.input"][::-1].copy()
    replace_reference(folder, **{"inputs.input": inputs})


def change_a_weight(folder):
    model = onnx.load(folder / "model.onnx")
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = onnx.numpy_helper.to_array(weight).copy()
    values += np.float32(0.05)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    replace_file(folder, "model.onnx", model.SerializeToString())


def promise_the_impossible(folder):
    change_manifest(folder, lambda data: data.update(budget_ms=1e-6))


def remove_a_file(folder):
    (folder / "reference.npz").unlink()


def point_outside(folder):
    outside = folder.parent / "outside"
    outside.write_bytes(b"secret")
    digest = sha256(b"secret").hexdigest()
    change_manifest(folder, lambda data: data["files"].update({"../outside": digest}))


def point_to_an_absolute_path(folder):
    outside = folder.parent / "outside"
    outside.write_bytes(b"secret")
    digest = sha256(b"secret").hexdigest()
    change_manifest(folder, lambda data: data["files"].update({str(outside): digest}))


def list_no_model(folder):
    change_manifest(folder, lambda data: data["files"].pop("model.onnx"))


def list_nothing(folder):
    change_manifest(folder, lambda data: data.update(files={}))


FAULTS = {
    "hash of model.onnx": flip_a_byte_of_the_model,
    "hash of architecture.json": edit_a_hash,
    "parity": replace_reference_outputs,
    "parity ": replace_reference_inputs,
    "parity  ": change_a_weight,
    "latency": promise_the_impossible,
    "hash of reference.npz": remove_a_file,
    "hash of ../outside": point_outside,
    "hash of /": point_to_an_absolute_path,
    "manifest": list_no_model,
    "manifest ": list_nothing,
}


@pytest.mark.parametrize(
    ("check", "plant"), FAULTS.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_planted_faults_are_found(exported, nas_command, check, plant):
    plant(exported)
    answer = nas_command("verify", exported, "--json")
    assert answer.code == 1, answer
    assert answer.json["ok"] is False
    failed = [c["name"] for c in answer.json["checks"] if not c["ok"]]
    assert len(failed) == 1
    assert failed[0].startswith(check.strip())
    assert answer.stderr == ""
    told = nas_command("verify", exported)
    assert told.code == 1
    assert f"FAILED  {failed[0]}" in told.stdout


def test_secrets_outside_the_folder_are_not_told(exported):
    point_outside(exported)
    details = [check.detail for check in verify_folder(exported).checks]
    assert not any(sha256(b"secret").hexdigest()[:12] in detail for detail in details)


def garbage_model(folder):
    replace_file(folder, "model.onnx", b"no model" * 50)


def empty_model(folder):
    replace_file(folder, "model.onnx", b"")


def truncated_model(folder):
    content = (folder / "model.onnx").read_bytes()
    replace_file(folder, "model.onnx", content[: len(content) // 2])


def garbage_reference(folder):
    replace_file(folder, "reference.npz", b"no arrays" * 50)


def reference_without_logits(folder):
    replace_reference(folder, **{"outputs.logits": None})


def reference_of_other_classes(folder):
    logits = reference_arrays(folder)["outputs.logits"][:, :7]
    replace_reference(folder, **{"outputs.logits": logits})


def reference_of_another_size(folder):
    replace_reference(folder, **{"inputs.input": np.zeros((4, 1, 3, 3), np.float32)})


def reference_of_nothing(folder):
    arrays = reference_arrays(folder)
    replace_reference(folder, **{name: array[:0] for name, array in arrays.items()})


def reference_of_objects(folder):
    buffer = io.BytesIO()
    np.savez(buffer, **{"inputs.input": np.array([None]), "outputs.logits": np.array([None])})
    replace_file(folder, "reference.npz", buffer.getvalue())


def nothing_measured(folder):
    change_manifest(folder, lambda data: data.update(measured=[]))


@pytest.mark.parametrize(
    "plant",
    [
        garbage_model,
        empty_model,
        truncated_model,
        garbage_reference,
        reference_without_logits,
        reference_of_other_classes,
        reference_of_another_size,
        reference_of_nothing,
        reference_of_objects,
        nothing_measured,
    ],
    ids=lambda plant: plant.__name__,
)
def test_files_that_cannot_be_used_are_failures_not_crashes(exported, nas_command, plant):
    """Their hashes are right, so the checks that open them must say what is wrong."""
    plant(exported)
    answer = nas_command("verify", exported)
    assert "Traceback" not in answer.stderr, answer.stderr
    assert answer.code in (1, 2)
    assert "FAILED" in answer.stdout or answer.stderr.startswith("nas: ")


# --- no manifest ----------------------------------------------------------------------------------


def test_a_folder_without_a_manifest_is_refused(tmp_path, nas_command):
    for folder in (tmp_path, tmp_path / "absent"):
        nas_command("verify", folder).assert_refused("manifest.json")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_manifest_is_refused(exported, nas_command, share):
    path = exported / "manifest.json"
    path.write_text(path.read_text()[: int(share * path.stat().st_size)])
    nas_command("verify", exported).assert_refused("manifest.json")


def test_a_manifest_of_another_format_names_its_version(exported):
    change_manifest(exported, lambda data: data.update(format=9, tool_version="4.5.6"))
    with pytest.raises(InputError, match=r"format 9 written by version 4\.5\.6"):
        verify_folder(exported)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "run"},
        {"files": 3},
        {"surprise": 1},
        {"budget_ms": "fast"},
        {"measured": [{"latency_ms": 1}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_manifest_with_bad_values_is_refused(exported, change):
    change_manifest(exported, lambda data: data.update(change))
    with pytest.raises(InputError, match=r"manifest\.json"):
        verify_folder(exported)


# --- further files, other runs --------------------------------------------------------------------


def failed(folder) -> list[str]:
    return [check.name for check in verify_folder(folder).checks if not check.ok]


def test_a_byte_of_any_file_is_seen(further):
    for path in sorted(further.iterdir()):
        if path.name == "manifest.json":
            continue
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 1
        path.write_bytes(content)
    names = json.loads((further / "manifest.json").read_text())["files"]
    assert failed(further) == [f"hash of {name}" for name in names]
    assert len(names) == 11


@pytest.mark.parametrize("name", ["model.ort", "model.pixels.onnx", "model.batch3.opset18.onnx"])
def test_a_further_file_of_other_weights_fails(further, name):
    """Another file of the same kind, its hash made right."""
    other = "model.pixels.batch2.opset16.ort" if name == "model.ort" else "model.onnx"
    replace_file(further, name, (further / other).read_bytes())
    assert failed(further)[0].endswith(f"of {name}") or failed(further)[0] == "identity"


@pytest.mark.parametrize("name", ["model.ort", "model.onnx"])
def test_sparse_weights_in_another_file_are_not_opened(further, monkeypatch, name):
    """ONNX Runtime would read them, wherever they lie, also where the manifest says ort."""
    reading = onnx.load(further / "model.onnx")
    (further / "secret").write_bytes(b"\0" * 4)
    number = onnx.numpy_helper.from_array(np.ones(1, np.float32), "secret")
    onnx.external_data_helper.set_external_data(number, "secret")
    number.ClearField("raw_data")
    number.data_location = onnx.TensorProto.EXTERNAL
    places = onnx.helper.make_tensor("places", onnx.TensorProto.INT64, [1], [0])
    sparse = onnx.helper.make_sparse_tensor(number, places, [1])
    reading.graph.sparse_initializer.append(sparse)
    replace_file(further, name, reading.SerializeToString())
    monkeypatch.chdir(further)
    opened = MagicMock()
    monkeypatch.setattr("nas.exporting.checks.onnx_session", opened)
    assert failed(further) == ["graph" if name == "model.onnx" else f"graph of {name}"]
    opened.assert_not_called()


@pytest.mark.parametrize("change", [{"provider": "AbsentProvider"}, {"precision": "int8"}])
def test_what_the_manifest_says_of_the_plain_file_does_not_spare_it(exported, change):
    replace_reference_outputs(exported)
    change_manifest(exported, lambda data: data["models"]["model.onnx"].update(change))
    assert failed(exported)


def test_a_latency_is_above_zero(exported):
    change_manifest(exported, lambda data: data["measured"][0].update(latency_ms=-1.0))
    with pytest.raises(InputError, match="latency_ms"):
        verify_folder(exported)


def test_a_link_that_leads_to_itself_is_a_missing_file(exported):
    (exported / "reference.npz").unlink()
    (exported / "reference.npz").symlink_to("reference.npz")
    assert failed(exported) == ["hash of reference.npz"]


def test_inputs_that_are_no_numbers_are_not_those_of_the_samples(exported):
    """Deviations of 0 make 0 / 0 of a pixel that is the mean."""
    with np.load(exported / "sample.npz") as sample:
        x = np.zeros_like(sample["x"])
    buffer = io.BytesIO()
    np.savez(buffer, x=x)
    replace_file(exported, "sample.npz", buffer.getvalue())
    change_manifest(
        exported,
        lambda data: data["preprocessing"].update(
            mean=[0.0] * len(data["preprocessing"]["mean"]),
            std=[0.0] * len(data["preprocessing"]["std"]),
        ),
    )
    with np.errstate(invalid="ignore"):
        assert failed(exported) == ["preprocessing"]


def test_names_cannot_write_to_the_terminal(exported, nas_command):
    change_manifest(exported, lambda data: data["files"].update({"\r\x1b]0;model": "0" * 64}))
    answer = nas_command("verify", exported)
    assert answer.code == 1
    assert "\x1b" not in answer.stdout
    change_manifest(exported, lambda data: data.update(format=9, tool_version="\x1b]0;model"))
    answer = nas_command("verify", exported)
    assert answer.code == 2
    assert "\x1b" not in answer.stderr


def test_external_data_outside_the_folder_are_not_opened(exported):
    (exported.parent / "weights.bin").write_bytes(b"\0" * 10**6)
    model = onnx.load(exported / "model.onnx")
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    onnx.external_data_helper.set_external_data(weight, "../weights.bin")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    replace_file(exported, "model.onnx", model.SerializeToString())
    (check,) = [one for one in verify_folder(exported).checks if not one.ok]
    assert check.name == "graph"
    assert "another file" in check.detail


def test_a_link_out_of_the_folder_is_not_followed(exported):
    outside = exported.parent / "outside.npz"
    (exported / "sample.npz").rename(outside)
    (exported / "sample.npz").symlink_to(outside)
    (check,) = [one for one in verify_folder(exported).checks if not one.ok]
    assert "outside the folder" in check.detail


def test_an_operator_that_is_not_listed_fails(exported):
    model = onnx.load(exported / "model.onnx")
    model.graph.node[-1].op_type = "Softsign"
    replace_file(exported, "model.onnx", model.SerializeToString())
    (check,) = [one for one in verify_folder(exported).checks if not one.ok]
    assert (check.name, "Softsign" in check.detail) == ("graph", True)


def test_a_manifest_from_another_folder_fails(exported, further):
    shutil.copy(further / "manifest.json", exported / "manifest.json")
    assert "hash of model.onnx" in failed(exported)


def test_a_manifest_from_another_run_fails_though_its_hashes_are_made_right(exported, further):
    other = json.loads((further / "manifest.json").read_text())
    own = json.loads((exported / "manifest.json").read_text())
    change_manifest(exported, lambda data: data.update(architecture_id=other["architecture_id"]))
    assert failed(exported) == ["identity"]
    change_manifest(exported, lambda data: data.update(architecture_id=own["architecture_id"]))
    change_manifest(exported, lambda data: data["class_names"].reverse())
    assert failed(exported) == ["identity"], "swapped classes"


@pytest.mark.parametrize("key", ["mean", "std"])
def test_a_manifest_that_prepares_inputs_otherwise_fails(exported, key):
    change_manifest(exported, lambda data: data["preprocessing"].update({key: [0.123]}))
    assert failed(exported) == ["preprocessing"]


@pytest.mark.parametrize("name", ["..\\outside", "../../etc/passwd", "sub/model.onnx", ".."])
def test_names_that_leave_the_folder_fail(exported, name):
    change_manifest(exported, lambda data: data["files"].update({name: "0" * 64}))
    assert failed(exported) == [f"hash of {name}"]


def test_a_model_that_has_no_hash_fails(further):
    change_manifest(further, lambda data: data["files"].pop("model.ort"))
    assert failed(further) == ["manifest"]


def test_manifests_of_the_format_before_name_their_version(exported):
    change_manifest(exported, lambda data: data.update(format=2, tool_version="0.0.9"))
    with pytest.raises(InputError, match=r"format 2 written by version 0\.0\.9"):
        verify_folder(exported)
