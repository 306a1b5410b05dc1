"""Profiles with made-up figures: known devices that nobody had to measure."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware_profiles.plan import make_plan
from hardware_profiles.profile import Profile, make_profile
from hardware_profiles.target import Target
from nas.run_directory import open_run
from search_spaces import Population, SearchSpace

ELSEWHERE = Target(
    device="Pocket board", runtime="onnxruntime", runtime_version="1.0", provider="Imaginary"
)
Latency = Callable[[SearchSpace, Population], np.ndarray]


@dataclass(frozen=True)
class Figures:
    """What was "measured" of one network."""

    latency_ms: float
    noise: float = 0.01
    wall_ms: float = 9.9
    visits: int = 3
    resident_bytes: int | None = None


def by_costs(space: SearchSpace, population: Population) -> np.ndarray:
    """Milliseconds that rise with MACs, and with the number of layers."""
    layers = space.layers.sum(population, np.array([0.0] + [1.0] * len(space.layers.specs)))
    return 0.01 + 5e-8 * space.layers.costs(population).macs + 0.002 * layers


def layer_by_costs(macs: float, num_params: float) -> float:
    """Milliseconds of a layer alone, on the device of `by_costs`."""
    return 0.002 + 5e-8 * macs


def made_up(
    space: SearchSpace,
    *,
    target: Target = ELSEWHERE,
    latency: Latency = by_costs,
    layer: Callable[[float, float], float] = layer_by_costs,
    calibration: int = 14,
    held_out: int = 8,
    max_specs: int = 500,
    options: Mapping[str, Sequence[object]] | None = None,
    memory: bool = False,
    noise: float = 0.01,
    seed: int = 0,
) -> Profile:
    """Profile of a space on a device whose latencies are a formula, but for 1 % noise."""
    plan = make_plan(
        space,
        num_calibration=calibration,
        num_held_out=held_out,
        max_specs=max_specs,
        options=options,
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    costs = dict(zip(space.layers.specs, space.layers.spec_costs[1:], strict=True))
    measured = {}
    for item in plan.items:
        if item.role == "layer":
            exact, resident = layer(*map(float, costs[item.spec][:2])), None
        else:
            genome = space.encode(space.architecture(item.values))
            exact = float(latency(space, genome)[0])
            resident = resident_bytes(space, genome) if memory else None
        measured[item.id] = Figures(
            exact * rng.normal(1, noise), noise=noise, resident_bytes=resident
        )
    return make_profile(
        plan, target, measured, created="2026-01-01T00:00:00+00:00", drift=0.0, made_from={}
    )


def know_this_machine_by(run: Path, **figures: object) -> None:
    """Replace the profile of a trained run by a made-up one; what it searched is forgotten."""
    path = run / "profile.json"
    target = Profile.load(path).target
    shutil.rmtree(run / "search")
    made_up(open_run(run).space, target=target, **figures).save(path)


def resident_bytes(space: SearchSpace, genome: Population) -> int:
    """Bytes of weights and activations, and what a runtime holds anyway."""
    costs = space.layers.costs(genome)
    return int(4 * costs.num_params[0] + 2 * costs.activation_bytes[0] + 300_000)


def on(target: Target, **changes: object) -> Target:
    """The target with some fields changed."""
    return Target.model_validate({**target.model_dump(), **changes})


def keep(folder: Path, name: str, profile: Profile, **changes: object) -> Path:
    """Write a profile among those known in `folder`, some of its fields changed."""
    path = folder / f"{name}.json"
    profile.save(path)
    if changes:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path
