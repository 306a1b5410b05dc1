import json
import shutil
from hashlib import sha256

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import nas
from hardware_profiles.profile_device import measure_models
from hardware_profiles.target import Target
from nas.artifacts import load_supernet, subnet_evaluator
from nas.device import run_device
from nas.exporting.export import export_subnet
from nas.exporting.in_memory import export_in_memory
from nas.exporting.manifest import Manifest
from nas.exporting.parity import ParityError
from nas.finetuning.fine_tuned import Weights
from nas.run_directory import open_run
from search_spaces import InputError
from search_spaces.layer_kind import TensorSpec
from search_spaces.supernet import resize


def files(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_folder_of_the_winner(finished):
    assert files(finished.folder) == {
        "model.onnx",
        "architecture.json",
        "reference.npz",
        "sample.npz",
        "predict.py",
        "profile_device.py",
        "README.md",
        "manifest.json",
    }
    manifest = Manifest.load(finished.folder / "manifest.json")
    assert set(manifest.files) == files(finished.folder) - {"manifest.json"}
    for name, digest in manifest.files.items():
        assert sha256((finished.folder / name).read_bytes()).hexdigest() == digest
    assert finished.folder.name == manifest.architecture_id
    assert manifest.space == "mobilenet-digits@1"
    assert all(parity.ok for parity in manifest.parity.values())
    architecture = json.loads((finished.folder / "architecture.json").read_text())
    assert architecture["id"] == manifest.architecture_id
    run = finished.open()
    genome = run.space.encode(run.space.architecture(architecture["values"]))
    assert dict(manifest.costs) == run.space.layers.costs(genome).row(0)
    for key in ("supernet", "profile", "seed", "data", "versions"):
        assert key in manifest.made_from


def test_the_file_answers_raw_images_as_the_manifest_says(finished):
    """A deployer's view: nothing of this project but the manifest, and the stated accuracy."""
    manifest = json.loads((finished.folder / "manifest.json").read_text())
    steps = manifest["preprocessing"]
    data = finished.open().data
    images = torch.from_numpy(data.test.inputs[0]).float() / 255
    mean, std = (torch.tensor(steps[name])[None, :, None, None] for name in ("mean", "std"))
    size = (steps["channels"], steps["height"], steps["width"])
    (inputs,) = resize(((images - mean) / std,), [TensorSpec(size)])
    session = onnxruntime.InferenceSession(
        finished.folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    accuracy = float((logits.argmax(axis=1) == data.test.targets).mean())
    assert accuracy == pytest.approx(manifest["test_accuracy"], abs=1.5 / len(data.test))
    assert accuracy == pytest.approx(finished.result.winner.test_accuracy, abs=1.5 / len(data.test))
    assert manifest["class_names"] == list("0123456789")
    assert (manifest["metric"], manifest["classification"]) == ("accuracy", True)
    assert steps["kind"] == "image"
    assert manifest["inputs"] == {"input": {"shape": list(size), "dtype": "float32", "free": []}}
    assert manifest["outputs"] == ["logits"]


def test_the_reference_holds_inputs_and_outputs_of_the_subnet(finished):
    with np.load(finished.folder / "reference.npz", allow_pickle=False) as reference:
        inputs, logits = reference["inputs.input"], reference["outputs.logits"]
    assert inputs.shape[0] == logits.shape[0] == 32
    assert logits.shape[1] == 10
    assert inputs.dtype == logits.dtype == np.float32
    assert len({row.argmax() for row in logits}) > 2, "more than one answer"


def test_the_model_loads_in_old_runtimes(finished):
    model = onnx.load(finished.folder / "model.onnx")
    assert model.ir_version <= 8
    assert [opset.version for opset in model.opset_import] == [17]
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["architecture_id"] == finished.folder.name
    assert metadata["space"] == "mobilenet-digits@1"


@pytest.fixture(scope="module")
def largest(finished, tmp_path_factory):
    """The largest subnet, exported from a copy of the run: (run, result)."""
    path = shutil.copytree(finished.path, tmp_path_factory.mktemp("largest") / "run")
    shutil.rmtree(path / "subnets")  # it may be the winner, with a budget
    return path, nas.export(path, "largest")


def test_exporting_by_name(largest):
    path, result = largest
    run = open_run(path)
    id_ = run.space.decode(run.space.largest()[0]).id
    assert result.directory == str(path / "subnets" / id_)
    manifest = Manifest.load(path / "subnets" / id_ / "manifest.json")
    assert result.files == manifest.files
    assert manifest.budget_ms is None
    assert result.measured_latency_ms == manifest.measured[0].latency_ms
    assert manifest.measured[0].target == run_device(run).profile.target
    for parity in result.parity.values():
        assert set(parity) == {"max_abs_difference", "top1_agreement"}
    assert nas.verify(result.directory).ok


def test_exporting_again_replaces_the_folder_and_keeps_the_budget(finished, copied):
    winner = finished.result.winner.architecture_id
    folder = copied / "subnets" / winner
    before = Manifest.load(folder / "manifest.json")
    (folder / "left-over").write_text("x")
    nas.export(copied, winner)
    after = Manifest.load(folder / "manifest.json")
    assert "left-over" not in files(folder)
    assert after.files == before.files, "the same weights give the same bytes"
    assert after.budget_ms in (before.budget_ms, None)


def test_a_folder_of_an_earlier_format_is_replaced(copied):
    folder = nas.export(copied, "smallest").directory
    path = copied / "subnets" / folder.rpartition("/")[2] / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "models": 5}))
    assert nas.export(copied, "smallest").directory == folder
    assert Manifest.load(path).format == 3


class Ingredients:
    """What `export_subnet` takes, of the smallest subnet of a run."""

    def __init__(self, path):
        self.run = open_run(path)
        self.supernet = load_supernet(self.run)
        self.evaluator = subnet_evaluator(self.run, self.supernet)
        self.device = run_device(self.run)
        architecture = self.run.space.decode(self.run.space.smallest()[0])
        self.exported = export_in_memory(self.evaluator, architecture)
        self.folder = self.run.subnets_path / architecture.id
        shutil.rmtree(self.folder, ignore_errors=True)  # where it happens to be the winner
        self.measurement = measure_models([self.exported.model], 1)[0]

    def export(self, budget_ms=None, **target):
        """Export as measured on the target with some fields changed."""
        here = self.device.profile.target.model_dump()
        return self.export_measured((Target(**{**here, **target}), self.measurement), budget_ms)

    def export_measured(self, measured, budget_ms):
        return export_subnet(
            self.run,
            self.exported,
            measured,
            weights=Weights(self.supernet, self.evaluator),
            profile_sha256=self.device.profile_sha256,
            predicted_latency_ms=1.0,
            budget_ms=budget_ms,
        )[1]


def test_weights_that_change_between_extraction_and_gate_leave_nothing(copied):
    parts = Ingredients(copied)
    before = {path.name for path in parts.run.subnets_path.iterdir()}
    with torch.no_grad():
        for parameter in parts.supernet.parameters():
            parameter.add_(0.02 * torch.sign(parameter))
    with pytest.raises(ParityError, match="supernet"):
        parts.export()
    assert {path.name for path in parts.run.subnets_path.iterdir()} == before


def test_a_failing_gate_leaves_the_earlier_export(copied):
    parts = Ingredients(copied)
    parts.export()
    before = {path.name: path.read_bytes() for path in parts.folder.iterdir()}
    with torch.no_grad():
        for parameter in parts.supernet.parameters():
            parameter.add_(0.02 * torch.sign(parameter))
    with pytest.raises(ParityError):
        parts.export()
    assert {path.name: path.read_bytes() for path in parts.folder.iterdir()} == before


def test_the_tightest_budget_that_is_kept_is_stated(copied):
    parts = Ingredients(copied)
    latency = parts.measurement.latency_ms
    assert parts.export(10 * latency).budget_ms == 10 * latency
    assert parts.export(5 * latency).budget_ms == 5 * latency
    assert parts.export(8 * latency).budget_ms == 5 * latency
    assert parts.export(None).budget_ms == 5 * latency


def test_a_budget_of_another_target_is_none_of_this_one(copied):
    parts = Ingredients(copied)
    latency = parts.measurement.latency_ms
    assert parts.export(5 * latency).budget_ms == 5 * latency
    other = parts.export(10 * latency, threads=2)
    assert other.budget_ms == 10 * latency, "what 1 thread was asked for says nothing about 2"
    assert other.measured[0].target.threads == 2


def test_a_prediction_for_a_device_elsewhere_leaves_what_was_measured_here(copied):
    """The same subnet may be the best one there: an earlier search names this folder as winner."""
    parts = Ingredients(copied)
    before = parts.export(5 * parts.measurement.latency_ms)
    after = parts.export_measured(None, None)
    assert after.files == before.files
    assert after.measured == before.measured
    assert after.budget_ms == before.budget_ms


@pytest.mark.parametrize("name", ["abcdef0123", "", "no/such/file.json", "{"])
def test_unknown_architectures_are_refused(copied, name):
    before = {path.name for path in (copied / "subnets").iterdir()}
    with pytest.raises(InputError):
        nas.export(copied, name)
    assert {path.name for path in (copied / "subnets").iterdir()} == before
