"""TensorRT engines in exported folders: without a GPU all around the engine, on one the engine."""

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import nas
from nas.exporting import plan
from nas.exporting.engines import check_drop
from nas.exporting.manifest import Manifest
from nas.exporting.plan_info import GpuSetup
from nas.exporting.precisions import Converted
from nas.exporting.verify import verify_folder
from search_spaces import InputError, MissingExtraError
from search_spaces.errors import ParityError
from tests.nas.exporting.fake_gpu import FakeEngine, pretend_gpu
from tests.nas.exporting.test_plan_info import H200, here

HAS_GPU = torch.version.cuda is not None and torch.cuda.is_available()
OPTIONS = {"format": "tensorrt", "batch_range": "1,2,4"}


@pytest.fixture
def run(copied) -> Path:
    """A run without exported folders, so that there is no budget to be missed."""
    shutil.rmtree(copied / "subnets")
    return copied


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is not there."""
    return pretend_gpu(monkeypatch)


def manifest_of(result) -> Manifest:
    return Manifest.load(Path(result.directory) / "manifest.json")


def engine_checks(folder: Path, **settings):
    checks = verify_folder(folder, **settings).checks
    return {one.name: one for one in checks if "plan" in one.name}


def test_an_engine_leaves_with_its_file_its_figures_and_its_commands(run, gpu):
    result = nas.export(run, "smallest", **OPTIONS, workspace_mb=64)
    folder, manifest = Path(result.directory), manifest_of(result)
    assert (folder / "model.plan").is_file()
    assert set(manifest.models) == {"model.onnx"}
    engine = manifest.engines["model.plan"]
    assert engine.source == "model.onnx"
    assert engine.info.built_on == H200
    assert engine.info.onnx_sha256 == manifest.files["model.onnx"]
    assert list(engine.parity) == ["batch 1", "batch 2", "batch 4"]
    assert all(parity.ok for parity in engine.parity.values())
    measured = [one.target for one in manifest.measured if one.file == "model.plan"]
    assert [one.provider for one in measured] == ["cuda-graphs", "launches"]
    assert [one.batch_size for one in measured] == [2, 2]
    assert manifest.measured[0].file == "model.onnx"
    assert gpu.built[0].workspace_mb == 64
    assert gpu.built[0].timing_cache == plan.default_timing_cache(H200)
    text = (folder / "README.md").read_text()
    for command in (engine.build_command, engine.time_command):
        assert command.startswith("trtexec ")
        assert command in text
    assert "--onnx=model.onnx --saveEngine=model.plan" in engine.build_command
    assert result.engines["model.plan"]["build_command"] == engine.build_command

    checks = engine_checks(folder)
    assert all(one.ok for one in checks.values()), checks
    assert "max difference" in checks["parity of model.plan"].detail
    again = nas.export(run, "smallest", opset=18)  # leaves it where it is
    assert "model.plan" in again.engines
    kept = [one.file for one in manifest_of(again).measured]
    assert kept.count("model.plan") == 2


@pytest.mark.usefixtures("gpu")
def test_an_engine_that_is_built_again_leaves_no_figures_of_the_one_before(run):
    nas.export(run, "smallest", **OPTIONS)
    again = nas.export(run, "smallest", **{**OPTIONS, "batch_range": "1"})
    measured = [one.target for one in manifest_of(again).measured if one.file == "model.plan"]
    assert [one.batch_size for one in measured] == [1, 1]


@pytest.mark.usefixtures("gpu")
def test_an_engine_in_half_precision_is_built_from_a_file_of_its_own(run):
    result = nas.export(run, "smallest", **OPTIONS, precision="fp16")
    manifest = manifest_of(result)
    engine = manifest.engines["model.fp16.plan"]
    assert engine.source == "model.fp16.tensorrt.onnx"
    assert engine.info.onnx_sha256 == manifest.files[engine.source]
    assert engine.conversion is not None
    assert set(manifest.models) == {"model.onnx"}
    checks = engine_checks(Path(result.directory))
    assert all(one.ok for one in checks.values()), checks


@pytest.mark.usefixtures("gpu")
def test_int8_is_of_the_types_that_the_library_reads(run):
    engine = manifest_of(nas.export(run, "smallest", **OPTIONS, precision="int8")).engines
    assert engine["model.int8.plan"].conversion.scheme == "tensorrt"
    assert engine["model.int8.plan"].info.precision == "int8"


@pytest.mark.usefixtures("gpu")
def test_an_engine_that_answers_differently_leaves_nothing(run, monkeypatch):
    monkeypatch.setattr(FakeEngine, "error", 0.1)
    with pytest.raises(ParityError, match="engine, batch 1: outputs differ"):
        nas.export(run, "smallest", **OPTIONS)
    assert not (run / "subnets").exists()


def test_an_int8_file_that_loses_too_much_becomes_no_engine():
    lost = Converted("int8", b"", accuracy_before=0.9, accuracy_after=0.87)
    with pytest.raises(ParityError, match=r"loses 0\.03 on 1000 validation samples"):
        check_drop("model.int8.plan", lost, 1000)
    check_drop("model.int8.plan", lost, 50)  # where one sample is two points


# --- verifying ------------------------------------------------------------------------------------


@pytest.fixture
def engine_folder(run, gpu) -> Path:
    """A folder with an engine that fits the GPU that is not there."""
    return Path(nas.export(run, "smallest", **OPTIONS).directory)


def test_elsewhere_its_answers_are_not_compared(engine_folder, monkeypatch):
    monkeypatch.setattr(plan, "gpu_setup", lambda: here(tensorrt_version="11.4.0.106"))
    check = engine_checks(engine_folder)["parity of model.plan"]
    assert check.ok
    assert check.detail.startswith("not compared: built on NVIDIA H200")
    assert "runs in no other version" in check.detail


def test_without_a_gpu_too(engine_folder, monkeypatch):
    def absent() -> GpuSetup:
        raise MissingExtraError("it is not installed")

    monkeypatch.setattr(plan, "gpu_setup", absent)
    check = engine_checks(engine_folder)["parity of model.plan"]
    assert check.ok
    assert "it is not installed" in check.detail


def test_other_answers_fail(engine_folder, monkeypatch):
    monkeypatch.setattr(FakeEngine, "error", 0.1)
    check = engine_checks(engine_folder)["parity of model.plan"]
    assert not check.ok
    assert "outputs differ" in check.detail


def test_a_changed_engine_is_not_loaded(engine_folder, gpu):
    (engine_folder / "model.plan").write_bytes(b"another one")
    gpu.built.clear()
    checks = engine_checks(engine_folder)
    assert not checks["hash of model.plan"].ok
    assert list(checks) == ["hash of model.plan"]
    assert not gpu.built


def test_an_engine_of_another_file_is_told(engine_folder):
    path = engine_folder / "manifest.json"
    data = json.loads(path.read_bytes())
    data["engines"]["model.plan"]["info"]["onnx_sha256"] = "0" * 64
    path.write_text(json.dumps(data))
    check = engine_checks(engine_folder)["source of model.plan"]
    assert not check.ok
    assert "another file than model.onnx" in check.detail


def test_code_in_an_engine_runs_only_where_it_is_trusted(run, gpu):
    folder = Path(nas.export(run, "smallest", **OPTIONS, version_compatible=True).directory)
    gpu.built.clear()
    check = engine_checks(folder)["parity of model.plan"]
    assert check.ok
    assert "--trust-engines" in check.detail
    assert not gpu.built
    check = engine_checks(folder, trust_engines=True)["parity of model.plan"]
    assert check.ok
    assert gpu.built == [True]


# --- what is missing ------------------------------------------------------------------------------


def test_without_the_library_nothing_is_begun(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match=r"supernet-engine\[tensorrt\]"):
        nas.export(finished.path, "smallest", format="tensorrt")


@pytest.mark.usefixtures("gpu")
def test_without_a_gpu_nothing_is_begun(finished, monkeypatch):
    def no_gpu() -> GpuSetup:
        raise InputError("exporting TensorRT engines needs an NVIDIA GPU")

    monkeypatch.setattr(plan, "gpu_setup", no_gpu)
    with pytest.raises(InputError, match="needs an NVIDIA GPU"):
        nas.export(finished.path, "smallest", format="tensorrt")


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_the_command_names_the_extra(finished, nas_command):
    answer = nas_command("export", finished.path, "smallest", "--format", "tensorrt")
    answer.assert_refused("supernet-engine[tensorrt]", code=3)


def test_the_command_checks_options_before_anything_heavy(finished, nas_command):
    options = ("--format", "tensorrt", "--batch-range", "8,1,2")
    answer = nas_command("export", finished.path, "smallest", *options)
    answer.assert_refused("least <= typical <= most")


# --- on a GPU -------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.tensorrt
@pytest.mark.skipif(
    not HAS_GPU or find_spec("tensorrt") is None, reason="needs TensorRT and an NVIDIA GPU"
)
@pytest.mark.parametrize("settings", [{}, {"precision": "fp16"}, {"precision": "int8"}])
def test_engines_are_exported_and_verified(run, settings):
    result = nas.export(run, "smallest", **OPTIONS, **settings)
    (engine,) = manifest_of(result).engines.values()
    assert engine.info.built_on == plan.gpu_setup()
    checks = engine_checks(Path(result.directory))
    assert all(one.ok for one in checks.values()), checks
    assert any("max difference" in one.detail for one in checks.values())
