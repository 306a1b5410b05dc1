import pytest
import torch

from hardware_profiles.profile_device import processor_name
from hardware_profiles.runtimes.runtime import RuntimeSettings
from hardware_profiles.runtimes.torch_cuda import (
    TorchCuda,
    captured,
    cuda_device,
    driver_version,
    ieee_arithmetic,
)
from search_spaces import InputError
from tests.contracts.runtime_contract import RuntimeContract, small_module, tf32_state

HAS_GPU = torch.version.cuda is not None and torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="torch finds no NVIDIA GPU here")
GPU_REFUSES = (
    ({"precision": "int8"}, "got int8"),
    ({"provider": "CPUExecutionProvider"}, "no providers"),
    ({"threads": 2}, "threads 1, got 2"),
)


@pytest.mark.gpu
@needs_gpu
class TestTorchCuda(RuntimeContract):
    name = "torch-cuda"
    accepted = (
        {"precision": "fp16"},
        {"precision": "bf16"},  # an H200 has it
        {"batch_size": 4},
        {"cores": (0,)},
    )
    refused = GPU_REFUSES

    def test_target_names_the_gpu_and_what_is_beside_it(self, runtime):
        target = runtime.target
        assert target.device == torch.cuda.get_device_name()
        assert target.host == processor_name()
        assert target.provider == "cuda-graphs"
        for said in ("driver", "CUDA", "compute capability", "TF32 off"):
            assert said in target.notes


@pytest.mark.gpu
@needs_gpu
def test_the_captured_work_is_what_runs():
    device = cuda_device("torch-cuda")
    module = small_module().to(device)
    inputs = torch.randn(4, 3, 12, 12, device=device)
    answers = torch.full((4, 5), torch.nan, device=device)
    with captured(lambda: answers.copy_(module(inputs)), device) as timer:
        answers.fill_(torch.nan)
        torch.cuda.synchronize()
        timer(1)
        expected = small_module()(inputs.cpu()).detach()
        torch.testing.assert_close(answers.cpu(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@needs_gpu
def test_own_times_grow_with_the_work():
    device = cuda_device("torch-cuda")
    matrix = torch.randn(2048, 2048, device=device)

    def multiply(times):
        def work():
            for _ in range(times):
                torch.mm(matrix, matrix)

        with captured(work, device) as timer:
            return sorted(timer(9)[1])[4]

    assert multiply(20) > 5 * multiply(1)


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_without_a_gpu_the_way_out_is_named():
    with pytest.raises(InputError, match="torch-cuda needs an NVIDIA GPU") as caught:
        TorchCuda(RuntimeSettings())
    assert torch.__version__ in str(caught.value)
    assert "pip install torch" in str(caught.value) or "nvidia-smi" in str(caught.value)


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_a_cuda_build_without_a_gpu_says_so(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(InputError, match=r"built for CUDA 13\.0, finds none: .* nvidia-smi"):
        TorchCuda(RuntimeSettings())


def test_settings_are_checked_before_the_gpu_is_looked_for():
    for fields, word in GPU_REFUSES:
        with pytest.raises(InputError, match=word):
            TorchCuda(RuntimeSettings.model_validate(fields))


def test_driver_version_is_the_kernel_modules(tmp_path):
    path = tmp_path / "version"
    assert driver_version(path) == "unknown"
    path.write_text("580.159.04\n")
    assert driver_version(path) == "580.159.04"


@pytest.fixture(params=["default", "high by the older setting", "tf32 by the newer setting"])
def ambient(request):
    """Ways in which a program that uses us may have set TF32."""
    matmul = torch.backends.cuda.matmul
    legacy, newer = torch.get_float32_matmul_precision(), matmul.fp32_precision
    if request.param == "high by the older setting":
        torch.set_float32_matmul_precision("high")
    elif request.param == "tf32 by the newer setting":
        matmul.fp32_precision = "tf32"
    yield
    torch.set_float32_matmul_precision(legacy)
    matmul.fp32_precision = newer


def test_tf32_is_off_inside_and_as_before_after_it(ambient):
    before = tf32_state()
    benchmark = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        with pytest.raises(ZeroDivisionError), ieee_arithmetic():
            assert tf32_state()[:3] == ["ieee"] * 3
            assert torch.backends.cuda.matmul.allow_tf32 is False  # torch sees no contradiction
            assert torch.backends.cudnn.benchmark is False
            raise ZeroDivisionError
        assert torch.backends.cudnn.benchmark is True
    finally:
        torch.backends.cudnn.benchmark = benchmark
    assert tf32_state() == before
