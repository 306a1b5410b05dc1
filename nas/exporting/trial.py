"""What model files of a subnet are tried on: real samples and random ones, with its answers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from nas.data import Inputs, Split
from nas.exporting.in_memory import Exported
from nas.exporting.model_options import Preprocessing
from nas.exporting.parity import Array, Arrays
from nas.exporting.pixels import PIXELS_NAME
from nas.subnet.evaluator import SubnetEvaluator, run_in_batches
from nas.task import Outputs, Score, as_tuple
from nas.training.batches import target_tensor

NUM_SAMPLES = 1000  # of validation, at most
SEEDS = range(10)
PER_SEED = 16  # random samples
LEAST_IDS = 2  # below it are padding and the start of a text


@dataclass(frozen=True)
class Trial:
    """The inputs that files of one subnet are tried on, and what the subnet answers."""

    exported: Exported
    evaluator: SubnetEvaluator

    @cached_property
    def raw(self) -> Split:
        """The first validation samples as the data hold them."""
        return self.evaluator.samples("validation", NUM_SAMPLES)

    @cached_property
    def inputs(self) -> Inputs:
        """The same, as the network takes them."""
        found = self.evaluator.inputs("validation", self.exported.architecture)
        return tuple(one[:NUM_SAMPLES] for one in found)

    @cached_property
    def expected(self) -> dict[str, Array]:
        """What the subnet answers to them."""
        return named_arrays(
            self.exported.outputs, run_in_batches(self.exported.subnet, self.inputs)
        )

    def feeds(self, preprocessing: Preprocessing) -> dict[str, Array]:
        """Return the real samples as a file takes them, by name of its inputs."""
        if preprocessing == "graph":
            return {PIXELS_NAME: _height_width_channels(self.raw.inputs[0])}
        return named_arrays(tuple(self.exported.inputs), self.inputs)

    def score(self, outputs: Arrays) -> Score:
        """Judge outputs for the real samples as the task does."""
        tensors = tuple(torch.from_numpy(one) for one in outputs.values())
        found = tensors[0] if len(tensors) == 1 else tensors
        with torch.no_grad():
            return self.evaluator.task.score(found, target_tensor(self.raw))

    def random(self, preprocessing: Preprocessing) -> Iterator[tuple[Arrays, Arrays]]:
        """Yield (feeds, answers of the subnet) for every seed."""
        names, exported = tuple(self.exported.inputs), self.exported
        for seed in SEEDS:
            raw = self._random_inputs(np.random.default_rng(seed), preprocessing)
            tensors = tuple(map(torch.from_numpy, raw))
            feeds: Arrays = dict(zip(names, raw, strict=True))
            if preprocessing == "graph":
                tensors = self.evaluator.prepared(tensors, exported.architecture)
                feeds = {PIXELS_NAME: _height_width_channels(raw[0])}
            device = self.inputs[0].device
            tensors = tuple(one.to(device) for one in tensors)
            yield feeds, named_arrays(exported.outputs, run_in_batches(exported.subnet, tensors))

    def _random_inputs(
        self, generator: np.random.Generator, preprocessing: Preprocessing
    ) -> list[Array]:
        """Draw pixels, standard normal numbers, or ids below the vocabulary with masks."""
        data, shapes = self.evaluator.data, [one.shape for one in self.exported.inputs.values()]
        if preprocessing == "graph":
            size = (PER_SEED, *self.raw.inputs[0].shape[1:])
            return [generator.integers(0, 256, size, dtype=np.uint8)]
        if data.modality != "tokens":
            sizes = [(PER_SEED, *shape) for shape in shapes]
            return [generator.standard_normal(size, dtype=np.float32) for size in sizes]
        (length,) = shapes[0]
        lengths = generator.integers(1, length + 1, (PER_SEED, 1))
        mask = (np.arange(length) < lengths).astype(np.int64)
        most = max(data.vocabulary, LEAST_IDS + 1)
        ids = generator.integers(LEAST_IDS, most, mask.shape) % max(data.vocabulary, 1)
        return [ids * mask, mask]


def named_arrays(names: Iterable[str], tensors: Outputs) -> dict[str, Array]:
    """Return tensors as contiguous arrays by name."""
    pairs = zip(names, as_tuple(tensors), strict=True)
    return {name: one.detach().cpu().contiguous().numpy() for name, one in pairs}


def raw_arrays(split: Split) -> list[Array]:
    """Return raw samples as files hold them: images n x height x width x channels."""
    if len(split.inputs) == 1 and split.inputs[0].ndim == 4:
        return [_height_width_channels(split.inputs[0])]
    return [np.ascontiguousarray(one) for one in split.inputs]


def _height_width_channels(images: Array) -> Array:
    return np.ascontiguousarray(np.asarray(images).transpose(0, 2, 3, 1))
