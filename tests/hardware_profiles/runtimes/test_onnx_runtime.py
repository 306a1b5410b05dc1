import pytest

from hardware_profiles.profile_device import CPU_PROVIDER
from hardware_profiles.runtimes.runtime import Workload
from search_spaces import InputError
from tests.contracts.inputs import one_input
from tests.contracts.runtime_contract import RuntimeContract


class TestOnnxRuntime(RuntimeContract):
    name = "onnxruntime"
    accepted = ({"batch_size": 4}, {"threads": 2}, {"cores": (0,)})
    refused = (
        ({"precision": "fp16"}, "got fp16"),
        ({"precision": "bf16"}, "got bf16"),
        ({"precision": "int8"}, "got int8"),
        ({"provider": "NoSuchExecutionProvider"}, f"it has .*{CPU_PROVIDER}"),
    )

    def test_what_it_cannot_open_is_the_users_error(self, runtime):
        broken = Workload(module=list, inputs=one_input(3, 12, 12), onnx=lambda: b"no model")
        with (
            pytest.raises(InputError, match="ONNX Runtime cannot open a model"),
            runtime.open(broken),
        ):
            raise AssertionError("not reached")
