"""What a subnet is worth: extracted, calibrated, evaluated; never measured inside the supernet."""

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, fx, nn

from nas.data import Dataset, Inputs, Split, input_tensors, normalised
from nas.subnet.calibrate import calibrate
from nas.subnet.fuse import fused
from nas.task import Outputs, Score, Task
from nas.training.batches import target_tensor
from search_spaces import Architecture
from search_spaces.layer_kind import TensorSpec
from search_spaces.supernet import Supernet, resize

LARGEST_BATCH = 256
BATCH_NUMBERS = 2**17  # of the inputs of a batch, about: what is computed from them stays in caches
CALIBRATION_BATCH_SIZE = 64
KEPT_SHAPES = 4  # of inputs, by split: those of the last few architectures


class SubnetEvaluator:
    """Extracts, calibrates and evaluates subnets on samples that are loaded once.

    Args:
        supernet: where the weights come from.
        data: the calibration samples are the first `calibration_samples` of a seeded order of its
            training samples, without augmentation.
        task: how outputs are judged.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Dataset,
        task: Task,
        calibration_samples: int,
        seed: int,
    ) -> None:
        self._supernet, self._data, self.task = supernet, data, task
        order = np.random.default_rng([seed, 0xCA1]).permutation(len(data.train))
        calibration = data.train.take(order[: max(2, calibration_samples)])
        self._splits = {
            "calibration": calibration,
            "validation": data.validation,
            "test": data.test,
        }
        self._resized: dict[str, OrderedDict[tuple[TensorSpec, ...], Inputs]] = {
            name: OrderedDict() for name in self._splits
        }

    def subnet(self, architecture: Architecture) -> fx.GraphModule:
        """Extract and calibrate one architecture; in eval mode."""
        subnet = self._supernet.extract(architecture)
        num_samples = len(self._splits["calibration"])
        size = min(CALIBRATION_BATCH_SIZE, num_samples)
        batches = range(num_samples // size)  # of one size, so that each counts the same
        calibrate(
            subnet,
            (
                tuple(
                    one[i * size : (i + 1) * size]
                    for one in self.inputs("calibration", architecture)
                )
                for i in batches
            ),
        )
        return subnet

    def specs(self, architecture: Architecture) -> dict[str, TensorSpec]:
        """Return the specs of the architecture's inputs by name, in order."""
        return self._supernet.inputs(architecture)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(self._supernet.space.outputs)

    def inputs(self, split: str, architecture: Architecture) -> Inputs:
        """Return all inputs of a split, normalised, at the architecture's sizes: each n x ..."""
        kept, specs = self._resized[split], tuple(self.specs(architecture).values())
        if specs not in kept:
            inputs = input_tensors(self._data, self._splits[split])
            inputs = tuple(one.to(self._device) for one in inputs)
            kept[specs] = tuple(_laid_out(one) for one in resize(inputs, specs))
            if len(kept) > KEPT_SHAPES:
                kept.popitem(last=False)
        kept.move_to_end(specs)
        return kept[specs]

    @property
    def data(self) -> Dataset:
        """The data set that subnets are judged on."""
        return self._data

    def samples(self, split: str, n: int) -> Split:
        """Return the first n samples of a split as the data hold them."""
        whole = self._splits[split]
        return Split(tuple(one[:n] for one in whole.inputs), whole.targets[:n])

    def prepared(self, inputs: Inputs, architecture: Architecture) -> Inputs:
        """Return inputs that are as the data hold them as the network takes them."""
        moved = tuple(one.to(self._device) for one in normalised(self._data, inputs))
        return resize(moved, self.specs(architecture).values())

    def targets(self, split: str) -> Tensor:
        """Return all targets of a split: n, or n x ..."""
        return target_tensor(self._splits[split]).to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self._supernet.parameters()).device

    def validation_accuracy(self, architecture: Architecture) -> float:
        """Extract, calibrate and validate one architecture; the task's metric."""
        return self.score(self.subnet(architecture), architecture, "validation").accuracy

    def score(self, subnet: nn.Module, architecture: Architecture, split: str) -> Score:
        """Evaluate a calibrated subnet on "validation" or "test".

        Raises:
            InputError: a function of the user's task fails.
        """
        network = fused(subnet) if isinstance(subnet, fx.GraphModule) else subnet
        outputs = run_in_batches(network, self.inputs(split, architecture))
        with torch.no_grad():
            return self.task.score(outputs, self.targets(split))


def run_in_batches(subnet: nn.Module, inputs: Inputs) -> Outputs:
    """Return the outputs of n samples."""
    size = min(LARGEST_BATCH, max(8, BATCH_NUMBERS // inputs[0][0].numel()))
    chunks = zip(*(torch.split(one, size) for one in inputs), strict=True)
    with torch.inference_mode():
        outputs = [subnet(*chunk) for chunk in chunks]
    if isinstance(outputs[0], Tensor):
        return torch.cat(outputs)
    return tuple(torch.cat(one) for one in zip(*outputs, strict=True))


def _laid_out(one: Tensor) -> Tensor:
    return one.contiguous(
        memory_format=torch.channels_last if one.ndim == 4 else torch.contiguous_format
    )
