import subprocess
import sys

import pytest

from hardware_profiles.runtimes import RUNTIMES, build_runtime
from hardware_profiles.runtimes.runtime import RuntimeSettings
from search_spaces import InputError


def test_catalogue():
    assert list(RUNTIMES) == ["onnxruntime", "torch-cpu", "torch-cuda", "tensorrt"]


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="unknown runtime 'torch_cpu'; did you mean 'torch-cpu'"):
        build_runtime("torch_cpu", RuntimeSettings())


def test_the_catalogue_loads_no_runtime():
    code = (
        "import sys, hardware_profiles.runtimes, hardware_profiles.energy\n"
        "print({'torch', 'onnxruntime', 'onnx', 'tensorrt', 'pynvml'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
