"""Texts, sequences, several outputs, regression and segmentation through the whole pipeline."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import nas
from nas.exporting.manifest import Manifest
from nas.exporting.verify import verify_folder
from nas.run_directory import open_run
from tests.nas.own_families import HERE
from tests.nas.settings import LEAST

STILL = ("training.shift=0", "training.rotate=0", "training.scale=0")
JOBS = {
    "texts": (
        f"space.name={HERE}:text_space",
        f"data.source={HERE}:masked_texts",
        "data.vocabulary=50",
        "training.optimizer=adamw",
        "training.learning_rate=0.01",
    ),
    "regression of sequences": (
        f"space.name={HERE}:sequence_space",
        f"data.source={HERE}:slopes",
        f"task.loss={HERE}:squared_error",
        f"task.metric={HERE}:r2",
    ),
    "two outputs": (
        f"space.name={HERE}:two_headed",
        f"task.loss={HERE}:both_losses",
        f"task.metric={HERE}:both_right",
        "data.max_samples=640",
    ),
    "segmentation": (
        f"space.name={HERE}:map_space",
        f"data.source={HERE}:bright_pixels",
        f"task.loss={HERE}:pixel_loss",
        f"task.metric={HERE}:pixel_accuracy",
        f"task.distillation={HERE}:pixel_distance",
        *STILL,
    ),
}


METRICS = dict(zip(JOBS, ("accuracy", "r2", "both_right", "pixel_accuracy"), strict=True))


@pytest.fixture(scope="module", params=JOBS)
def job(request, tmp_path_factory):
    """A whole run: (name, path, result)."""
    path = tmp_path_factory.mktemp("job") / "run"
    result = nas.run(out=path, overrides=(*LEAST, *JOBS[request.param]))
    return request.param, path, result


def test_the_whole_job_ends_with_a_model_that_verifies(job):
    name, path, result = job
    winner = result.winner
    assert winner is not None
    folder = Path(winner.model_path).parent
    checks = {check.name: check for check in verify_folder(folder).checks}
    assert all(check.ok for name, check in checks.items() if name != "latency"), checks
    manifest = Manifest.load(folder / "manifest.json")
    assert manifest.metric == winner.metric == result.metric
    assert manifest.classification is (name == "texts")
    assert all(parity.ok for parity in manifest.parity.values())
    agreements = {parity.top1_agreement for parity in manifest.parity.values()}
    assert (agreements == {None}) is (name != "texts")
    assert ("model.onnx at another size" in manifest.parity) is ("sequences" in name)
    words = (path / "report.html").read_text()
    assert result.metric == METRICS[name]
    assert f"Test {result.metric}, measured" in words


def test_the_model_answers_as_the_manifest_says(job):
    """A deployer's view of inputs, outputs and preprocessing."""
    name, path, result = job
    folder = Path(result.winner.model_path).parent
    manifest = json.loads((folder / "manifest.json").read_text())
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    assert [node.name for node in session.get_inputs()] == list(manifest["inputs"])
    assert [node.name for node in session.get_outputs()] == manifest["outputs"]
    data, steps = open_run(path).data, manifest["preprocessing"]
    if name == "texts":
        assert (steps["kind"], steps["tokenizer"]) == ("tokens", None)
        assert (steps["length"], steps["vocabulary"]) == (12, 50)
        ids, mask = (one.astype(np.int64) for one in data.test.inputs)
        (logits,) = session.run(None, {"ids": ids, "mask": mask})
        assert (logits.argmax(1) == data.test.targets).mean() == pytest.approx(
            manifest["test_accuracy"], abs=0.03
        )
    elif "sequences" in name:
        assert (steps["kind"], steps["features"], steps["frames"]) == ("sequence", 8, 8)
        mean, std = (np.array(steps[key], np.float32)[None, :, None] for key in ("mean", "std"))
        inputs = (data.test.inputs[0] - mean) / std
        (found,) = session.run(None, {"input": inputs})
        residual = ((found - data.test.targets) ** 2).sum(0)
        total = ((data.test.targets - data.test.targets.mean(0)) ** 2).sum(0)
        assert (1 - residual / total).mean() == pytest.approx(manifest["test_accuracy"], abs=1e-3)
        assert session.run(None, {"input": inputs[:2, :, :5]})[0].shape == (2, 2)
        assert manifest["class_names"] == []
    else:
        assert steps["kind"] == "image"
        size = manifest["inputs"]["input"]["shape"]
        outputs = session.run(None, {"input": np.zeros((3, *size), np.float32)})
        assert len(outputs) == len(manifest["outputs"]) == (2 if name == "two outputs" else 1)


def test_the_folder_answers_alone(job):
    """Its own script; what are no classes are numbers."""
    name, _, result = job
    folder = Path(result.winner.model_path).parent
    command = [sys.executable, "-I", folder / "predict.py", folder / "sample.npz", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout)["predictions"]
    with np.load(folder / "reference.npz") as reference:
        outputs = [reference[one] for one in reference.files if one.startswith("outputs.")]
    for i, row in enumerate(rows):
        assert ("classes" in row) is (name == "texts")
        for found, expected in zip(row["outputs"], outputs, strict=True):
            np.testing.assert_allclose(found, expected[i], atol=1e-3)


def test_the_run_goes_on_where_it_is(job):
    name, path, result = job
    again = nas.search(path, result.budget_ms)
    assert again.metric == result.metric
    assert json.loads((path / "run.json").read_text())["modality"] == {
        "texts": "tokens",
        "regression of sequences": "sequence",
    }.get(name, "image")
    exported = nas.export(path, "smallest")
    checks = nas.verify(exported.directory).checks
    # The folder may be the winner's and have its budget, which a busy machine need not keep again.
    assert all(check.ok for check in checks if check.name != "latency"), checks
