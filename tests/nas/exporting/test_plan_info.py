"""What an engine holds for, without a GPU."""

import re
import subprocess
import sys

import pytest
from pydantic import ValidationError

from hardware_profiles.runtimes.tensorrt_options import BatchRange
from nas.exporting.plan_info import (
    GpuSetup,
    PlanInfo,
    check_can_build,
    check_plan_fits,
    version_numbers,
)
from search_spaces import InputError

H200 = GpuSetup(
    gpu="NVIDIA H200",
    compute_capability=(9, 0),
    tensorrt_version="10.16.1.11",
    driver_version="580.65.06",
    platform="Linux x86_64",
)
H100 = {"gpu": "NVIDIA H100"}
L4 = {"gpu": "NVIDIA L4", "compute_capability": (8, 9)}
T4 = {"gpu": "Tesla T4", "compute_capability": (7, 5)}


def info(**changes: object) -> PlanInfo:
    fields = {
        "built_on": H200,
        "onnx_sha256": "0" * 64,
        "precision": "fp16",
        "batch": BatchRange.parse("1,8,32"),
        "inputs": {"input": (3, 32, 32)},
        "free": True,
        "workspace_mb": 4096,
        "version_compatible": False,
        "hardware_compatible": "none",
    }
    return PlanInfo.model_validate(fields | changes)


def here(**changes: object) -> GpuSetup:
    return GpuSetup.model_validate(H200.model_dump() | changes)


def test_an_engine_fits_where_it_was_built():
    check_plan_fits(info(), H200)


@pytest.mark.parametrize(
    ("plan", "setup"),
    [
        ({}, {"driver_version": "580.95.05"}),
        ({}, {"driver_version": "590.1"}),
        ({}, {"driver_version": "unknown"}),
        ({}, {"driver_version": "580.1"}),  # of the same branch
        ({"hardware_compatible": "same-compute-capability"}, H100),
        ({"hardware_compatible": "ampere-plus"}, L4),
        ({"hardware_compatible": "ampere-plus"}, {"gpu": "B200", "compute_capability": (10, 0)}),
        ({"version_compatible": True}, {"tensorrt_version": "10.16.2"}),
        ({"version_compatible": True}, {"tensorrt_version": "11.4.0.106"}),
    ],
)
def test_an_engine_fits_where_its_options_let_it(plan, setup):
    check_plan_fits(info(**plan), here(**setup))


@pytest.mark.parametrize(
    ("plan", "setup", "words"),
    [
        ({}, H100, "built for NVIDIA H200, this is NVIDIA H100 (the same compute capability: one"),
        ({}, L4, "on compute capability 9.0 (NVIDIA H200) alone, NVIDIA L4 has 8.9"),
        ({"hardware_compatible": "same-compute-capability"}, L4, "NVIDIA L4 has 8.9"),
        ({"hardware_compatible": "ampere-plus"}, T4, "from compute capability 8.0 on, Tesla T4"),
        ({}, {"tensorrt_version": "10.16.1.12"}, "runs in no other version, this is 10.16.1.12"),
        ({}, {"tensorrt_version": "11.4.0.106"}, "built by TensorRT 10.16.1.11 and runs in no"),
        ({"version_compatible": True}, {"tensorrt_version": "10.9.0.34"}, "in no earlier version"),
        (
            {"version_compatible": True},
            {"tensorrt_version": "12.0"},
            "runs in 10 and 11 alone, this",
        ),
        ({"version_compatible": True}, H100, "this is NVIDIA H100"),
        ({"hardware_compatible": "ampere-plus"}, {"tensorrt_version": "11.0"}, "no other version"),
        ({}, {"driver_version": "570.172.08"}, "driver 580.65.06 and needs one from 580 on, this"),
        ({}, {"platform": "Linux aarch64"}, "built on Linux x86_64, this is Linux aarch64"),
    ],
)
def test_an_engine_is_refused_elsewhere(plan, setup, words):
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        check_plan_fits(info(**plan), here(**setup))
    assert "Build it anew here from its ONNX file" in str(caught.value)


def test_version_11_engines_run_in_11_alone():
    built = here(tensorrt_version="11.0.0.114")
    plan = info(built_on=built, version_compatible=True)
    check_plan_fits(plan, here(tensorrt_version="11.4.0.106"))
    with pytest.raises(InputError, match=r"runs in 11 alone, this is 12\.0"):
        check_plan_fits(plan, here(tensorrt_version="12.0"))


def test_all_reasons_are_told_at_once():
    with pytest.raises(InputError) as caught:
        check_plan_fits(info(), here(**T4, tensorrt_version="10.3.0", driver_version="535.1"))
    for words in ("7.5", "10.3.0", "535.1"):
        assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("11.4.0.106", (11, 4, 0, 106)),
        ("10.13.3.9.post1", (10, 13, 3, 9)),
        ("580.65.06", (580, 65, 6)),
        ("unknown", ()),
        ("", ()),
    ],
)
def test_versions_are_numbers(text, numbers):
    assert version_numbers(text) == numbers


# --- what can be built ----------------------------------------------------------------------------


def test_all_can_be_built_on_a_new_gpu():
    for precision in ("fp32", "fp16", "bf16", "int8"):
        for level in ("none", "same-compute-capability", "ampere-plus"):
            check_can_build(H200, precision, level)


@pytest.mark.parametrize(
    ("setup", "precision", "level", "words"),
    [
        (T4, "bf16", "none", "bf16 needs compute capability 8.0, Tesla T4 has compute capability"),
        (T4, "fp16", "ampere-plus", "ampere-plus engines are built from compute capability 8.0"),
        (
            {"tensorrt_version": "10.2.0"},
            "fp32",
            "none",
            "expected TensorRT 10.3 to 11, got 10.2.0",
        ),
        ({"tensorrt_version": "12.0"}, "fp32", "none", "expected TensorRT 10.3 to 11, got 12.0"),
    ],
)
def test_what_cannot_be_built_is_refused(setup, precision, level, words):
    with pytest.raises(InputError, match=re.escape(words)):
        check_can_build(here(**setup), precision, level)


# --- as a part of a manifest ----------------------------------------------------------------------


def test_it_travels_as_json():
    plan = info()
    assert PlanInfo.model_validate_json(plan.model_dump_json()) == plan
    assert "compute capability 9.0" in str(plan.built_on)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"onnx_sha256": "abc"}, "onnx_sha256"),
        ({"tf32": True}, "tf32"),
        ({"precision": "fp8"}, "precision"),
        ({"built_on": {**H200.model_dump(), "tensorrt_version": "new"}}, "tensorrt_version"),
        ({"built_on": {**H200.model_dump(), "gpu": "\x1b[31m"}}, "gpu"),
        ({"other": 1}, "other"),
    ],
)
def test_bad_values_are_refused(changes, place):
    with pytest.raises(ValidationError, match=place):
        info(**changes)


def test_it_is_read_without_torch_and_tensorrt():
    code = (
        "import sys, nas.exporting.plan_info, nas.exporting.plan_model, nas.exporting.trtexec\n"
        "assert not {'torch', 'tensorrt'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
