"""Which training strategy makes the best supernet in equal time?

    PYTHONPATH=. python benchmarks/strategies.py OUT --source parquet:DIR [--minutes 6] [--seeds 0]
        [--strategies sandwich delayed ...] [--space resnet-cifar-small]

Every strategy first takes some steps at five places of its training, in rounds, one thread each and
two at once; the least time of the processor says how many epochs fit into the minutes. Then each
trains for so many, two at once, and the table says what validation accuracy and cross-entropy its
smallest, its largest and twenty random subnets have, and how well inherited quality ranks subnets
that were fine-tuned alone (`nas audit`). What is there is not done again.
"""

import argparse
import csv
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import nas
from nas.artifacts import load_supernet, subnet_evaluator
from nas.config import OPTIONS, DataConfig, Recipe, load_recipe
from nas.data import load_data
from nas.run_directory import Run, open_run
from nas.run_file import is_run
from nas.supernet_trainer import supernet_trainer
from nas.training.metrics import epoch_records

NUM_RANDOM = 20
ROUNDS, STEPS = 3, 6
PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares of a training where steps are timed
SETTINGS = {
    "training.batch_size": 128,
    "training.learning_rate": 0.1,
    "training.warm_up_epochs": 0.5,
    "training.weight_decay": 5e-4,
    "training.shift": 0.125,
    "training.rotate": 0,
    "training.scale": 0,
    "training.flip": "true",
    "training.evaluate_every": 1000,
    "training.device": "cpu",
    "accuracy.calibration_samples": 2048,
}
"""Of all strategies; of their own options each has the defaults."""


@dataclass(frozen=True)
class Work:
    """One training to be done and judged."""

    out: Path
    source: str
    space: str
    strategy: str
    seed: int
    epochs: int
    audited: int
    changes: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.strategy}-{self.seed}"

    def recipe(self) -> Recipe:
        given = {"space.name": self.space, "data.source": self.source, "seed": self.seed}
        own = {"training.strategy": self.strategy, "training.epochs": self.epochs}
        settings = given | own | SETTINGS
        words = [f"{key}={value}" for key, value in settings.items()]
        return load_recipe(None, [*words, *self.changes])


def mapped(source: str, folder: Path) -> str:
    """Decode the images once, split them, and write them as arrays that every process maps."""
    if not (folder / "test_y.npy").exists():
        data = load_data(DataConfig(source=source, validation_share=0.1), seed=0)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("train", "validation", "test"):
            split = getattr(data, name)
            np.save(folder / f"{name}_x.npy", split.inputs[0].transpose(0, 2, 3, 1))
            np.save(folder / f"{name}_y.npy", split.targets)
    return f"npy:{folder}"


def seconds_per_step(work: Work) -> float:
    """Seconds of the processor that a step takes, the mean over five places of a training."""
    torch.set_num_threads(1)
    batch_size = SETTINGS["training.batch_size"]
    few = (*work.changes, f"data.max_samples={STEPS * int(str(batch_size))}")
    with TemporaryDirectory() as folder:
        run = nas.create_run(Path(folder) / "run", replace(work, changes=few).recipe())
        trainer = supernet_trainer(run, run.metrics)
        spent = []
        for share in PLACES:
            trainer.try_epoch(int(share * work.epochs), lambda done, note: None)  # warms up
            start = time.process_time()
            trainer.try_epoch(int(share * work.epochs), lambda done, note: None)
            spent.append((time.process_time() - start) / trainer.steps_per_epoch)
    return float(np.mean(spent))


def judged(work: Work) -> dict[str, Any]:
    """Train, evaluate, audit."""
    torch.set_num_threads(1)
    path = work.out / work.name
    run = open_run(path) if is_run(path) else nas.create_run(path, work.recipe())
    nas.train(run)
    row = {"strategy": work.strategy, "seed": work.seed, "epochs": work.epochs}
    records = epoch_records(run.metrics.read())
    row["seconds"] = round(sum(record["seconds"] for record in records), 1)
    row |= quality(run)
    report = nas.audit(run, subnets=work.audited, epochs=1)
    row["audit_kendall"] = report.loss_agreement.kendall
    row["audit_interval"] = report.loss_agreement.interval
    row["audited"] = work.audited
    return row


def quality(run: Run) -> dict[str, float]:
    """Validation accuracy and cross-entropy of the smallest, the largest and random subnets."""
    space, supernet = run.space, load_supernet(run)
    evaluator = subnet_evaluator(run, supernet)
    random = space.sample_distinct(NUM_RANDOM, np.random.default_rng(0))  # the same for all runs
    found: dict[str, float] = {}
    for name, genomes in (
        ("smallest", space.smallest()),
        ("random", random),
        ("largest", space.largest()),
    ):
        architectures = [space.decode(genome) for genome in genomes]
        scores = [evaluator.score(evaluator.subnet(a), a, "validation") for a in architectures]
        found[f"{name}_accuracy"] = float(np.mean([score.accuracy for score in scores]))
        found[f"{name}_loss"] = float(np.mean([score.loss for score in scores]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", required=True)
    parser.add_argument("--space", default="resnet-cifar-small")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--strategies", nargs="+", default=list(OPTIONS["strategy"]))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--audited", type=int, default=12)
    parser.add_argument("--set", nargs="*", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)

    source = mapped(arguments.source, arguments.out / "data")

    def work(strategy: str, seed: int, epochs: int) -> Work:
        places = (arguments.out, source, arguments.space)
        return Work(*places, strategy, seed, epochs, arguments.audited, tuple(arguments.set))

    pool = ProcessPoolExecutor(2, get_context("spawn"))
    timings = arguments.out / "seconds_per_step.json"
    known = json.loads(timings.read_text()) if timings.exists() else {}
    missing = [name for name in arguments.strategies if name not in known]
    tried = [work(name, 0, 10) for _ in range(ROUNDS) for name in missing]
    for one, seconds in zip(tried, pool.map(seconds_per_step, tried), strict=True):
        known[one.strategy] = min(known.get(one.strategy, float("inf")), seconds)
    timings.write_text(json.dumps(known, indent=1))
    batch_size = work("sandwich", 0, 1).recipe().training.batch_size
    steps = len(np.load(arguments.out / "data" / "train_y.npy")) // batch_size
    epochs = {
        name: max(1, round(arguments.minutes * 60 / (known[name] * steps)))
        for name in arguments.strategies
    }
    print(f"{steps} steps of {batch_size} an epoch; epochs: {epochs}", flush=True)
    works = [work(name, seed, epochs[name]) for seed in arguments.seeds for name in epochs]
    table = arguments.out / "strategies.csv"
    rows = []
    with pool:
        for row in pool.map(judged, works):
            rows.append(row)
            print(json.dumps(row), flush=True)
            with table.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main()
