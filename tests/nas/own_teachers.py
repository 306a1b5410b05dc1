"""Teachers as a user brings them: `python:tests.nas.own_teachers:...`."""

import torch
from torch import Tensor, nn

HERE = f"python:{__name__}"


def ten_classes() -> nn.Module:
    """For digits at their own size; with dropout and a norm, which must not act as in training."""
    layers = (nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    return nn.Sequential(*layers)


def nine_classes() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))


def larger_images() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 10))


def a_map() -> nn.Module:
    return nn.Conv2d(1, 10, 3)


def two_outputs() -> nn.Module:
    class Two(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    return Two()


def no_module() -> Tensor:
    return torch.zeros(10)


def raising() -> nn.Module:
    raise RuntimeError("no weights here")
