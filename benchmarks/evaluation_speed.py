"""Time evaluation with calibration: python benchmarks/evaluation_speed.py [SPACE ...]

Prints seconds of processor time (one thread) for one random subnet: as `SubnetEvaluator` works, and
with contiguous tensors, batches of 128 and 256, and norms of their own; in turns.
"""

import sys
import time

import numpy as np
import torch
from torch import Tensor, nn

from nas.data.dataset import Dataset, Split
from nas.subnet.calibrate import calibrate
from nas.subnet.evaluator import SubnetEvaluator
from nas.task import Task
from search_spaces import build_space
from search_spaces.supernet import Supernet

REPEATS = 3
SAMPLES = {"mobilenet-cifar": 512, "resnet-cifar": 512}
FEWEST = 128


def random_data(num_samples: int, side: int) -> Dataset:
    """Random colour images of two classes; the three splits are the same."""
    images = np.random.default_rng(0).integers(0, 256, (num_samples, 3, side, side), np.uint8)
    split = Split((images,), np.arange(num_samples) % 2)
    return Dataset(split, split, split, "image", ("a", "b"), 2, (0.5,) * 3, (0.3,) * 3)


def plain(subnet: nn.Module, images: Tensor) -> tuple[float, float, Tensor]:
    """Return seconds of calibration and of scoring, and the logits."""
    start = time.process_time()
    calibrate(subnet, ((batch,) for batch in images.split(128)))
    between = time.process_time()
    with torch.no_grad():
        logits = torch.cat([subnet(batch) for batch in images.split(256)])
    return between - start, time.process_time() - between, logits


def main(name: str) -> None:
    """Print the comparison for one space."""
    space = build_space(name)
    torch.manual_seed(0)
    supernet = Supernet(space)
    architecture = space.decode(space.sample(1, np.random.default_rng(1))[0])
    side = supernet.inputs(architecture)["input"].shape[1]
    num_samples = SAMPLES.get(name, FEWEST)
    data = random_data(num_samples, side)
    evaluator = SubnetEvaluator(supernet, data, Task(), num_samples, seed=0)
    images = evaluator.inputs("calibration", architecture)[0].contiguous()
    evaluator.inputs("validation", architecture)  # prepared once, for all subnets
    ours, theirs = [], []
    for _ in range(REPEATS):
        start = time.process_time()
        subnet = evaluator.subnet(architecture)
        between = time.process_time()
        evaluator.score(subnet, architecture, "validation")
        ours.append((between - start, time.process_time() - between))
        theirs.append(plain(supernet.extract(architecture), images)[:2])
    (calibration, scoring), (plain_calibration, plain_scoring) = (
        np.min(several, axis=0) for several in (ours, theirs)
    )
    ratio = (plain_calibration + plain_scoring) / (calibration + scoring)
    print(
        f"{name} {side} px, {num_samples} samples: calibration {plain_calibration:.2f} -> "
        f"{calibration:.2f} s, scoring {plain_scoring:.2f} -> {scoring:.2f} s, "
        f"whole {ratio:.2f} times as fast",
        flush=True,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for space_name in sys.argv[1:] or ("mobilenet-cifar", "mobilenet-v3"):
        main(space_name)
