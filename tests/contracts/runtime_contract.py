import os
import platform
import random
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch import nn

from hardware_profiles.runtimes import RUNTIMES, build_runtime
from hardware_profiles.runtimes.runtime import Runtime, RuntimeSettings, Workload
from hardware_profiles.target import Target
from hardware_profiles.workloads import module_workload
from search_spaces import InputError
from tests.contracts.inputs import one_input


class Residual(nn.Module):
    """A little of all that our networks hold: norms, gates, residuals, matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.activation = nn.Hardswish(inplace=True)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Hardsigmoid()
        self.flatten = nn.Flatten()
        self.logits = nn.Linear(8, 5)

    def forward(self, inputs):
        hidden = self.activation(self.norm(self.stem(inputs)))
        hidden = hidden + hidden * self.gate(self.pool(self.depthwise(hidden)))
        return self.logits(self.flatten(self.pool(hidden)))


def small_module() -> nn.Module:
    """The same network at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Residual().eval()


def small_workload() -> Workload:
    return module_workload(small_module, one_input(3, 12, 12), ["output"])


def global_state() -> dict[str, object]:
    """What a runtime may only change while it works."""
    cudnn = torch.backends.cudnn
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "torch random": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy random": str(np.random.get_state()),
        "cores": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        "tf32": tf32_state(),
    }


def tf32_state() -> list[str]:
    """All ways in which torch says whether it computes in TF32; it refuses to say some."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return [
        matmul.fp32_precision,
        cudnn.conv.fp32_precision,
        cudnn.rnn.fp32_precision,
        *map(
            _said,
            (
                torch.get_float32_matmul_precision,
                lambda: matmul.allow_tf32,
                lambda: cudnn.allow_tf32,
            ),
        ),
    ]


def _said(read) -> str:
    try:
        return str(read())
    except RuntimeError as error:
        return str(error)


class RuntimeContract:
    """What every runtime promises.

    A subclass names its entry of `RUNTIMES` and says what it takes: `accepted` are fields of
    `RuntimeSettings` that differ from the defaults, one runtime each; `refused` are fields that are
    an `InputError`, with a word that the message holds.
    """

    name: str
    accepted: tuple[dict[str, object], ...]
    refused: tuple[tuple[dict[str, object], str], ...]

    def build(self, **settings: object) -> Runtime:
        """The runtime with these settings."""
        return build_runtime(self.name, RuntimeSettings.model_validate(settings))

    def built(self) -> list[tuple[RuntimeSettings, Runtime]]:
        """The runtime with its defaults and with every accepted setting."""
        all_settings = [RuntimeSettings.model_validate(fields) for fields in ({}, *self.accepted)]
        return [(settings, build_runtime(self.name, settings)) for settings in all_settings]

    @pytest.fixture
    def runtime(self) -> Runtime:
        return self.build()

    def test_is_in_the_catalogue(self, runtime):
        assert self.name in RUNTIMES
        assert runtime.target.runtime == self.name

    def test_target_says_what_was_asked_for(self):
        for settings, runtime in self.built():
            target = runtime.target
            assert target.precision == settings.precision
            assert target.batch_size == settings.batch_size
            assert target.threads == settings.threads
            assert target.cores == (",".join(map(str, settings.cores)) or "any")

    def test_target_says_where_it_runs(self, runtime):
        target = runtime.target
        for field in ("device", "runtime_version", "provider", "governor"):
            assert getattr(target, field).strip()
        assert target.device != "unknown"
        assert platform.system() in target.operating_system
        assert platform.machine() in target.operating_system

    def test_target_is_the_same_every_time(self, runtime):
        again = self.build().target
        assert again == runtime.target
        assert Target.model_validate_json(again.model_dump_json()).id == runtime.target.id

    def test_other_settings_are_other_targets(self):
        ids = [runtime.target.id for _, runtime in self.built()]
        assert len(ids) > 1
        assert len(set(ids)) == len(ids)

    def test_what_it_cannot_do_is_refused(self):
        assert self.refused
        for fields, word in self.refused:
            with pytest.raises(InputError, match=word):
                self.build(**fields)

    def test_every_precision_is_accepted_or_refused(self):
        precisions = [fields.get("precision") for fields in self.accepted]
        precisions += [fields.get("precision") for fields, _ in self.refused]
        assert {"fp32", *precisions} - {None} == {"fp32", "fp16", "bf16", "int8"}

    def test_timer_returns_n_times_of_both_clocks(self):
        for _, runtime in self.built():
            with runtime.open(small_workload()) as timer:
                for n in (1, 3, 3):
                    for times in timer(n):
                        assert len(times) == n
                        assert all(type(one) is int and one > 0 for one in times)

    def test_wall_time_holds_the_work(self, runtime):
        """The own clock may lose what the wall clock sees, not the other way round."""
        with runtime.open(small_workload()) as timer:
            timer(3)
            wall, own = timer(20)
        assert sum(own) <= 1.01 * sum(wall)

    def test_nothing_global_changes(self):
        for _, runtime in self.built():
            before = global_state()
            with runtime.open(small_workload()) as timer:
                timer(2)
                assert global_state() == before
            assert global_state() == before

    def test_an_error_inside_comes_out_and_leaves_nothing(self, runtime):
        before = global_state()
        with pytest.raises(ZeroDivisionError), runtime.open(small_workload()) as timer:
            timer(1)
            raise ZeroDivisionError
        assert global_state() == before

    def test_an_error_of_the_network_comes_out_and_leaves_nothing(self, runtime):
        def broken() -> None:
            raise ZeroDivisionError

        before = global_state()
        workload = Workload(module=broken, inputs=one_input(3, 12, 12), onnx=broken)
        with pytest.raises(ZeroDivisionError), runtime.open(workload) as timer:
            timer(1)
        assert global_state() == before

    def test_networks_may_be_open_side_by_side_and_closed_in_any_order(self, runtime):
        before = global_state()
        with ExitStack() as first:
            one = first.enter_context(runtime.open(small_workload()))
            with ExitStack() as second:
                other = second.enter_context(runtime.open(small_workload()))
                first.close()
                assert len(other(2)[0]) == 2
        assert one is not other
        assert global_state() == before

    def test_networks_are_made_when_opened(self):
        made = []

        def module() -> nn.Module:
            made.append("module")
            return small_module()

        def onnx() -> bytes:
            made.append("onnx")
            return small_workload().onnx()

        runtime = self.build()
        assert made == []
        with runtime.open(Workload(module, one_input(3, 12, 12), onnx)) as timer:
            timer(1)
        assert len(made) == 1
