"""Files of other precisions, through the gate and side by side. Latencies are made up."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import numpy_helper

import nas
from nas.exporting import compared, model_set
from nas.exporting.manifest import Manifest
from nas.exporting.plan_model import carried_precision, read_model
from nas.exporting.verify import verify_folder
from nas.results import ExportResult
from search_spaces import InputError
from search_spaces.errors import ParityError
from tests.nas.exporting.test_predict import rows

FAST_INT8 = {"fp32": 1.0, "fp16": 1.01, "int8": 0.5}  # ms
NO_GAIN = {"fp32": 1.0, "fp16": 1.01, "int8": 0.99}


def made_up(latencies: dict[str, float]):
    """What stands in for measuring: latencies by the precision that a file carries."""

    def measure(models, threads, batch_size, provider):
        found = [latencies[carried_precision(read_model(model))] for model in models]
        return [SimpleNamespace(latency_ms=ms, typical_ms=ms, noise=0.0) for ms in found]

    return measure


@dataclasses.dataclass(frozen=True)
class Exported:
    """All precisions of one subnet, where int8 pays."""

    run: Path
    result: ExportResult

    @property
    def folder(self) -> Path:
        return Path(self.result.directory)

    @property
    def manifest(self) -> Manifest:
        return Manifest.load(self.folder / "manifest.json")


@pytest.fixture(scope="module")
def every(finished, tmp_path_factory) -> Iterator[Exported]:
    """Look, do not touch."""
    path = shutil.copytree(finished.path, tmp_path_factory.mktemp("every") / "run")
    shutil.rmtree(path / "subnets")  # no budget to be missed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compared, "measure_models", made_up(FAST_INT8))
        yield Exported(path, nas.export(path, "smallest", precision="all"))


@pytest.fixture
def copy_of_every(every, tmp_path) -> Path:
    """A copy of that run that a test may change."""
    return shutil.copytree(every.run, tmp_path / "run")


def test_the_file_that_pays_is_left_and_recommended(every):
    assert list(every.result.models) == ["model.onnx", "model.int8.onnx"]
    assert every.result.recommended == "int8"
    assert "0.50 of fp32's latency" in every.result.reason
    precisions = {row["precision"]: row for row in every.result.precisions}
    assert set(precisions) == {"fp32", "fp16", "bf16", "int8"}
    assert [name for name, row in precisions.items() if row["pays"]] == ["int8"]
    assert not list(every.folder.glob("*fp16*"))
    files = [precisions[name]["file"] for name in ("fp32", "fp16", "int8")]
    assert files == ["model.onnx", None, "model.int8.onnx"]


def test_a_precision_that_the_target_lacks_is_a_row_with_the_reason(every):
    (row,) = [row for row in every.result.precisions if row["precision"] == "bf16"]
    assert row["latency_ms"] is None
    assert "bf16" in row["note"]


def test_the_manifest_says_how_a_file_came_to_its_precision(every):
    entry = every.manifest.models["model.int8.onnx"]
    assert entry.precision == "int8"
    assert entry.parity.ok
    assert entry.parity.limit > every.manifest.models["model.onnx"].parity.limit
    conversion = entry.conversion
    assert conversion.method in ("min-max", "entropy", "percentile")
    assert conversion.scheme in ("x86", "x86-vnni", "arm")
    assert conversion.accuracy_before == pytest.approx(every.manifest.validation_accuracy, abs=0.01)
    assert conversion.accuracy_after == pytest.approx(entry.accuracy)
    assert every.manifest.models["model.onnx"].conversion is None
    assert every.manifest.precisions.recommended == "int8"
    (measured,) = [one for one in every.manifest.measured if one.file == "model.int8.onnx"]
    assert (measured.target.precision, measured.latency_ms) == ("int8", 0.5)


def test_the_folder_tells_it_in_words(every):
    text = (every.folder / "README.md").read_text()
    assert "| int8 |" in text
    assert "Take int8: " in text
    assert "ranges by" in text


def test_the_folder_verifies_and_answers(every):
    verification = verify_folder(every.folder)
    looked_at = [one for one in verification.checks if one.name != "latency"]
    assert all(one.ok for one in looked_at), looked_at
    assert "parity of model.int8.onnx" in [one.name for one in looked_at]
    sample = every.folder / "sample.npz"
    found = rows(every.folder, sample, "--model", "model.int8.onnx")
    plain = rows(every.folder, sample)
    same = [
        one["classes"][0][0] == two["classes"][0][0] for one, two in zip(found, plain, strict=True)
    ]
    assert sum(same) / len(same) > 0.8


def test_verifying_it_needs_no_torch(every):
    code = (
        "import sys; from pathlib import Path; from nas.exporting.verify import verify_folder; "
        "names = [one.name for one in verify_folder(Path(sys.argv[1])).checks if not one.ok]; "
        "assert set(names) <= {'latency'}, names; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, every.folder], check=True, timeout=300)


@pytest.fixture
def folder_of_every(copy_of_every, every) -> Path:
    """A copy of that folder that a test may change."""
    return copy_of_every / every.folder.relative_to(every.run)


def change(folder: Path, name: str, **fields: object) -> None:
    """Edit what the manifest says of a model."""
    path = folder / "manifest.json"
    data = json.loads(path.read_bytes())
    data["models"][name] |= fields
    path.write_text(json.dumps(data))


def test_a_file_of_a_provider_that_is_not_here_is_not_compared(folder_of_every):
    change(folder_of_every, "model.int8.onnx", provider="NoSuchExecutionProvider")
    checks = {one.name: one for one in verify_folder(folder_of_every).checks}
    found = checks["parity of model.int8.onnx"]
    assert found.ok
    assert found.detail.startswith("not compared: ")


def test_the_plain_file_is_compared_whatever_the_manifest_says(folder_of_every):
    change(folder_of_every, "model.onnx", provider="NoSuchExecutionProvider")
    checks = {one.name: one for one in verify_folder(folder_of_every).checks}
    assert "max difference" in checks["parity"].detail


def test_a_file_cannot_pass_for_one_of_wider_limits(folder_of_every):
    change(folder_of_every, "model.int8.onnx", precision="bf16")
    checks = {one.name: one for one in verify_folder(folder_of_every).checks}
    found = checks["graph of model.int8.onnx"]
    assert not found.ok
    assert found.detail == "it computes in int8, the manifest says bf16"


def test_the_plain_file_cannot_pass_for_one_of_wider_limits(folder_of_every):
    change(folder_of_every, "model.onnx", precision="int8")
    verification = verify_folder(folder_of_every)
    assert not verification.ok
    assert "is the file in fp32" in verification.checks[-1].detail


def test_what_was_asked_for_by_name_stays_though_it_does_not_pay(copy_of_every, monkeypatch):
    monkeypatch.setattr(compared, "measure_models", made_up(FAST_INT8))
    result = nas.export(copy_of_every, "smallest", precision="fp16")
    assert list(result.models) == ["model.onnx", "model.fp16.onnx", "model.int8.onnx"]
    assert result.recommended == "fp32"
    assert "not faster by more than the noise" in result.reason
    assert [row["precision"] for row in result.precisions] == ["fp32", "fp16"]


def test_a_precision_that_the_target_lacks_is_refused_by_name(copied):
    shutil.rmtree(copied / "subnets")
    with pytest.raises(InputError, match="bf16"):
        nas.export(copied, "smallest", precision="bf16")
    assert not (copied / "subnets").exists()


@pytest.fixture
def other_weights(monkeypatch) -> None:
    """Let every conversion start from other weights."""
    convert = model_set.convert

    def wrong(trial, plain, options, provider):
        model = onnx.load_from_string(plain)
        for weight in model.graph.initializer:
            values = numpy_helper.to_array(weight)
            if values.ndim == 4:
                weight.CopyFrom(numpy_helper.from_array(values[::-1].copy(), weight.name))
        return convert(trial, model.SerializeToString(), options, provider)

    monkeypatch.setattr(model_set, "convert", wrong)


@pytest.mark.usefixtures("other_weights")
def test_the_gate_refuses_a_file_that_answers_differently(copied, monkeypatch):
    shutil.rmtree(copied / "subnets")
    monkeypatch.setattr(compared, "measure_models", made_up(NO_GAIN))
    with pytest.raises(ParityError, match=r"model\.fp16\.onnx batch 1: outputs differ"):
        nas.export(copied, "smallest", precision="fp16")
    assert not (copied / "subnets").exists()


def test_a_named_file_has_to_keep_the_budget(copied, monkeypatch):
    """The winner's folder states a budget of this target."""
    monkeypatch.setattr(compared, "measure_models", made_up({"fp32": 1.0, "fp16": 1e9}))
    manifest_path = next((copied / "subnets").glob("*/manifest.json"))
    with pytest.raises(ParityError, match=r"model\.fp16\.onnx: the typical pass takes 1e\+09 ms"):
        nas.export(copied, manifest_path.parent.name, precision="fp16", inherited=True)


def test_the_command_shows_a_table_and_gives_rows(copied, nas_command):
    shutil.rmtree(copied / "subnets")
    answer = nas_command("export", copied, "smallest", "--precision", "fp16")
    assert answer.code == 0, answer
    assert "precisions" in answer.stdout
    assert "take " in answer.stdout
    answer = nas_command("export", copied, "smallest", "--precision", "fp16", "--json")
    told = answer.json
    assert [row["precision"] for row in told["precisions"]] == ["fp32", "fp16"]
    assert told["recommended"] in ("fp32", "fp16")
    assert told["reason"]


def test_a_file_that_is_gone_is_not_stated_beside_the_others(every, tmp_path):
    run = shutil.copytree(every.run, tmp_path / "run")
    folder = run / every.folder.relative_to(every.run)
    (folder / "model.int8.onnx").unlink()
    nas.export(run, "smallest", opset=18)
    manifest = Manifest.load(folder / "manifest.json")
    assert manifest.precisions.row("int8").file is None
    assert manifest.precisions.row("fp32").file == "model.onnx"
    assert "model.int8.onnx" not in (folder / "README.md").read_text()
