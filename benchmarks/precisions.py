"""Prints what int8 and 16-bit files cost in accuracy and gain in latency on this machine.

python benchmarks/precisions.py latency            # ReLU networks, transformers, MobileNetV3
python benchmarks/precisions.py accuracy RUN       # int8 of ten subnets of a run, on test samples
python benchmarks/precisions.py types [SPACE]      # all precisions of one network
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile_device import measure_models, processor_name
from nas.exporting.parity import run_onnx
from nas.exporting.precisions import PRECISIONS, Converted, Settings
from nas.exporting.precisions.compare import compare_precisions
from nas.exporting.precisions.schemes import scheme_here
from nas.finetuning.fine_tuned import load_inherited
from nas.run_directory import open_run
from nas.subnet.calibrate import calibrate
from nas.subnet.evaluator import SubnetEvaluator
from search_spaces import Architecture, InputError, build_space
from search_spaces.supernet import Supernet
from tests.contracts.supernet_contract import batch_of

CALIBRATION_SAMPLES = 256
RELU_NETWORKS = (
    ("resnet-cifar", "smallest", None),
    ("resnet-cifar", "middle", None),
    ("resnet-cifar", "largest", None),
    ("resnet-50d", "smallest", 128),
)
TRANSFORMERS = (("vit-cifar", "middle", None), ("bert-mini", "middle", None))
MOBILE_NETWORKS = (("mobilenet-v3", "smallest", 128), ("mobilenet-v3", "middle", 160))


def network(name: str, which: str, resolution: int | None) -> tuple[bytes, dict[str, np.ndarray]]:
    """An untrained member of a space with calibrated norms, and samples for it."""
    space = build_space(name)
    torch.manual_seed(0)
    supernet = Supernet(space)
    genome = {"smallest": space.smallest, "largest": space.largest}.get(which)
    row = genome()[0] if genome else np.array([len(d.options) // 2 for d in space.dimensions])
    architecture = space.decode(space.canonicalize(row[None].astype(np.int16))[0])
    if resolution is not None and "resolution" in dict(architecture.values):
        values = {**architecture.values, "resolution": resolution}
        architecture = space.architecture(values)
    batch = batch_of(supernet, architecture, 16, seed=0)
    subnet = supernet.extract(architecture)
    calibrate(subnet, [batch])
    inputs = supernet.inputs(architecture)
    with torch.no_grad():
        model = onnx_model(subnet.eval(), inputs, outputs=space.outputs)
    samples = {name: one.numpy() for name, one in zip(inputs, batch, strict=True)}
    return model.SerializeToString(), samples


def agreement(model: bytes, samples: dict[str, np.ndarray]) -> Callable[[bytes], float]:
    """The share of samples whose best class is the fp32 model's: these nets are untrained."""
    exact = next(iter(run_onnx(model, samples, 16).values())).argmax(-1)

    def evaluate(other: bytes) -> float:
        found = next(iter(run_onnx(other, samples, 16).values())).argmax(-1)
        return float((found == exact).mean())

    return evaluate


def quick(samples_evaluate: Callable[[bytes], float], hard: str = "float") -> Settings:
    """Quantise everything by min-max: the latency is the same by every method."""
    return Settings(
        evaluate=samples_evaluate,
        methods=("min-max",),
        hard_activations=hard,  # type: ignore[arg-type]
        max_drop=1.0,
    )


def latency() -> None:
    print(f"{processor_name()}, scheme {scheme_here()}, one thread, batch 1, the thread's own time")
    print(f"{'network':38} {'fp32 ms':>9} {'int8 ms':>9} {'ratio':>6} {'noise':>7}")
    for name, which, resolution in (*RELU_NETWORKS, *TRANSFORMERS):
        model, samples = network(name, which, resolution)
        int8 = PRECISIONS["int8"](model, samples, quick(agreement(model, samples)))
        _print(f"{name} {which}", [model, int8.model], ["int8"])
    for name, which, resolution in MOBILE_NETWORKS:
        model, samples = network(name, which, resolution)
        evaluate = agreement(model, samples)
        words = ("float", "quantised", "relu")
        models = [PRECISIONS["int8"](model, samples, quick(evaluate, w)).model for w in words]
        _print(f"{name} {which} {resolution}", [model, *models], words)


def _print(title: str, models: Sequence[bytes], words: Sequence[str]) -> None:
    base, *others = measure_models(models)
    for word, one in zip(words, others, strict=True):
        noise = max(base.noise, one.noise)
        print(
            f"{title + ' ' + word:38} {base.latency_ms:9.4f} {one.latency_ms:9.4f} "
            f"{one.latency_ms / base.latency_ms:6.2f} {noise:7.1%}",
            flush=True,
        )


def accuracy(path: Path, num_subnets: int, seed: int) -> None:
    run = open_run(path)
    inherited = load_inherited(run)
    evaluator = inherited.evaluator
    space = run.space
    population = np.concatenate(
        [
            space.smallest(),
            space.sample_distinct(num_subnets - 2, np.random.default_rng(seed)),
            space.largest(),
        ]
    )
    print(
        f"{'subnet':12} {'fp32':>7} {'int8':>7} {'drop':>6} {'validation drop':>15} {'method':>11} "
        f"{'kept':>5} {'evaluations':>11} {'ratio':>6} {'seconds':>8}"
    )
    drops = []
    for genome in population:
        architecture = space.decode(genome)
        subnet = evaluator.subnet(architecture)
        specs = evaluator.specs(architecture)
        with torch.no_grad():
            model = onnx_model(subnet, specs, outputs=evaluator.output_names).SerializeToString()

        samples = {
            k: v[:CALIBRATION_SAMPLES]
            for k, v in _arrays(evaluator, architecture, "calibration").items()
        }
        start = time.monotonic()
        int8 = PRECISIONS["int8"](
            model, samples, Settings(evaluate=_scorer(evaluator, architecture, "validation"))
        )
        seconds = time.monotonic() - start
        result = compare_precisions(
            {"fp32": Converted("fp32", model), "int8": int8},
            _scorer(evaluator, architecture, "test"),
        )
        row = result.row("int8")
        exact = result.row("fp32").accuracy
        drops.append(row.accuracy_drop)
        print(
            f"{architecture.id:12} {exact:7.2%} {row.accuracy:7.2%} {row.accuracy_drop:6.2%} "
            f"{int8.accuracy_drop:15.2%} {int8.method:>11} {len(int8.kept_float):5} "
            f"{int8.num_evaluations:11} {row.latency_ratio:6.2f} {seconds:8.0f}",
            flush=True,
        )
    print(f"mean drop {np.mean(drops):.2%}, greatest {np.max(drops):.2%}, n = {len(drops)}")


def _arrays(
    evaluator: SubnetEvaluator, architecture: Architecture, split: str
) -> dict[str, np.ndarray]:
    found = evaluator.inputs(split, architecture)
    names = evaluator.specs(architecture)
    return {name: one.numpy() for name, one in zip(names, found, strict=True)}


def _scorer(
    evaluator: SubnetEvaluator, architecture: Architecture, split: str
) -> Callable[[bytes], float]:
    """The accuracy of a model file on a split."""
    inputs = _arrays(evaluator, architecture, split)
    targets = evaluator.targets(split).numpy()

    def score(model: bytes) -> float:
        outputs = next(iter(run_onnx(model, inputs, 64).values()))
        return float((outputs.argmax(1) == targets).mean())

    return score


def types(name: str) -> None:
    model, samples = network(name, "middle", None)
    evaluate = agreement(model, samples)
    settings = quick(evaluate)
    converted: dict[str, Converted | str] = {}
    for precision, convert in PRECISIONS.items():
        try:
            converted[precision] = convert(model, samples, settings)
        except InputError as error:
            converted[precision] = str(error)
    result = compare_precisions(converted, evaluate)  # type: ignore[arg-type]
    for row in result.rows:
        print(row.model_dump(exclude={"kept_float"}))
    print(result.recommended, "--", result.reason)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("latency")
    one = commands.add_parser("accuracy")
    one.add_argument("run", type=Path)
    one.add_argument("--subnets", type=int, default=10)
    one.add_argument("--seed", type=int, default=0)
    two = commands.add_parser("types")
    two.add_argument("space", nargs="?", default="resnet-cifar")
    arguments = parser.parse_args()
    if arguments.command == "latency":
        latency()
    elif arguments.command == "accuracy":
        accuracy(arguments.run, arguments.subnets, arguments.seed)
    else:
        types(arguments.space)
