from hardware_profiles.profile_device import CPU_PROVIDER
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
