import copy

import numpy as np
import pytest
import torch

from nas.task import Task
from nas.training.precision import _has_bf16, autocast, check_precision, in_fp32
from search_spaces import InputError, build_space
from search_spaces.supernet import Supernet, resize
from tests.nas.training.small_training import CONFIG
from tests.nas.training.small_training import SmallTraining as Training

CPU = torch.device("cpu")
CALM = CONFIG.replaced(num_random=0, batch_size=128, epochs=6, warm_up_epochs=3)  # six steps


def losses(precision: str, supernet: Supernet, num_steps: int = 10) -> list[float]:
    """Cross-entropy of the largest, which then teaches the smallest, on ten fixed images."""
    supernet, task, space = copy.deepcopy(supernet), Task(), supernet.space
    largest, smallest = (space.decode(g[0]) for g in (space.largest(), space.smallest()))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 1, 12, 12, generator=generator)
    large, small = (
        resize((images,), supernet.inputs(architecture).values())
        for architecture in (largest, smallest)
    )
    targets = torch.arange(10)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.05, momentum=0.9)
    found = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        with autocast(precision, CPU):
            outputs = supernet(large, largest)
        teacher = in_fp32(outputs)
        loss = task.training_loss(teacher, targets)
        loss.backward()
        with autocast(precision, CPU):
            outputs = supernet(small, smallest)
        task.distillation_loss(in_fp32(outputs), teacher.detach()).backward()
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in supernet.parameters())
        optimizer.step()
        found.append(float(loss.detach()))
    return found


@pytest.fixture
def supernet():
    space = build_space("mobilenet-digits")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(space).to(memory_format=torch.channels_last)


def test_the_loss_curve_in_bf16_is_that_in_fp32(supernet):
    exact, mixed = losses("fp32", supernet), losses("bf16", supernet)
    assert exact[-1] < 0.5 * exact[0]
    np.testing.assert_allclose(mixed[:5], exact[:5], rtol=0.05)
    assert abs(mixed[-1] - exact[-1]) < 0.15
    assert mixed != exact


def test_only_bf16_changes_the_type_of_outputs():
    first, second = torch.ones(2, 2), torch.ones(2, 2)
    with autocast("fp32", CPU):
        assert (first @ second).dtype == torch.float32
    with autocast("bf16", CPU):
        product = first @ second
    assert product.dtype == torch.bfloat16
    assert (first @ second).dtype == torch.float32
    assert in_fp32(product).dtype == torch.float32
    assert [one.dtype for one in in_fp32((product, first))] == [torch.float32] * 2


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16"])
def test_devices_without_bf16_are_refused(monkeypatch, name):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    check_precision("fp32", CPU)
    for device in (CPU, torch.device("mps")):
        with pytest.raises(InputError, match=f"{device.type} has no bf16 arithmetic; set it to"):
            check_precision("bf16", device)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True})
    check_precision("bf16", CPU)


def test_gpus_without_bf16_are_refused(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has
        )
        if has:
            check_precision("bf16", torch.device("cuda"))
        else:
            with pytest.raises(InputError, match="cuda has no bf16"):
                check_precision("bf16", torch.device("cuda"))


@pytest.mark.skipif(not _has_bf16(CPU), reason="this processor has no bf16 arithmetic")
def test_a_training_in_bf16_has_other_weights_and_the_same_loss_curve(tmp_path, space, bars):
    exact, mixed = (
        Training(tmp_path / precision, space, bars, CALM.replaced(precision=precision))
        for precision in ("fp32", "bf16")
    )
    for training in (exact, mixed):
        training.go_on()
    weights = [
        {name: one for name, one in training.tensors().items() if name.startswith("weights.")}
        for training in (exact, mixed)
    ]
    assert all(one.dtype == torch.float32 for one in weights[1].values())
    assert not any(torch.equal(one, weights[1][name]) for name, one in weights[0].items())
    left, right = (
        [record["losses"]["largest"] for record in training.records()]
        for training in (exact, mixed)
    )
    assert left[-1] < 0.8 * left[0]
    np.testing.assert_allclose(right[:3], left[:3], rtol=0.01)
    np.testing.assert_allclose(right, left, rtol=0.08)  # roundings grow with the steps
