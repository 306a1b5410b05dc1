"""Further model files beside the plain one."""

import json
import shutil
from hashlib import sha256

import onnxruntime
import pytest

import nas
from nas.exporting.earlier import with_earlier
from nas.exporting.export import check_target
from nas.exporting.manifest import Manifest
from nas.exporting.model_options import ModelOptions
from nas.exporting.model_set import ModelSet
from nas.exporting.request import ExportRequest
from nas.exporting.verify import verify_folder
from search_spaces import InputError

NAMES = [
    "model.onnx",
    "model.ort",
    "model.pixels.onnx",
    "model.batch3.opset18.onnx",
    "model.pixels.batch2.opset16.ort",
]


def test_every_file_states_what_it_is_and_what_was_proven(further_folder):
    manifest = Manifest.load(further_folder / "manifest.json")
    assert list(manifest.models) == NAMES
    for name, one in manifest.models.items():
        digest = sha256((further_folder / name).read_bytes()).hexdigest()
        assert manifest.files[name] == digest
        assert one.parity.ok
        assert one.random_parity.ok
        assert one.random_parity.n == 160
        assert one.accuracy == pytest.approx(manifest.validation_accuracy, abs=0.005)
        assert one.exporter == "supernet-engine"
        assert "Conv" in one.operators
        measured = [found for found in manifest.measured if found.file == name]
        assert [found.target.batch_size for found in measured] == [one.batch or 1]
    pixels = manifest.models["model.pixels.onnx"]
    assert pixels.inputs["pixels"].model_dump() == {
        "shape": (8, 8, 1),
        "dtype": "uint8",
        "free": (),
    }
    assert manifest.inputs["input"].shape == (1, 12, 12)
    assert manifest.models["model.batch3.opset18.onnx"].opset == 18
    assert manifest.licences["data"].endswith("CC BY 4.0")


def test_a_folder_of_several_files_verifies(further_folder):
    verification = verify_folder(further_folder)
    names = [check.name for check in verification.checks]
    assert {"graph", "parity", "identity", "preprocessing", "latency"} <= set(names)
    assert {f"parity of {name}" for name in NAMES[1:]} <= set(names)
    assert verification.ok, [check for check in verification.checks if not check.ok]


@pytest.mark.parametrize("name", NAMES)
def test_files_say_what_they_are(further_folder, name):
    session = onnxruntime.InferenceSession(
        further_folder / name, providers=["CPUExecutionProvider"]
    )
    told = session.get_modelmeta().custom_metadata_map
    manifest = Manifest.load(further_folder / "manifest.json")
    assert told["architecture_id"] == manifest.architecture_id
    assert json.loads(told["architecture"])["resolution"] == 12
    assert json.loads(told["class_names"]) == list("0123456789")
    assert float(told["validation_accuracy"]) == manifest.validation_accuracy
    assert told["target"] == str(manifest.measured[0].target)
    assert told["tool_version"] == manifest.tool_version


def test_a_plain_export_leaves_further_files_of_the_same_weights(copied):
    shutil.rmtree(copied / "subnets")  # no budget to be missed on a busy machine
    folder = nas.export(copied, "smallest", format="ort").directory
    first = Manifest.load(copied / "subnets" / folder.rpartition("/")[2] / "manifest.json")
    assert list(first.models) == ["model.onnx", "model.ort"]
    again = nas.export(copied, "smallest", opset=18)
    assert list(again.models) == ["model.onnx", "model.opset18.onnx", "model.ort"]
    assert again.files["model.ort"] == first.files["model.ort"]
    manifest = Manifest.load(copied / "subnets" / folder.rpartition("/")[2] / "manifest.json")
    assert {one.file for one in manifest.measured} == set(manifest.models)
    assert "model.ort batch 1" in manifest.parity
    assert verify_folder(copied / "subnets" / manifest.architecture_id).checks[0].ok


def test_files_that_the_target_does_not_run_are_refused(finished):
    target = finished.result.target.model_copy(update={"runtime": "torch-cpu"})
    check_target(target, ExportRequest())
    with pytest.raises(InputError, match=r"model\.ort runs under ONNX Runtime"):
        check_target(target, ExportRequest(files=(ModelOptions(format="ort"),)))


REFUSED = {
    "an old opset": (["--opset", "9"], "opset from 16"),
    "a batch outside": (["--batch", "0"], "batch from 1"),
    "a format": (["--format", "tflite"], "onnx, ort"),
    "a precision": (["--precision", "int3"], "fp32"),
    "a preprocessing": (["--preprocessing", "none"], "graph"),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_options_that_files_cannot_have_are_refused(finished, nas_command, options, words):
    nas_command("export", finished.path, "smallest", *options).assert_refused(words)


def test_options_of_searches_are_refused(finished, nas_command):
    answer = nas_command("export", finished.path, "--budgets", "90%", "--opset", "18")
    answer.assert_refused("--opset goes with ARCH")


def test_names_in_a_manifest_that_lead_elsewhere_bring_nothing_along(further):
    manifest = Manifest.load(further / "manifest.json")
    shutil.copyfile(further / "model.ort", further.parent / "model.ort")
    name = "../model.ort"
    changed = manifest.model_copy(
        update={
            "models": {**manifest.models, name: manifest.models["model.ort"]},
            "files": {**manifest.files, name: manifest.files["model.ort"]},
        }
    )
    models, _ = with_earlier(ModelSet({}, {}, {}), further, changed)
    assert set(models.contents) == set(manifest.models)
