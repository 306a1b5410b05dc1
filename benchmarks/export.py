"""Prints how exact, quick and small exported files are, for random subnets of every family.

python benchmarks/export.py [NAME ...] [--subnets 100] [--samples 1000]

Weights are drawn at random (exactness knows no training); norms are calibrated. Images are real:
scikit-learn's digits, enlarged where a family wants more; texts and sequences are
drawn. Each subnet is extracted, calibrated, emitted and checked; its file and the one in ONNX
Runtime's own format are compared with it at batch 1 (64 samples) and 64 (all).
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits

from nas.exporting.in_memory import Exported, to_onnx
from nas.exporting.model_file import to_ort
from nas.exporting.parity import Array, Parity, compare, run_onnx
from nas.exporting.trial import named_arrays
from nas.subnet.calibrate import calibrate
from nas.subnet.evaluator import run_in_batches
from search_spaces import SearchSpace, build_space
from search_spaces.supernet import Supernet, resize
from tests.contracts.supernet_contract import batch_of, randomise

SMALL = (
    "mobilenet-digits",
    "resnet-digits",
    "vit-digits",
    "bert-mini",
    "tdnn-digits",
    "nasnet-digits",
    "nasbench201-digits",
    "nasbench-macro-digits",
)
AT_ONE = 64  # samples at batch 1, at most


@dataclass(frozen=True)
class Row:
    """What one subnet gave."""

    parity: Parity
    ort: Parity
    seconds: float
    share: float  # the file's bytes / 4 a parameter
    rest: int  # bytes beyond those


def samples(supernet: Supernet, space: SearchSpace, n: int) -> tuple[torch.Tensor, ...]:
    """Real images where the family takes images, else drawn inputs: each n x ..."""
    smallest = space.decode(space.smallest()[0])
    shape = next(iter(supernet.inputs(smallest).values())).shape
    if len(shape) != 3:
        return batch_of(supernet, smallest, n, 0)
    images = torch.from_numpy(load_digits().images[:n]).float()[:, None] / 16
    images = (images - images.mean()) / images.std()
    return (images.expand(-1, shape[0], -1, -1).contiguous(),)


def measure(
    supernet: Supernet, space: SearchSpace, data: tuple[torch.Tensor, ...], seed: int
) -> Row:
    genome = space.sample(1, np.random.default_rng(seed))
    architecture = space.decode(genome[0])
    specs = supernet.inputs(architecture)
    inputs = resize(data, specs.values())
    subnet = supernet.extract(architecture)
    calibrate(subnet, [tuple(one[i : i + 32] for one in inputs) for i in (0, 32)])
    begin = time.perf_counter()
    exported = to_onnx(subnet, architecture, specs, tuple(space.outputs))
    seconds = time.perf_counter() - begin
    parities = [
        parity(exported, inputs, model) for model in (exported.model, to_ort(exported.model))
    ]
    weights = 4 * space.layers.costs(genome).row(0)["num_params"]
    size = len(exported.model)
    return Row(*parities, seconds, size / weights, size - weights)


def parity(exported: Exported, inputs: tuple[torch.Tensor, ...], model: bytes) -> Parity:
    """The worse one of batch 1 and 64."""
    arrays = named_arrays(tuple(exported.inputs), inputs)
    expected = named_arrays(exported.outputs, run_in_batches(exported.subnet, inputs))

    def first(named: dict[str, Array], n: int) -> dict[str, Array]:
        return {name: one[:n] for name, one in named.items()}

    found = [
        compare(run_onnx(model, first(arrays, n), size), first(expected, n))
        for n, size in ((AT_ONE, 1), (len(inputs[0]), 64))
    ]
    return max(found, key=lambda one: one.max_abs_difference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=SMALL)
    parser.add_argument("--subnets", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "space | subnets | max difference | ORT format | top-1 | seconds, median / most | size | "
        "KiB beyond"
    )
    for name in settings.names or SMALL:
        space = build_space(name)
        supernet = Supernet(space)
        randomise(supernet, seed=0)
        data = samples(supernet, space, settings.samples)
        rows = [measure(supernet, space, data, seed) for seed in range(settings.subnets)]
        seconds = sorted(row.seconds for row in rows)
        print(
            f"{name} | {len(rows)} | {max(row.parity.max_abs_difference for row in rows):.1e} | "
            f"{max(row.ort.max_abs_difference for row in rows):.1e} | "
            f"{min(row.parity.top1_agreement or 0 for row in rows):.2%} | "
            f"{seconds[len(seconds) // 2]:.3f} / {seconds[-1]:.3f} | "
            f"{max(row.share for row in rows):.3f} | {max(row.rest for row in rows) / 1024:.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
