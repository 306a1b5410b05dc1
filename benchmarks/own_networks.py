"""What becomes of networks that people have: choices found, exactness, costs, files.

    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/own_networks.py OUT [NAME ...] [--subnets 20]

Small plain networks of all kinds, and networks of timm, if it is importable (torchvision need not
be), with random weights. Of each: the dimensions that were found, the size of the space, MACs of
the smallest against the network's, how far the largest subnet is from the network (0 is expected),
seconds of the processor to convert it, and how far ONNX files of random subnets are from these,
relative to the greatest output. Writes OUT/own_networks.csv, and the table as Markdown.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardware_profiles.onnx_graph import emitted_model, onnx_model
from hardware_profiles.onnx_operations import UnknownOperationError
from hardware_profiles.profile_device import onnx_session
from search_spaces import Architecture, InputError
from search_spaces.conversion.elasticize import Elastic, elasticize
from tests.contracts.inputs import random_inputs
from tests.search_spaces.conversion.networks import NETWORKS
from tests.timm_without_torchvision import import_timm

PLAIN = {
    "ResNet": "resnet",
    "VGG": "vgg",
    "MobileNetV2": "mobilenet",
    "1-D convolutions": "conv1d",
    "two outputs": "two outputs",
    "nn.TransformerEncoder": "encoder batch first",
    "DenseNet": "densenet",
    "U-Net": "unet",
}
"""Name -> name among the networks of the tests."""
OF_TIMM = (
    "resnet18",
    "resnet50",
    "mobilenetv3_small_100",
    "efficientnet_b0",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "convnext_atto",
    "densenet121",
)
HEADING = (
    "network",
    "dimensions",
    "networks",
    "MACs",
    "smallest",
    "largest - network",
    "converted in",
    "file - subnet",
)
VOCABULARY = 100
Inputs = tuple[Tensor, ...]
Builder = tuple[Callable[[], nn.Module], Callable[[], Inputs]]


@dataclass
class Row:
    """What is known of one network."""

    network: str
    dimensions: int
    architectures: int
    macs: int
    smallest_macs: int
    largest_difference: float
    seconds: float
    file_difference: float
    files: int
    by_exporter: int  # of the files: what no emitter knew
    missing: str  # operations of those


def builders() -> dict[str, Builder]:
    """Return all networks that can be built here."""
    found = {name: NETWORKS[of_tests] for name, of_tests in PLAIN.items()}
    timm = import_timm()
    if timm is None:
        print("timm is not importable: its networks are left out", file=sys.stderr)
        return found
    images = partial(_images, 3, 224, 224)
    return found | {name: (partial(timm.create_model, name), images) for name in OF_TIMM}


def _images(*shape: int) -> Inputs:
    return (torch.randn(2, *shape),)


def judged(name: str, builder: Builder, num_subnets: int) -> Row:
    """Convert a network, and look at it."""
    torch.manual_seed(0)
    network, example = builder[0](), builder[1]()
    with torch.no_grad():
        network.train()(*example)  # norms get to know something
    network.eval()
    start = time.process_time()
    elastic = elasticize(network, example, name=name)
    seconds = time.process_time() - start
    space = elastic.space
    macs = space.layers.costs(np.concatenate([space.smallest(), space.largest()])).macs
    row = Row(
        network=name,
        dimensions=len(space.dimensions),
        architectures=space.num_architectures,
        macs=int(macs[1]),
        smallest_macs=int(macs[0]),
        largest_difference=largest_difference(network, elastic),
        seconds=round(seconds, 2),
        file_difference=0.0,
        files=0,
        by_exporter=0,
        missing="",
    )
    genomes = space.sample_distinct(num_subnets, np.random.default_rng(0))
    for i, genome in enumerate(genomes):
        add_file(row, elastic, space.decode(genome), seed=i)
    return row


def largest_difference(network: nn.Module, elastic: Elastic) -> float:
    """Return the greatest difference between the largest subnet and the network."""
    largest = elastic.space.decode(elastic.space.largest()[0])
    subnet = elastic.supernet.extract(largest).eval()
    given = random_inputs(elastic.supernet.inputs(largest), 3, seed=1, vocabulary=VOCABULARY)
    with torch.no_grad(), plain_attention():
        pairs = zip(_tensors(network(*given)), _tensors(subnet(*given)), strict=True)
        return max(float((one - other).abs().max()) for one, other in pairs)


def add_file(row: Row, elastic: Elastic, architecture: Architecture, seed: int) -> None:
    """Write a subnet as an ONNX file, run that, and add it to a row."""
    subnet = elastic.supernet.extract(architecture)
    inputs = elastic.supernet.inputs(architecture)
    outputs = tuple(elastic.space.outputs)
    given = random_inputs(inputs, 2, seed=seed, vocabulary=VOCABULARY)
    with torch.no_grad():
        subnet.train()(*random_inputs(inputs, 4, seed=seed + 1000, vocabulary=VOCABULARY))
        expected = _tensors(subnet.eval()(*given))
    try:
        model = emitted_model(subnet, inputs, outputs)
    except UnknownOperationError as error:
        row.by_exporter += 1
        row.missing = str(error)
        try:
            model = onnx_model(subnet, inputs, outputs=outputs)
        except UnknownOperationError as refusal:
            row.missing = f"no file: {refusal}"
            return
    feeds = {key: tensor.numpy() for key, tensor in zip(inputs, given, strict=True)}
    found = onnx_session(model.SerializeToString()).run(None, feeds)
    for one, other in zip(found, expected, strict=True):
        scale = float(other.abs().max())
        difference = float(np.abs(one - other.numpy()).max()) / scale
        row.file_difference = max(row.file_difference, difference)
    row.files += 1


@contextmanager
def plain_attention() -> Iterator[None]:
    """Keep torch's encoder layers from their fused kernel, which rounds otherwise."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _tensors(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def markdown(row: Row) -> str:
    """Return a row of the table."""
    words = f"{row.architectures:,}" if row.architectures < 1e6 else f"{row.architectures:.0e}"
    files = f"{row.file_difference:.1e}" if row.files else "-"
    if row.by_exporter:
        files += f" ({row.by_exporter} by torch's exporter)"
    return (
        f"| {row.network} | {row.dimensions} | {words} | {row.macs / 1e6:,.1f} M | "
        f"{row.smallest_macs / row.macs:.1%} | {row.largest_difference:g} | {row.seconds:.1f} s | "
        f"{files} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", help="without: all")
    parser.add_argument("--subnets", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    known = builders()
    for name in arguments.names:
        if name not in known:
            parser.error(f"unknown network {name!r}; known: {', '.join(known)}")
    print("| " + " | ".join(HEADING) + " |")
    print("|---" * len(HEADING) + "|")
    rows: list[Row] = []
    for name in arguments.names or known:
        try:
            rows.append(judged(name, known[name], arguments.subnets))
        except InputError as error:
            print(f"| {name} | refused: {error} |", flush=True)
            continue
        print(markdown(rows[-1]), flush=True)
        if rows[-1].missing:
            print(f"{name}: {rows[-1].missing}", file=sys.stderr, flush=True)
        with (arguments.out / "own_networks.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])))
            writer.writeheader()
            writer.writerows(map(asdict, rows))


if __name__ == "__main__":
    main()
