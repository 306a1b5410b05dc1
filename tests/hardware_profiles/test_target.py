import os
import platform
from pathlib import Path

import onnxruntime
import pytest
from pydantic import ValidationError

from hardware_profiles.target import Target, processor_name, this_machine

TARGET = Target(
    device="board", runtime="onnxruntime", runtime_version="1.20.0", provider="CPUExecutionProvider"
)
OTHER = {
    "device": "another board",
    "runtime": "tensorrt",
    "runtime_version": "1.20.1",
    "provider": "CUDAExecutionProvider",
    "precision": "fp16",
    "batch_size": 2,
    "threads": 4,
    "operating_system": "Linux 6.1 aarch64",
}


def test_id_ignores_the_notes():
    noted = TARGET.model_copy(update={"notes": "fan at full speed, clocks locked"})
    assert noted != TARGET
    assert noted.id == TARGET.id


@pytest.mark.parametrize("name", sorted(set(Target.model_fields) - {"notes"}))
def test_id_depends_on_everything_else(name):
    assert OTHER[name] != getattr(TARGET, name)
    assert TARGET.model_copy(update={name: OTHER[name]}).id != TARGET.id


def test_id_survives_json():
    assert Target.model_validate_json(TARGET.model_dump_json()).id == TARGET.id
    assert len(TARGET.id) == 10


def test_text_says_what_a_latency_depends_on():
    assert str(TARGET) == "board, onnxruntime 1.20.0 CPUExecutionProvider, fp32, batch 1, 1 thread"
    assert str(TARGET.model_copy(update=OTHER)).endswith("fp16, batch 2, 4 threads")


@pytest.mark.parametrize(
    "values",
    [
        {"device": ""},
        {"runtime": ""},
        {"threads": 0},
        {"batch_size": 0},
        {"precision": "fp64"},
        {"surplus": 1},
    ],
)
def test_bad_values_are_refused(values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        Target.model_validate(TARGET.model_dump() | values)


def test_targets_do_not_change():
    with pytest.raises(ValidationError):
        TARGET.threads = 8


@pytest.mark.parametrize("threads", [1, 2])
def test_this_machine(threads):
    target = this_machine(threads)
    assert target.device == processor_name()
    assert target.runtime == "onnxruntime"
    assert target.runtime_version == onnxruntime.__version__
    assert target.provider in onnxruntime.get_available_providers()
    assert (target.precision, target.batch_size, target.threads) == ("fp32", 1, threads)
    assert platform.system() in target.operating_system
    assert platform.machine() in target.operating_system


def test_processor_name_is_the_systems():
    name = processor_name()
    assert name == name.strip() != ""
    cpuinfo = Path("/proc/cpuinfo")
    if os.path.exists(cpuinfo) and "model name" in cpuinfo.read_text():
        assert f": {name}\n" in cpuinfo.read_text()
