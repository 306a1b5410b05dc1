"""What an external teacher answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nas.config import DataConfig
from nas.data import Dataset, Split, input_tensors, load_data
from nas.task import Task
from nas.training.teachers import Teacher, normalisation_between
from search_spaces import TensorSpec, build_space
from search_spaces.supernet import Supernet, resize


class Echo(nn.Module):
    """Answers with what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * self.weight


def test_a_teacher_is_in_eval_mode_and_gives_no_gradients():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), Echo()).train()
    teacher = Teacher("mine", network)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    before = {name: one.clone() for name, one in teacher.state_dict().items()}
    outputs = teacher((images,))
    assert not outputs.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert torch.equal(teacher((images,)), outputs)
    torch.testing.assert_close(outputs, images / np.sqrt(1 + 1e-5))
    assert all(torch.equal(one, before[name]) for name, one in teacher.state_dict().items())


def test_images_come_at_the_teachers_size_where_it_has_one():
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    spec = TensorSpec((1, 12, 12))
    assert torch.equal(Teacher("mine", Echo())((images,)), images)
    sized = Teacher("mine", Echo(), specs=(spec,))((images,))
    assert torch.equal(sized, resize((images,), (spec,))[0])


def images_of(mean: float, spread: float, channels: int) -> Dataset:
    """The same pictures in other colours have other statistics; so have the data sets here."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (20, channels, 6, 6)).astype(np.uint8)
    split = Split((pixels,), np.arange(20) % 2)
    means = tuple(mean + 0.01 * i for i in range(channels))
    return Dataset(split, split, split, "image", ("a", "b"), 2, means, (spread,) * channels)


@pytest.mark.parametrize("channels", [1, 3])
def test_inputs_are_normalised_as_those_that_the_teacher_was_trained_on(channels):
    ours, theirs = images_of(0.3, 0.2, channels), images_of(0.55, 0.35, channels)
    normalisation = normalisation_between(ours, theirs)
    spec = TensorSpec((channels, 9, 9))
    teacher = Teacher("theirs", Echo(), specs=(spec,), normalisation=normalisation)
    found = teacher(input_tensors(ours, ours.train))
    (expected,) = resize(input_tensors(theirs, ours.train), (spec,))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_sequences_are_normalised_by_feature():
    rng = np.random.default_rng(0)
    split = Split((rng.normal(3, 2, (10, 4, 7)).astype(np.float32),), np.arange(10) % 2)
    ours = Dataset(split, split, split, "sequence", ("a", "b"), 2, (3.0,) * 4, (2.0,) * 4)
    theirs = replace(ours, mean=(1.0, 2.0, 3.0, 4.0), std=(1.0, 5.0, 0.5, 2.0))
    teacher = Teacher("theirs", Echo(), normalisation=normalisation_between(ours, theirs))
    expected = (split.inputs[0] - np.reshape(theirs.mean, (4, 1))) / np.reshape(theirs.std, (4, 1))
    found = teacher(input_tensors(ours, split))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_same_statistics_change_nothing():
    assert normalisation_between(images_of(0.3, 0.2, 3), images_of(0.3, 0.2, 3)) is None


def test_sandwich_steps_with_the_alpha_divergence_teach_the_smallest():
    """Labels reach it only through the logits of the largest; without them its loss stays."""
    digits, space = load_data(DataConfig(), seed=0), build_space("mobilenet-digits")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        supernet = Supernet(space)
    task, rng = Task(distillation="alpha-divergence"), np.random.default_rng(0)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9)
    largest, smallest = (space.decode(one()[0]) for one in (space.largest, space.smallest))

    def outputs(architecture, inputs):
        return supernet(resize(inputs, supernet.inputs(architecture).values()), architecture)

    losses = []
    for _ in range(30):
        index = rng.choice(len(digits.train), 32, replace=False)
        inputs = input_tensors(digits, digits.train, index)
        labels = torch.from_numpy(digits.train.targets[index])
        optimizer.zero_grad()
        logits = outputs(largest, inputs)
        task.training_loss(logits, labels).backward()
        found = outputs(smallest, inputs)
        task.distillation_loss(found, logits.detach()).backward()
        nn.utils.clip_grad_norm_(supernet.parameters(), 5.0)
        optimizer.step()
        losses.append(float(task.training_loss(found.detach(), labels)))
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
