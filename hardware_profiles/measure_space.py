"""Make a profile: measure the layer specs of a space and some whole subnets on this machine."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from typing import Literal

import numpy as np
import torch
from torch import nn

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.profile import LayerLatency, Profile, SubnetLatency
from hardware_profiles.profile_device import Measurement, measure, onnx_runner
from hardware_profiles.target import this_machine
from search_spaces import Architecture, InputError, LayerSpec, SearchSpace
from search_spaces.layer_module import layer_module
from search_spaces.spread import spread_sample
from search_spaces.supernet import assemble

Progress = Callable[[int, int], None]  # steps done, steps in all


def measure_space(
    space: SearchSpace,
    *,
    num_calibration: int = 24,
    num_held_out: int = 16,
    max_specs: int = 500,
    threads: int = 1,
    passes: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Profile:
    """Measure a space on this machine under ONNX Runtime's CPU provider, batch 1, fp32.

    Weights are random: latency does not depend on them. Layers and subnets are visited in one
    random
    order, so that a slow moment of the machine disturbs both alike.

    Args:
        num_calibration, num_held_out: whole subnets to measure, spread over the MACs of the space.
        max_specs: above this many distinct layer specs, that many are measured, spread over their
            MACs.
        progress: called with steps done and steps in all: opening every graph, then every visit.

    Raises:
        InputError: a setting that asks for less than one.
    """
    if min(threads, passes, max_specs, num_calibration) < 1 or num_held_out < 0:
        raise InputError(
            "expected threads, passes, max_specs and num_calibration of at least 1, got "
            f"{threads}, {passes}, {max_specs}, {num_calibration} (and num_held_out {num_held_out})"
        )
    rng = np.random.default_rng(seed)
    specs = spread_specs(space, max_specs)
    architectures = [
        space.decode(genome) for genome in spread_sample(space, num_calibration + num_held_out, rng)
    ]
    num_held_out = min(num_held_out, len(architectures) // 2)  # a small space has fewer
    held_out = set(rng.choice(len(architectures), num_held_out, replace=False).tolist())
    done, total = 0, (len(specs) + len(architectures)) * (1 + passes)

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    runners = []
    models = chain(map(spec_onnx, specs), (random_subnet_onnx(space, one) for one in architectures))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of the weights
        for model in models:
            runners.append(onnx_runner(model, threads))
            advance()
    measured = measure(runners, passes, seed=seed, progress=advance)
    return Profile(
        space=space.name,
        target=this_machine(threads),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=seed,
        passes=passes,
        layers=tuple(map(_layer_latency, specs, measured[: len(specs)])),
        subnets=tuple(
            _subnet_latency(architecture, result, "held_out" if i in held_out else "calibration")
            for i, (architecture, result) in enumerate(
                zip(architectures, measured[len(specs) :], strict=True)
            )
        ),
    )


def spread_specs(space: SearchSpace, limit: int) -> list[LayerSpec]:
    """Return the distinct layer specs; above `limit`, that many.

    Every kind gets its share, at even steps of MACs.
    """
    grid = space.layers
    kinds: dict[str, list[int]] = {}
    for i in np.argsort(grid.spec_costs[1:, 0], kind="stable"):
        kinds.setdefault(grid.specs[i].kind, []).append(int(i))
    chosen: list[int] = []
    left, specs_left = limit, len(grid.specs)
    for positions in sorted(kinds.values(), key=len):  # a kind's share, but at least one of it
        share = min(len(positions), max(1, round(left * len(positions) / specs_left)), left)
        steps = np.linspace(0, len(positions) - 1, share).round().astype(int)
        chosen += [positions[step] for step in steps]
        left, specs_left = left - share, specs_left - len(positions)
    return [grid.specs[i] for i in chosen]


def spec_onnx(spec: LayerSpec) -> bytes:
    """One layer alone as a serialised ONNX graph with random weights."""
    return _serialized(layer_module(spec), spec.input_shapes[0])


def random_subnet_onnx(space: SearchSpace, architecture: Architecture) -> bytes:
    """One whole subnet as a serialised ONNX graph with random weights."""
    layers = space.layers.layers(space.encode(architecture))
    subnet = assemble((name, layer_module(spec)) for name, spec in layers)
    return _serialized(subnet, layers[0][1].input_shapes[0])


def _serialized(module: nn.Module, input_shape: tuple[int, ...]) -> bytes:
    with torch.no_grad():
        data: bytes = onnx_model(module.eval(), input_shape).SerializeToString()
    return data


def _layer_latency(spec: LayerSpec, result: Measurement) -> LayerLatency:
    return LayerLatency(
        layer_kind=spec.kind,
        fields=spec.values,
        latency_ms=result.latency_ms,
        noise=result.noise,
    )


def _subnet_latency(
    architecture: Architecture, result: Measurement, role: Literal["calibration", "held_out"]
) -> SubnetLatency:
    return SubnetLatency(
        values=architecture.values, role=role, latency_ms=result.latency_ms, noise=result.noise
    )
