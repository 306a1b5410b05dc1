"""Prints, for the spaces of the catalogue, how large they are and how exact their subnets are.

python benchmarks/families.py sizes                    # every space: size, least and largest
python benchmarks/families.py exact [NAME ...]         # supernet, subnet, file and costs agree
python benchmarks/families.py speed [NAME ...]         # supernet against subnet, batch 64
"""

import argparse
import copy
import statistics
import sys
import time

import numpy as np
import torch

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import onnx_session
from nas.subnet.calibrate import calibrate
from search_spaces import SPACES, build_space
from search_spaces.supernet import Supernet
from tests.contracts.supernet_contract import batch_of, joined, randomise
from tests.contracts.traced_costs import counted_macs, counted_params, peak_activation_bytes

SMALL = (
    "mobilenet-digits",
    "resnet-cifar",
    "vit-cifar",
    "bert-mini",
    "tdnn-digits",
    "nasnet-digits",
    "nasbench201-digits",
    "nasbench-macro-digits",
)
BATCH = 64
ROUNDS = 15


def sizes() -> None:
    print(
        f"{'space':20} {'architectures':>14} {'':8} {'MACs':>12} {'parameters':>12} {'memory':>10}"
    )
    for name in SPACES:
        space = build_space(name)
        for word, genome in (("least", space.smallest()), ("largest", space.largest())):
            costs = space.layers.costs(genome).row(0)
            size = f"{space.num_architectures:.3e}" if word == "least" else ""
            print(
                f"{name if size else '':20} {size:>14} {word:8} {costs['macs'] / 1e6:10.2f} M "
                f"{costs['num_params'] / 1e6:10.3f} M {costs['activation_bytes'] / 1024:6,.0f} KiB",
                flush=True,
            )


def exact(names: list[str], architectures: int) -> None:
    print(
        f"{'space':20} {'subnets':>8} {'supernet - subnet':>18} {'subnet - file':>15} {'costs':>9}"
    )
    for name in names:
        space = build_space(name)
        supernet = Supernet(space)
        randomise(supernet, seed=0)
        of_supernet = of_file = 0.0
        equal = 0
        population = space.sample_distinct(architectures, np.random.default_rng(0))
        costs = space.layers.costs(population)
        for i, genome in enumerate(population):
            architecture = space.decode(genome)
            batch = batch_of(supernet, architecture, 8, seed=i)
            one = tuple(tensor[:1] for tensor in batch)
            subnet = supernet.extract(architecture).train()
            with torch.no_grad():
                expected = joined(supernet(batch, architecture))
                scale = max(1.0, float(expected.abs().max()))
                found = joined(copy.deepcopy(subnet)(*batch))
                of_supernet = max(of_supernet, float((found - expected).abs().max()) / scale)
                calibrate(subnet, [batch])
                inputs = supernet.inputs(architecture)
                model = onnx_model(subnet, inputs, outputs=space.outputs).SerializeToString()
                feeds = {name: tensor.numpy() for name, tensor in zip(inputs, batch, strict=True)}
                answers = onnx_session(model).run(None, feeds)
                expected = joined(subnet(*batch))
                found = joined(tuple(torch.from_numpy(answer) for answer in answers))
                scale = max(1.0, float(expected.abs().max()))
                of_file = max(of_file, float((found - expected).abs().max()) / scale)
            equal += costs.row(i) == {
                "macs": counted_macs(subnet, *one),
                "num_params": counted_params(subnet),
                "activation_bytes": peak_activation_bytes(subnet, *one),
            }
        print(
            f"{name:20} {len(population):8} {of_supernet:18.2g} {of_file:15.2g} "
            f"{equal:4} of {len(population)}",
            flush=True,
        )


def speed(names: list[str]) -> None:
    """Forward passes side by side, each figure the median of rounds in turns."""
    print(f"{'space':20} {'supernet':>10} {'subnet':>10} {'ratio':>7}")
    for name in names:
        space = build_space(name)
        supernet = Supernet(space).train()
        architecture = space.decode(space.largest()[0])
        batch = batch_of(supernet, architecture, BATCH, seed=0)
        subnet = supernet.extract(architecture).train()
        seconds: dict[str, list[float]] = {"supernet": [], "subnet": []}
        with torch.no_grad():
            for _ in range(ROUNDS):
                start = time.perf_counter()
                supernet(batch, architecture)
                middle = time.perf_counter()
                subnet(*batch)
                seconds["supernet"].append(middle - start)
                seconds["subnet"].append(time.perf_counter() - middle)
        first, second = (statistics.median(times[2:]) * 1e3 for times in seconds.values())
        print(f"{name:20} {first:7.2f} ms {second:7.2f} ms {first / second:7.3f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("sizes", "exact", "speed"))
    parser.add_argument("names", nargs="*", help=f"without: {', '.join(SMALL)}")
    parser.add_argument("--architectures", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "sizes":
        sizes()
    else:
        names = arguments.names or [name for name in SMALL if name in SPACES]
        if arguments.what == "exact":
            exact(names, arguments.architectures)
        else:
            speed(names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
