import math

import numpy as np
import pytest
import torch
from torch import nn

from nas.subnet.evaluator import SubnetEvaluator
from nas.task import Task
from search_spaces.supernet import Supernet, resize


@pytest.fixture(scope="module")
def supernet(space):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(space)


@pytest.fixture(scope="module")
def evaluator(supernet, bars):
    return SubnetEvaluator(supernet, bars, Task(), calibration_samples=64, seed=0)


@pytest.fixture(scope="module")
def architectures(space):
    population = np.concatenate(
        [space.smallest(), space.largest(), space.sample(2, np.random.default_rng(0))]
    )
    return [space.decode(genome) for genome in population]


def test_scores_are_those_of_a_plain_loop(evaluator, architectures, bars):
    for architecture in architectures[:2]:
        subnet = evaluator.subnet(architecture)
        specs = evaluator.specs(architecture).values()
        for name, split in (("validation", bars.validation), ("test", bars.test)):
            correct, losses = [], []
            for image, label in zip(split.inputs[0], split.targets, strict=True):
                pixels = torch.from_numpy(image).float()[None] / 255
                normal = (pixels - bars.mean[0]) / bars.std[0]
                with torch.no_grad():
                    logits = subnet(*resize((normal,), specs))[0].double()
                correct.append(int(logits.argmax()) == label)
                losses.append(math.log(float(logits.exp().sum())) - float(logits[label]))
            score = evaluator.score(subnet, architecture, name)
            assert score.accuracy == pytest.approx(np.mean(correct))
            assert score.loss == pytest.approx(np.mean(losses), rel=1e-4)
            for half in (0, 1):
                assert score.accuracy_halves[half] == pytest.approx(np.mean(correct[half::2]))
                expected = np.mean(losses[half::2])
                assert score.loss_halves[half] == pytest.approx(expected, rel=1e-4)


def test_a_perfect_subnet_scores_one(evaluator, architectures, bars):
    class Oracle(nn.Module):
        """Reads the class off the brightest bar."""

        def forward(self, images):
            side = images.shape[-1] // 4
            rows = images[:, 0].mean(dim=2)
            return 20 * torch.stack(
                [rows[:, i * side : (i + 1) * side].mean(1) for i in range(4)], dim=1
            )

    score = evaluator.score(Oracle(), architectures[0], "test")
    assert score.accuracy == 1.0
    assert score.loss < 1e-3


def test_subnets_are_calibrated_on_the_first_of_a_seeded_order_of_training_images(
    supernet, evaluator, architectures, bars
):
    architecture = architectures[1]
    subnet = evaluator.subnet(architecture)
    assert not subnet.training
    norm = next(m for m in subnet.modules() if isinstance(m, nn.BatchNorm2d))
    first = next(m for m in subnet.modules() if isinstance(m, nn.Conv2d))
    (images,) = evaluator.inputs("calibration", architecture)
    assert len(images) == 64
    with torch.no_grad():
        outputs = first(images)
    torch.testing.assert_close(norm.running_mean, outputs.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    train = {image.tobytes() for image in bars.train.inputs[0]}
    assert {image.tobytes() for image in evaluator._splits["calibration"].inputs[0]} <= train
    again = SubnetEvaluator(supernet, bars, Task(), 64, seed=0).subnet(architecture)
    other = SubnetEvaluator(supernet, bars, Task(), 64, seed=1).subnet(architecture)
    states = [net.state_dict() for net in (subnet, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.parametrize("samples", [1, 100, 128, 10_000])
def test_any_number_of_calibration_samples(supernet, bars, architectures, samples):
    evaluator = SubnetEvaluator(supernet, bars, Task(), samples, seed=0)
    assert 0 <= evaluator.validation_accuracy(architectures[0]) <= 1


def test_images_are_resized_to_the_architecture_and_kept(evaluator, architectures):
    for architecture in architectures:
        (images,) = evaluator.inputs("validation", architecture)
        assert tuple(images.shape[1:]) == evaluator.specs(architecture)["input"].shape
        assert evaluator.inputs("validation", architecture)[0] is images


def test_inputs_of_the_last_few_sizes_are_kept(supernet, bars, architectures, monkeypatch):
    monkeypatch.setattr("nas.subnet.evaluator.KEPT_SHAPES", 1)
    evaluator = SubnetEvaluator(supernet, bars, Task(), 64, seed=0)
    small, large = architectures[:2]
    (first,) = evaluator.inputs("validation", small)
    evaluator.inputs("validation", large)
    (again,) = evaluator.inputs("validation", small)
    assert again is not first
    assert torch.equal(again, first)


def test_scoring_repeats_exactly_and_leaves_the_supernet_alone(evaluator, supernet, architectures):
    before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    mode = supernet.training
    scores = [
        evaluator.score(evaluator.subnet(architectures[2]), architectures[2], "validation")
        for _ in range(2)
    ]
    assert scores[0] == scores[1]
    assert scores[0].accuracy == evaluator.validation_accuracy(architectures[2])
    assert all(torch.equal(p, before[name]) for name, p in supernet.named_parameters())
    assert supernet.training == mode
