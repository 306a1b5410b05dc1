"""A run directory written by the project's own classes, with made-up numbers and no training."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hardware_profiles.artifact import file_hash
from hardware_profiles.profile import LayerLatency, Profile, SubnetLatency
from hardware_profiles.target import Target
from nas.artifacts import fitted_accuracy, save_predictors, supernet_hash
from nas.config import check_recipe
from nas.exporting.manifest import (
    MODEL_NAME,
    ImagePreprocessing,
    InputTensor,
    Manifest,
    MeasuredLatency,
)
from nas.fitted_latency import fit_latency
from nas.results import ClosestMiss, Front, FrontMember, SearchResult, Winner
from nas.run_directory import Run, create_run_directory, open_run
from nas.searching.evaluations import MeasuredSubnet
from nas.training.checkpoint import save_checkpoint
from search_spaces import Architecture
from search_spaces.spread import spread_sample

HOSTILE = "<script>alert('x')</script>"
# of another machine than any that runs the tests: a report can be made anywhere
TARGET = Target(device=f"Device {HOSTILE}", runtime="r", runtime_version="1", provider="p")
WINNER_MS, NOISE = 0.0512, 0.02


def new_run(path: Path) -> Run:
    return create_run_directory(path, check_recipe({"name": "fake", "training": {"epochs": 6}}))


def train(run: Run, epochs: int = 6) -> None:
    for epoch in range(1, epochs + 1):
        record = {"epoch": epoch, "loss": 2 / epoch, "learning_rate": 0.1 / epoch}
        if epoch % 2 == 0:
            record |= {"smallest_accuracy": 0.6 + 0.01 * epoch, "largest_accuracy": 0.9}
        run.metrics.append(record)
    state = {"space": run.space.name, "epoch": epochs, "epochs": 6, "seed": 0}
    save_checkpoint(run.checkpoint_path, {"weights.w": torch.zeros(2)}, state)


def _latencies_ms(run: Run, population: Any, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(1, 0.03, len(population))
    return (0.01 + run.space.layers.costs(population).macs * 5e-8) * noise


def profile(run: Run) -> None:
    space = run.space
    costs = space.layers.spec_costs[1:, 0]
    layers = [
        LayerLatency(
            layer_kind=spec.kind, fields=spec.values, latency_ms=1e-3 + m * 5e-8, noise=0.01
        )
        for spec, m in zip(space.layers.specs, costs, strict=True)
    ]
    population = spread_sample(space, 20, np.random.default_rng(0))
    latencies = _latencies_ms(run, population, 1)
    subnets = [
        SubnetLatency(
            values=space.decode(genome).values,
            role="held_out" if i % 3 == 0 else "calibration",
            latency_ms=latency,
            noise=NOISE,
        )
        for i, (genome, latency) in enumerate(zip(population, latencies, strict=True))
    ]
    Profile(
        space=space.name,
        target=TARGET,
        created="2026-01-01T00:00:00+00:00",
        seed=0,
        layers=tuple(layers),
        subnets=tuple(subnets),
    ).save(run.profile_path)


def fit(run: Run) -> None:
    population = spread_sample(run.space, 24, np.random.default_rng(2))
    rng = np.random.default_rng(3)
    for genome, macs in zip(population, run.space.layers.costs(population).macs, strict=True):
        loss = 2.5 - 0.15 * np.log(macs)
        architecture = run.space.decode(genome)
        record = {
            "architecture_id": architecture.id,
            "values": dict(architecture.values),
            "supernet_sha256": supernet_hash(run),
            "accuracy": 1 - loss / 4,
            "loss": loss,
            "accuracy_halves": (1 - loss / 4 + rng.normal(0, 0.2, 2)).tolist(),
            "loss_halves": (loss + rng.normal(0, 0.01, 2)).tolist(),
        }
        run.accuracy_samples.append(record)
    latency = fit_latency(run.space, Profile.load(run.profile_path))
    save_predictors(run, fitted_accuracy(run), latency)


def search(run: Run, budget_ms: float, found: bool) -> SearchResult:
    """Write a search whose winner is not on its predicted front, or whose closest miss is."""
    population = spread_sample(run.space, 9, np.random.default_rng(4))
    architectures = [run.space.decode(genome) for genome in population[2:]]
    costs = run.space.layers.costs(population[2:])
    chosen, chosen_costs = architectures.pop(), costs.row(len(architectures))
    measure(run, chosen, WINNER_MS)
    measure(run, architectures[0], WINNER_MS * 0.8)
    front = tuple(
        FrontMember(
            architecture_id=architecture.id,
            values=architecture.values,
            costs=costs.row(i),
            predicted={
                "loss": 0.5 - 0.01 * i,
                "latency_ms": 0.02 + 0.003 * i,
                "latency_upper_ms": 0.021 + 0.003 * i,
            },
            measured={},
        )
        for i, architecture in enumerate(architectures)
    )
    winner, miss = None, None
    if found:
        winner = export(run, chosen, chosen_costs)
    else:
        miss = ClosestMiss(
            architecture_id=architectures[0].id,
            measured_latency_ms=WINNER_MS * 0.8,
            noise=NOISE,
            validation_accuracy=0.9,
        )
    made_from = {
        "supernet": supernet_hash(run),
        "profile": file_hash(run.profile_path),
        "accuracy_samples": file_hash(run.accuracy_samples.path),
        "budget": budget_ms,
    }
    result = SearchResult(
        space=run.space.name,
        budget_ms=budget_ms,
        limits={"activation_bytes": 123456.0},
        searcher="nsga2",
        objectives=("loss", "latency_ms"),
        reachable_ms=(0.01, 0.1),
        coverage=0.8,
        predicted_quantity="loss",
        winner=winner,
        closest_miss=miss,
        target=TARGET,
        front=front,
        evaluations=1234,
        measurements=2,
        rounds=1,
        hypervolume=0.5,
        hypervolume_reference=(1.0, budget_ms),
        made_from=made_from,
    )
    result.save(run.search_path / "budgets" / f"{budget_ms}ms.json")
    Front(space=result.space, budget_ms=budget_ms, members=front, made_from=made_from).save(
        run.search_path / "front.json"
    )
    return result


def measure(run: Run, architecture: Architecture, latency_ms: float) -> None:
    measured = MeasuredSubnet(
        architecture_id=architecture.id,
        values=architecture.values,
        supernet_sha256=supernet_hash(run),
        target_id=TARGET.id,
        validation_accuracy=0.9321,
        loss=0.2,
        latency_ms=latency_ms,
        noise=NOISE,
    )
    run.evaluations.append(measured.model_dump())


def export(run: Run, architecture: Architecture, costs: dict[str, int]) -> Winner:
    folder = run.subnets_path / architecture.id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_NAME).write_bytes(b"model")
    Manifest(
        space=run.space.name,
        architecture_id=architecture.id,
        files={MODEL_NAME: file_hash(folder / MODEL_NAME)},
        models={},
        parity={},
        costs=costs,
        validation_accuracy=0.9321,
        test_accuracy=0.9123,
        predicted_latency_ms=0.05,
        measured=(MeasuredLatency(target=TARGET, latency_ms=WINNER_MS, noise=NOISE),),
        budget_ms=0.06,
        inputs={"input": InputTensor(shape=(1, 8, 8), dtype="float32")},
        outputs=("logits",),
        preprocessing=ImagePreprocessing(height=8, width=8, channels=1, mean=(0.5,), std=(0.5,)),
        class_names=(HOSTILE, *"bcdefghij"),
        made_from={},
    ).save(folder / "manifest.json")
    return Winner(
        architecture_id=architecture.id,
        model_path=str(folder / MODEL_NAME),
        validation_accuracy=0.9321,
        test_accuracy=0.9123,
        predicted_latency_ms=0.05,
        measured_latency_ms=WINNER_MS,
        noise=NOISE,
        kept=True,
    )


def fake_run(path: Path) -> Run:
    """Return a run with a search that failed, and a later one that found a winner."""
    run = new_run(path)
    for name, stage in (("train", train), ("profile", profile), ("predictors", fit)):
        with run.stage(name):
            stage(run)
    with run.stage("search"):
        search(run, 0.04, found=False)
        search(run, 0.06, found=True)
    return open_run(path)
