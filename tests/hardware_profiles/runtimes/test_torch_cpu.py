import threading
import time

import pytest
import torch
from torch import nn

from hardware_profiles.profile_device import processor_name
from hardware_profiles.runtimes.runtime import RuntimeSettings, Workload
from hardware_profiles.runtimes.torch_cpu import TorchCpu, num_threads
from tests.contracts.inputs import one_input
from tests.contracts.runtime_contract import RuntimeContract, small_module


class TestTorchCpu(RuntimeContract):
    name = "torch-cpu"
    accepted = (
        {"precision": "bf16"},
        {"batch_size": 4},
        {"threads": 2},
        {"cores": (0,)},
    )
    refused = (
        ({"precision": "fp16"}, "fp32 or bf16, got fp16"),
        ({"precision": "int8"}, "fp32 or bf16, got int8"),
        ({"provider": "CPUExecutionProvider"}, "no providers"),
    )


class Recorder(nn.Module):
    """A network that remembers what it was run on, what it answered, and under which settings."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_module()
        self.runs = []

    def forward(self, inputs):
        outputs = self.network(inputs)
        settings = {
            "threads": torch.get_num_threads(),
            "inference": torch.is_inference_mode_enabled(),
            "training": self.network.norm.training,
            "thread": threading.get_ident(),
        }
        self.runs.append((inputs, outputs, settings))
        return outputs


def recorded(num_runs=2, **settings):
    """The runs that a timer made."""
    recorder = Recorder()
    workload = Workload(lambda: recorder, one_input(3, 12, 12), onnx=bytes)
    with TorchCpu(RuntimeSettings(**settings)).open(workload) as timer:
        timer(num_runs)
    return recorder.runs


def test_target_names_torch_and_the_cpu():
    target = TorchCpu(RuntimeSettings()).target
    assert (target.device, target.host) == (processor_name(), "")
    assert (target.runtime_version, target.provider) == (torch.__version__, "eager")
    assert "channels last" in target.notes


def test_it_runs_as_often_as_asked():
    assert len(recorded(num_runs=7)) == 7


@pytest.mark.parametrize("threads", [1, 2])
def test_it_runs_in_inference_mode_on_the_stated_threads(threads):
    for _, _, settings in recorded(threads=threads):
        assert settings == {
            "threads": threads,
            "inference": True,
            "training": False,
            "thread": threading.get_ident(),
        }


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_inputs_are_standard_normal_of_the_batch_and_precision(batch_size, precision, dtype):
    for inputs, _, _ in recorded(batch_size=batch_size, precision=precision):
        assert inputs.shape == (batch_size, 3, 12, 12)
        assert inputs.dtype == dtype
        assert inputs.is_contiguous(memory_format=torch.channels_last)
        assert abs(inputs.float().mean()) < 0.15
        assert 0.85 < inputs.float().std() < 1.15


def test_the_network_itself_answers():
    inputs, outputs, _ = recorded()[-1]
    with torch.no_grad():
        expected = small_module()(inputs.clone())
    torch.testing.assert_close(outputs.clone(), expected, rtol=1e-4, atol=1e-5)


def test_bf16_answers_nearly_the_same():
    inputs, outputs, _ = recorded(precision="bf16")[-1]
    with torch.no_grad():
        expected = small_module()(inputs.clone().float())
    assert outputs.dtype == torch.bfloat16
    torch.testing.assert_close(outputs.clone().float(), expected, rtol=0.05, atol=0.05)
    assert not torch.equal(outputs.clone().float(), expected)  # it was not computed in fp32


def test_flat_inputs_are_taken_too():
    workload = Workload(lambda: nn.Linear(6, 2).eval(), one_input(6), onnx=bytes)
    with TorchCpu(RuntimeSettings()).open(workload) as timer:
        assert len(timer(2)[0]) == 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_thread_computes_in_the_thread_that_called(precision):
    """What makes the thread's own clock the clock of the work: the rest of the process rests."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    module = nn.Sequential(
        nn.Conv2d(16, 32, 3, padding=1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, 64),
    ).eval().to(dtype)  # fmt: skip
    inputs = torch.randn(2, 16, 64, 64).to(dtype)
    elsewhere = []  # of the process's time; threads of earlier tests may still be falling asleep
    with num_threads(1), torch.inference_mode():
        for _ in range(5):
            thread, process = time.thread_time_ns(), time.process_time_ns()
            for _ in range(5):
                module(inputs)
            thread, process = time.thread_time_ns() - thread, time.process_time_ns() - process
            elsewhere.append(1 - thread / process)
    assert min(elsewhere) < 0.05


def test_threads_are_put_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), num_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
