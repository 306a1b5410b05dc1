"""What a subnet is worth: extracted, calibrated, evaluated; never measured inside the supernet."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from nas.data import ImageData
from nas.subnet.calibrate import calibrate
from nas.training.batches import Normalizer
from search_spaces import Architecture
from search_spaces.supernet import Supernet, resize

BATCH_SIZE = 256
CALIBRATION_BATCH_SIZE = 128


@dataclass(frozen=True)
class Score:
    """Quality on one split; accuracies are fractions. The halves are two fixed halves of the
    split.
    """

    accuracy: float
    cross_entropy: float
    accuracy_halves: tuple[float, float]
    cross_entropy_halves: tuple[float, float]


class SubnetEvaluator:
    """Extracts, calibrates and evaluates subnets on images that are loaded once.

    Args:
        supernet: where the weights come from.
        data: the calibration images are the first `calibration_images` of a seeded order of its
            training images, without augmentation.
    """

    def __init__(
        self, supernet: Supernet, data: ImageData, calibration_images: int, seed: int
    ) -> None:
        self._supernet = supernet
        self._normalizer = Normalizer(data)
        self._resized: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        order = np.random.default_rng([seed, 0xCA1]).permutation(len(data.train))
        calibration = data.train.take(order[: max(2, calibration_images)])
        self._splits = {
            "calibration": calibration,
            "validation": data.validation,
            "test": data.test,
        }

    def subnet(self, architecture: Architecture) -> fx.GraphModule:
        """Extract and calibrate one architecture; in eval mode."""
        subnet = self._supernet.extract(architecture)
        images = self.images("calibration", architecture)
        size = min(CALIBRATION_BATCH_SIZE, len(images))
        batches = len(images) // size  # of one size, so that each counts the same
        calibrate(subnet, torch.split(images[: batches * size], size))
        return subnet

    def input_shape(self, architecture: Architecture) -> tuple[int, ...]:
        """Return c x h x w of the architecture's input."""
        return self._supernet.input_shapes(architecture)[0]

    def images(self, split: str, architecture: Architecture) -> Tensor:
        """Return all images of a split, normalised, at the architecture's resolution: n x c x h
        x w.
        """
        shape = self.input_shape(architecture)
        if (split, shape) not in self._resized:
            images, _ = self._normalizer(self._splits[split])
            self._resized[split, shape] = resize(images, shape).contiguous(
                memory_format=torch.channels_last
            )
        return self._resized[split, shape]

    def labels(self, split: str) -> Tensor:
        """Return all labels of a split: n."""
        return torch.from_numpy(self._splits[split].labels)

    def validation_accuracy(self, architecture: Architecture) -> float:
        """Extract, calibrate and validate one architecture; a fraction."""
        return self.score(self.subnet(architecture), architecture, "validation").accuracy

    def score(self, subnet: nn.Module, architecture: Architecture, split: str) -> Score:
        """Evaluate a calibrated subnet on "validation" or "test"."""
        with torch.no_grad():
            chunks = torch.split(self.images(split, architecture), BATCH_SIZE)
            logits = torch.cat([subnet(images) for images in chunks])
        labels = self.labels(split)
        correct = (logits.argmax(dim=1) == labels).double()
        losses = F.cross_entropy(logits.double(), labels, reduction="none")
        return Score(
            float(correct.mean()),
            float(losses.mean()),
            (float(correct[::2].mean()), float(correct[1::2].mean())),
            (float(losses[::2].mean()), float(losses[1::2].mean())),
        )
