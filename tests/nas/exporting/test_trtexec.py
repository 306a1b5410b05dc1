"""The commands of `trtexec` that do the same."""

import shlex

import pytest

from nas.exporting.trtexec import build_command, time_command
from tests.nas.exporting.test_plan_info import info


def test_the_command_builds_the_same_engine():
    assert build_command(info(), "model.fp16.onnx", "model.plan") == (
        "trtexec --onnx=model.fp16.onnx --saveEngine=model.plan --stronglyTyped --noTF32 "
        "--memPoolSize=workspace:4096 --minShapes=input:1x3x32x32 --optShapes=input:8x3x32x32 "
        "--maxShapes=input:32x3x32x32 --skipInference"
    )


@pytest.mark.parametrize("level", ["same-compute-capability", "ampere-plus"])
def test_options_of_the_engine_are_options_of_the_command(level):
    plan = info(version_compatible=True, hardware_compatible=level, workspace_mb=64)
    words = shlex.split(build_command(plan, "m.onnx", "m.plan", timing_cache="my timings"))
    names = {"same-compute-capability": "sameComputeCapability", "ampere-plus": "ampere+"}
    assert f"--hardwareCompatibilityLevel={names[level]}" in words
    assert "--versionCompatible" in words
    assert "--memPoolSize=workspace:64" in words
    assert "--timingCacheFile=my timings" in words


def test_files_that_fix_all_sizes_get_no_shapes():
    plan = info(free=False)
    assert "Shapes" not in build_command(plan, "m.onnx", "m.plan")
    assert "shapes" not in time_command(plan, "m.plan")


def test_several_inputs_and_scalars():
    plan = info(inputs={"ids": (16,), "weight": ()})
    assert "--optShapes=ids:8x16,weight:8" in build_command(plan, "m.onnx", "m.plan")


def test_no_precision_is_named():
    for precision in ("fp32", "fp16", "bf16", "int8"):
        command = build_command(info(precision=precision), "m.onnx", "m.plan")
        assert f"--{precision}" not in command


def test_names_are_quoted_for_a_shell():
    words = shlex.split(build_command(info(), "my model;rm.onnx", "m.plan"))
    assert words[1] == "--onnx=my model;rm.onnx"


def test_the_command_times_by_the_same_rules():
    assert time_command(info(), "model.plan") == (
        "trtexec --loadEngine=model.plan --shapes=input:8x3x32x32 --useCudaGraph "
        "--noDataTransfers --warmUp=200"
    )
    launched = time_command(info(), "model.plan", 1, graph=False)
    assert "input:1x3x32x32" in launched
    assert "--useCudaGraph" not in launched


def test_version_compatible_engines_are_loaded_as_such():
    assert "--versionCompatible" in time_command(info(version_compatible=True), "model.plan")
