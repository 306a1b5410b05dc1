"""The supernet's largest subnet as the teacher of the others."""

import numpy as np
import torch

from nas.config import TrainingConfig
from nas.run_directory import Run
from nas.subnet.calibrate import calibrate
from nas.subnet.evaluator import CALIBRATION_BATCH_SIZE
from nas.training.batches import Batches
from nas.training.teachers import Teacher
from search_spaces.supernet import Supernet, resize


def largest_teacher(run: Run, supernet: Supernet, config: TrainingConfig, seed: int) -> Teacher:
    """Extract the largest subnet, in eval mode and calibrated on what it will see.

    That is augmented samples, whose statistics are not those of the plain ones that subnets are
    calibrated on to ship: on digits, the largest then errs on 9% of them instead of 0.2%, and what
    learns from it gets worse.

    Args:
        config: of the training, whose augmentation it is.
        seed: of samples and augmentation.
    """
    largest = run.space.decode(run.space.largest()[0])
    specs = tuple(supernet.inputs(largest).values())
    rng = np.random.default_rng([seed, 0x7EAC])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    order = rng.permutation(len(run.data.train))[: run.recipe.accuracy.calibration_samples]
    size = min(CALIBRATION_BATCH_SIZE, len(order))
    parts = (order[i * size : (i + 1) * size] for i in range(len(order) // size))
    draw = Batches(run.data, config, torch.device("cpu"))
    subnet = supernet.extract(largest).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    calibrate(subnet, (resize(draw(part, generator)[0], specs) for part in parts))
    return Teacher("largest", subnet, specs=specs)
