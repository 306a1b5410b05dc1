"""Subnets of a trained ResNet beside uniform thinning of the same ResNet: accuracy over MACs.

    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/own_network_front.py OUT --source parquet:DIR
        [--train-minutes 8] [--tune-minutes 6] [--subnets 6]

A plain ResNet is trained on CIFAR-10 by plain torch; it is made elastic, and
`recipes/own-network-short.toml` fine-tunes all its subnets at once in the given minutes. Beside it,
the same weights with every width cut to one share, by the same importance, each fine-tuned alone,
all of them together in the same minutes. Both are shown untrained too (one-shot: norms calibrated).
Minutes are of the processor, one thread. Choices are made on validation images, and what is stated
is of test images. What is there is not done again.
"""

import argparse
import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nas
from benchmarks.strategies import mapped
from nas.artifacts import fitted_accuracy, load_supernet, new_supernet, subnet_evaluator
from nas.config import Recipe, load_recipe
from nas.data import load_data
from nas.elastic_networks import write_network
from nas.reporting.svg import COLORS, draw_png
from nas.run_directory import Run, is_run, open_run
from nas.subnet.calibrate import calibrate
from nas.subnet.evaluator import SubnetEvaluator
from nas.supernet_trainer import supernet_trainer
from nas.training.batches import Batches
from search_spaces import Architecture, SearchSpace
from search_spaces.conversion.elasticize import elasticize

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SHARES = (0.5, 0.625, 0.75, 0.875)
LEVELS = (0.2, 0.3, 0.4, 0.55, 0.7, 0.85)  # of the network's MACs
BATCH_SIZE, TRAIN_RATE, TUNE_RATE = 128, 0.1, 0.02  # the latter is the recipe's
POOL, FINALISTS, STEPS = 20_000, 3, 6
ROOT = Path(__file__).resolve().parent.parent


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(images)))
        return F.relu(self.norm2(self.conv2(hidden)) + self.shortcut(images))


class ResNet(nn.Module):
    """Three stages of three blocks, 16, 32 and 64 channels; the first layer halves the images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.stage1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.stage2 = nn.Sequential(Block(16, 32, 2), *(Block(32, 32, 1) for _ in range(2)))
        self.stage3 = nn.Sequential(Block(32, 64, 2), *(Block(64, 64, 1) for _ in range(2)))
        self.classifier = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.stage1(F.relu(self.norm(self.stem(images))))
        return self.classifier(self.stage3(self.stage2(hidden)).mean((2, 3)))


@dataclass(frozen=True)
class Row:
    """One network: how it was made, and what it is worth on test images."""

    method: str  # original, supernet, uniform
    trained: bool  # fine-tuned, or one-shot
    name: str
    macs: int
    num_params: int
    validation_accuracy: float
    test_accuracy: float


def recipe(source: str, space: str, epochs: int, *more: str) -> Recipe:
    """The short recipe on CIFAR-10."""
    settings = [
        f"data.source={source}",
        f"data.mean={list(MEAN)}",
        f"data.std={list(STD)}",
        f"space.name={space}",
        f"training.epochs={epochs}",
        f"training.batch_size={BATCH_SIZE}",
        "training.shift=0.125",
        "training.rotate=0",
        "training.scale=0",
        "training.flip=true",
        "training.evaluate_every=1000",
        "training.device=cpu",
        f"training.learning_rate={TUNE_RATE}",
    ]
    return load_recipe(ROOT / "recipes" / "own-network-short.toml", [*settings, *more])


def train(
    network: nn.Module,
    draw: Batches,
    num_samples: int,
    seconds: float,
    rate: float,
    path: Path,
    teacher: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Train for some seconds of the processor by SGD, a cosine of the time spent; on labels, and on
    the teacher's outputs as much. Goes on at the last epoch of an earlier process.
    """
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": 5e-4},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, rate, momentum=0.9, nesterov=True)
    epoch, spent = 0, 0.0
    if path.exists():
        kept = torch.load(path, weights_only=True)
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        epoch, spent = kept["epoch"], kept["spent"]
    start = time.process_time() - spent
    network.train()
    while spent < seconds:
        order = np.random.default_rng([7, epoch]).permutation(num_samples)
        generator = torch.Generator().manual_seed(epoch)
        for i in range(num_samples // BATCH_SIZE):
            share = (time.process_time() - start) / seconds
            if share >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1, share / 0.05) * (1 + math.cos(math.pi * share)) / 2
            (images,), targets = draw(order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE], generator)
            images = images.contiguous(memory_format=torch.channels_last)
            outputs = network(images)
            loss = F.cross_entropy(outputs, targets)
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher(images).softmax(1)
                loss = (loss + F.cross_entropy(outputs, taught)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        epoch, spent = epoch + 1, time.process_time() - start
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state | {"epoch": epoch, "spent": spent}, path)
        print(
            f"  epoch {epoch}: {spent:.0f} of {seconds:.0f} s, loss {loss.item():.3f}", flush=True
        )
    network.eval()


def epochs_within(run_recipe: Callable[[int, str], Recipe], seconds: float, samples: int) -> int:
    """How many epochs of a supernet's training fit into seconds of the processor."""
    steps = samples // BATCH_SIZE
    with TemporaryDirectory() as folder:
        few = f"data.max_samples={STEPS * BATCH_SIZE}"
        run = nas.create_run(Path(folder) / "run", run_recipe(10, few))
        trainer = supernet_trainer(run, run.metrics)
        spent = []
        for place in (2, 2, 8):  # the first warms up
            start = time.process_time()
            trainer.try_epoch(place, lambda done, note: None)
            spent.append((time.process_time() - start) / STEPS)
    return max(1, round(seconds / (min(spent[1:]) * steps)))


def row(
    method: str,
    trained: bool,
    name: str,
    evaluator: SubnetEvaluator,
    run: Run,
    architecture: Architecture,
    network: nn.Module | None = None,
) -> Row:
    """Validate and test a subnet, or a network with its MACs."""
    network = network or evaluator.subnet(architecture)
    scores = [evaluator.score(network, architecture, part) for part in ("validation", "test")]
    costs = run.space.layers.costs(run.space.encode(architecture)).row(0)
    accuracies = [score.accuracy for score in scores]
    found = Row(method, trained, name, costs["macs"], costs["num_params"], *accuracies)
    print(
        f"{method:9} {'trained' if trained else 'one-shot':10} {name:12} "
        f"{found.macs / 1e6:6.2f} M  validation {found.validation_accuracy:.2%}  "
        f"test {found.test_accuracy:.2%}",
        flush=True,
    )
    return found


def calibrated(
    network: nn.Module, evaluator: SubnetEvaluator, architecture: Architecture
) -> nn.Module:
    """Set norms to the statistics of the samples that subnets are calibrated on."""
    batches = zip(
        *(one.split(BATCH_SIZE) for one in evaluator.inputs("calibration", architecture)),
        strict=True,
    )
    calibrate(network, batches)
    return network


def uniform(space: SearchSpace, share: float) -> Architecture:
    """Return the architecture that has of every width the option nearest to one share."""
    nearest = {
        d.name: min(d.options, key=lambda option, d=d: abs(option - share * d.options[-1]))
        for d in space.dimensions
    }
    return space.architecture(nearest)


def chosen(run: Run, evaluator: SubnetEvaluator, num_levels: int) -> list[Architecture]:
    """Return one subnet for every level of MACs: of those that the run's predictor finds best, the
    one that is best on validation images.
    """
    nas.measure_accuracy(run)
    space = run.space
    pool = space.unique(space.sample_levels(POOL, np.random.default_rng(0)))
    macs = space.layers.costs(pool).macs
    guess = fitted_accuracy(run).predictor.predict(pool).mean
    most = space.layers.costs(space.largest()).macs[0]
    found = []
    for level in LEVELS[:num_levels]:
        within = np.flatnonzero(macs <= level * most)
        best = within[np.argsort(guess[within], kind="stable")[:FINALISTS]]
        finalists = [space.decode(genome) for genome in pool[best]]
        found.append(max(finalists, key=evaluator.validation_accuracy))
    return found


def write(rows: list[Row], out: Path) -> None:
    """Write the table and the picture, and print the table as Markdown."""
    with (out / "front.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(map(asdict, rows))
    print("| network | MACs | of the original's | parameters | one-shot | fine-tuned |")
    print("|---|---|---|---|---|---|")
    whole = rows[0].macs
    for one in rows:
        if one.trained:
            same = [r for r in rows if (r.method, r.name, r.trained) == (*_key(one), False)]
            before = f"{same[0].test_accuracy:.1%}" if same else "-"
            print(
                f"| {one.method} {one.name} | {one.macs / 1e6:.2f} M | {one.macs / whole:.0%} | "
                f"{one.num_params / 1e3:,.0f} k | {before} | {one.test_accuracy:.1%} |"
            )

    def draw(axes: list[Any]) -> None:
        (panel,) = axes
        for method, color in (("supernet", "predicted"), ("uniform", "measured")):
            for trained, line in ((True, "-"), (False, ":")):
                ones = [r for r in rows if (r.method, r.trained) == (method, trained)]
                words = f"{method}, {'fine-tuned' if trained else 'one-shot'}"
                x, y = [r.macs / 1e6 for r in ones], [100 * r.test_accuracy for r in ones]
                panel.plot(x, y, line, marker="o", color=COLORS[color], label=words)
        whole = rows[0]
        panel.plot(
            [whole.macs / 1e6],
            [100 * whole.test_accuracy],
            "*",
            markersize=10,
            color=COLORS["chosen"],
            label="the network itself",
        )
        panel.set(xlabel="million MACs", ylabel="test accuracy (%)")

    (out / "front.png").write_bytes(draw_png(1, draw))


def _key(one: Row) -> tuple[str, str]:
    return one.method, one.name


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", required=True)
    parser.add_argument("--train-minutes", type=float, default=8)
    parser.add_argument("--tune-minutes", type=float, default=6)
    parser.add_argument(
        "--uniform-minutes", type=float, help="of each; without, a part of the same"
    )
    parser.add_argument("--subnets", type=int, default=len(LEVELS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    source = mapped(arguments.source, out / "data")
    each = arguments.uniform_minutes or arguments.tune_minutes / len(SHARES)

    torch.manual_seed(0)
    network = ResNet().to(memory_format=torch.channels_last)
    sizes = recipe(source, "resnet-cifar-small", 1)
    data = load_data(sizes.data, sizes.seed)
    draw = Batches(data, sizes.training, torch.device("cpu"))
    print("the network", flush=True)
    train(
        network, draw, len(data.train), 60 * arguments.train_minutes, TRAIN_RATE, out / "network.pt"
    )

    start = time.process_time()
    example = torch.randn(1, 3, 32, 32)
    folders = {"supernet": out / "elastic", "uniform": out / "uniform"}
    if not folders["uniform"].exists():
        write_network(elasticize(network, example), folders["supernet"])
        widths_alone = elasticize(network, example, widths=SHARES, depths=False, kernels=False)
        write_network(widths_alone, folders["uniform"])
        print(f"made elastic twice in {time.process_time() - start:.1f} s", flush=True)

    def supernet_recipe(epochs: int, *more: str) -> Recipe:
        return recipe(source, f"file:{folders['supernet']}", epochs, *more)

    path = out / "run"
    if is_run(path):
        run = open_run(path)
    else:
        epochs = epochs_within(supernet_recipe, 60 * arguments.tune_minutes, len(data.train))
        run = nas.create_run(path, supernet_recipe(epochs))
    start = time.process_time()
    nas.train(run)
    print(
        f"the supernet: {run.recipe.training.epochs} epochs in {time.process_time() - start:.0f} s",
        flush=True,
    )
    before = subnet_evaluator(run, new_supernet(run))
    after = subnet_evaluator(run, load_supernet(run))
    largest = run.space.decode(run.space.largest()[0])
    rows = [row("original", True, "", after, run, largest, network)]
    subnets = [*chosen(run, after, arguments.subnets), largest]
    for trained, evaluator in ((False, before), (True, after)):
        for one in subnets:
            rows.append(row("supernet", trained, one.id, evaluator, run, one))

    plain = nas.create_run(out / "uniform-run", recipe(source, f"file:{folders['uniform']}", 1))
    evaluator = subnet_evaluator(plain, new_supernet(plain))
    for share in SHARES:
        architecture, name = uniform(plain.space, share), f"{share:g}"
        thin = evaluator.subnet(architecture)
        rows.append(row("uniform", False, name, evaluator, plain, architecture, thin))
        thin = thin.to(memory_format=torch.channels_last)
        train(
            thin,
            draw,
            len(data.train),
            60 * each,
            TUNE_RATE,
            out / f"uniform-{share:g}.pt",
            teacher=network,
        )
        calibrated(thin, evaluator, architecture)
        rows.append(row("uniform", True, name, evaluator, plain, architecture, thin))
    write(rows, out)


if __name__ == "__main__":
    main()
