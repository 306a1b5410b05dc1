"""One small job of every family on real data, from training to a file that verifies."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

import nas
from nas.data import Dataset
from nas.data.docstrings import docstrings
from nas.exporting.manifest import Manifest
from nas.exporting.verify import verify_folder
from nas.results import RunResult
from nas.run_directory import open_run
from search_spaces import SPACES
from tests.nas.settings import LEAST

ADAMW = ("training.optimizer=adamw", "training.learning_rate=0.002")
FAMILIES = {
    "resnet-digits": ("training.flip=true",),
    "vit-digits": ADAMW,
    "tdnn-digits": (),
    "nasnet-digits": ("training.drop_path=0.3",),
    "nasbench201-digits": (),
    "nasbench-macro-digits": (),
    "bert-mini": (
        *ADAMW,
        "data.source=docstrings",
        "data.length=16",
        "data.vocabulary=1000",
        "data.max_samples=256",
        "data.validation_share=0.05",
        "data.test_share=0.05",
    ),
}
KINDS = dict.fromkeys(FAMILIES, "image") | {"tdnn-digits": "sequence", "bert-mini": "tokens"}


@dataclass(frozen=True)
class Job:
    """What a whole run of a family left."""

    name: str
    path: Path
    result: RunResult

    @property
    def folder(self) -> Path:
        assert self.result.winner is not None, self.result.closest_miss
        return Path(self.result.winner.model_path).parent

    @cached_property
    def manifest(self) -> Manifest:
        return Manifest.load(self.folder / "manifest.json")

    @cached_property
    def data(self) -> Dataset:
        return open_run(self.path).data

    def answer(self, *inputs: np.ndarray) -> np.ndarray:
        """What the file answers, as its reader runs it."""
        session = onnxruntime.InferenceSession(
            self.folder / "model.onnx", providers=["CPUExecutionProvider"]
        )
        names = [node.name for node in session.get_inputs()]
        assert names == list(self.manifest.inputs)
        (logits,) = session.run(None, dict(zip(names, inputs, strict=True)))
        return logits

    def prepared(self) -> tuple[np.ndarray, ...]:
        """The test samples, made ready as the manifest says."""
        steps, raw = self.manifest.preprocessing, self.data.test.inputs
        if steps.kind == "tokens":
            return tuple(one.astype(np.int64) for one in raw)
        shape = (1, -1) + (1,) * (raw[0].ndim - 2)
        mean, std = (np.reshape(one, shape) for one in (steps.mean, steps.std))
        if steps.kind == "sequence":
            return (((raw[0] - mean) / std).astype(np.float32),)
        images = torch.from_numpy(((raw[0] / 255 - mean) / std).astype(np.float32))
        size = (steps.height, steps.width)
        return (F.interpolate(images, size, mode="bilinear", antialias=True).numpy(),)


@pytest.fixture(scope="module", autouse=True)
def docstrings_are_read_once():
    """They lie in thousands of files, and a job reads its data several times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.data.tokens.docstrings", cache(docstrings))
        yield


def finish(name: str, path: Path) -> Job:
    settings = (*LEAST, "data.max_samples=640", f"space.name={name}", *FAMILIES[name])
    return Job(name, path, nas.run(out=path, overrides=settings))


# others like them go through the same job: of convolutions (in `finished`), transformers, cells
ALIKE = ("resnet-digits", "vit-digits", "nasnet-digits", "nasbench-macro-digits")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ()) for name in FAMILIES
    ],
)
def job(request, tmp_path_factory) -> Job:
    return finish(request.param, tmp_path_factory.mktemp("family") / "run")


def test_every_family_has_a_job():
    """Where there is a space for small data, it is tried here (mobilenet-digits everywhere)."""
    small = {name for name in SPACES if name.endswith(("-digits", "-mini"))}
    assert small == {*FAMILIES, "mobilenet-digits"}


def test_the_winner_is_a_model_that_verifies(job):
    winner, manifest = job.result.winner, job.manifest
    checks = {check.name: check for check in verify_folder(job.folder).checks}
    assert "latency" in checks  # whether a busy machine keeps it now is no matter of a test
    assert all(check.ok for name, check in checks.items() if name != "latency"), checks
    assert manifest.space.split("@")[0] == job.name
    assert manifest.architecture_id == winner.architecture_id == job.folder.name
    assert winner.kept
    files = {f"model.onnx batch {size}" for size in (1, 64)}
    files |= {"model.onnx at another size"} if job.name == "tdnn-digits" else set()
    assert set(manifest.parity) == {"supernet", *files}
    for parity in manifest.parity.values():
        assert parity.ok
        assert 0 <= parity.max_abs_difference <= parity.limit < 0.1
        assert parity.top1_agreement == 1
        assert parity.n >= 64


def test_the_folder_answers_alone(job):
    """Its own script, beside nothing of ours, on the samples that lie in it."""
    command = [sys.executable, "-I", job.folder / "predict.py", job.folder / "sample.npz", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout)["predictions"]
    with np.load(job.folder / "reference.npz") as reference:
        expected = reference["outputs.logits"]
    found = np.array([row["outputs"][0] for row in rows])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert rows[0]["classes"][0][0] == job.manifest.class_names[expected[0].argmax()]


def test_latencies_are_predicted_and_measured(job):
    winner, manifest = job.result.winner, job.manifest
    (measured,) = manifest.measured
    assert measured.latency_ms == winner.measured_latency_ms
    assert 0 < measured.latency_ms * (1 + measured.noise) <= job.result.budget_ms
    assert manifest.predicted_latency_ms == winner.predicted_latency_ms
    assert 0 < manifest.predicted_latency_ms <= job.result.budget_ms
    assert manifest.budget_ms == job.result.budget_ms
    assert measured.target == job.result.target
    assert manifest.costs["macs"] > 0


def test_the_file_is_as_good_as_the_manifest_says(job):
    manifest, data = job.manifest, job.data
    assert manifest.preprocessing.kind == KINDS[job.name] == data.modality
    assert manifest.classification
    assert manifest.class_names == data.class_names
    prepared = job.prepared()
    assert [one.shape[1:] for one in prepared] == [one.shape for one in manifest.inputs.values()]
    assert [one.dtype for one in prepared] == [one.dtype for one in manifest.inputs.values()]
    logits = job.answer(*prepared)
    assert logits.shape == (len(data.test), data.num_classes)
    found = (logits.argmax(axis=1) == data.test.targets).mean()
    assert found == pytest.approx(manifest.test_accuracy, abs=2 / len(logits))
    assert np.unique(logits.argmax(axis=1)).size > 1
    if job.name == "tdnn-digits":  # another length, and a file that does not look at its inputs
        assert manifest.inputs["input"].free == (1,)
        longer = job.answer(np.concatenate([prepared[0][:3]] * 2, axis=2))
        shorter = job.answer(prepared[0][:3, :, :6])
        assert longer.shape == shorter.shape == (3, 10)
        assert not np.allclose(shorter, logits[:3])
    else:
        assert all(one.free == () for one in manifest.inputs.values())


def test_training_and_the_report_are_there(job):
    run = open_run(job.path)
    assert job.data.num_samples["train"] == (256 if job.name == "bert-mini" else 640)
    assert [record["epoch"] for record in run.metrics.read()] == [1]
    assert {name: stage.state for name, stage in run.stages.items()} == dict.fromkeys(
        ("train", "profile", "accuracy", "predictors", "search", "report"), "done"
    )
    words = Path(job.result.report_path).read_text()
    assert job.name in words
    assert job.result.winner.architecture_id in words


@pytest.mark.parametrize("job", ["bert-mini"], indirect=True)
def test_the_mask_of_texts_works_in_the_file(job):
    manifest = job.manifest
    assert list(manifest.inputs) == ["ids", "mask"]
    assert {one.dtype for one in manifest.inputs.values()} == {"int64"}
    steps = manifest.preprocessing
    assert (steps.length, steps.vocabulary) == (16, 1000)
    assert steps.tokenizer.startswith("hashed-words")
    ids, mask = job.prepared()
    short = mask.sum(axis=1) < 16
    assert short.any()
    ids, mask = ids[short], mask[short]
    logits = job.answer(ids, mask)
    others = np.random.default_rng(0).integers(2, 1000, ids.shape)
    np.testing.assert_allclose(job.answer(np.where(mask, ids, others), mask), logits, atol=1e-5)
    changed = job.answer(np.where(mask, others, ids), mask)
    seen = job.answer(np.where(mask, ids, others), np.ones_like(mask))
    for answers in (changed, seen):
        assert (np.abs(answers - logits).max(axis=1) > 1e-4).mean() > 0.9
