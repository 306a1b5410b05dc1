"""Networks of the user's own that became search spaces: made, written, described."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from hardware_profiles.artifact import tool_version, write_atomic
from hardware_profiles.profile import Profile
from nas.fitted_latency import fit_latency
from nas.training.checkpoint import save_checkpoint
from search_spaces import InputError, Population, SearchSpace
from search_spaces.conversion.elasticize import Elastic, elasticize
from search_spaces.conversion.space_file import FORMAT, KIND, SPACE_NAME, WEIGHTS_NAME
from search_spaces.python_name import call, python_function, source_sha256

NUM_SAMPLES = 10_000  # of architectures, for the middle one
EXAMPLE = "return network, torch.randn(1, 3, 224, 224)"


def elastic_network(name: str, samples: str | None = None, **settings: Any) -> Elastic:
    """Call a user's function, and make the network that it returns elastic.

    Args:
        name: `python:package.module:function`, which returns a network and an example input.
        samples: the same, returning inputs and targets to judge channels by.
        settings: of `elasticize`.

    Raises:
        InputError: no such function, another result, or as `elasticize`.
    """
    function = python_function(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        returned = call(name, function)
    if isinstance(returned, nn.Module):
        raise InputError(f"{name} returns no example input; let it {EXAMPLE}")
    is_pair = isinstance(returned, tuple) and len(returned) == 2
    if not is_pair or not isinstance(returned[0], nn.Module):
        got = type(returned).__name__
        raise InputError(f"{name}: expected a network and an example input ({EXAMPLE}), got {got}")
    network, example = returned
    if samples is not None:
        settings["samples"] = call(samples, python_function(samples))
    try:
        return elasticize(network, example, **settings)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def write_network(elastic: Elastic, folder: Path, source: str | None = None) -> None:
    """Write a network that became elastic: its search space as data, and its weights.

    Args:
        source: `python:` name that it came from.
    """
    made_from = {} if source is None else {source: source_sha256(source)}
    state = {
        "space": elastic.space.name,
        "settings": dict(elastic.space.settings),
        "epoch": 0,
        "epochs": 0,
        "seed": 0,
        "kernel_transform": False,
        "made_from": made_from,
    }
    tensors: Mapping[str, Tensor] = elastic.supernet.state_dict()
    weights = {f"weights.{name}": tensor for name, tensor in tensors.items()}
    save_checkpoint(folder / WEIGHTS_NAME, weights, state)
    plain = {
        "format": FORMAT,
        "kind": KIND,
        "tool_version": tool_version(),
        "made_from": made_from,
        "stays": [vars(one) for one in elastic.stays],
        "notes": list(elastic.notes),
        "space": elastic.plan.to_plain(),
    }
    write_atomic(folder / SPACE_NAME, (json.dumps(plain, indent=1) + "\n").encode())


def is_made_from(folder: Path, source: str) -> bool:
    """Tell whether a folder that `write_network` wrote is of a function, unchanged since.

    Raises:
        InputError: no such function.
    """
    found = {source: source_sha256(source)}
    try:
        plain = json.loads((folder / SPACE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(plain, dict) and plain.get("made_from") == found


def is_network_folder(folder: Path) -> bool:
    """Tell whether a folder holds nothing but what `write_network` writes."""
    return folder.is_dir() and all(
        file.name in (SPACE_NAME, WEIGHTS_NAME) or file.name.endswith(".tmp")
        for file in folder.iterdir()
    )


def members(space: SearchSpace) -> dict[str, Population]:
    """Return the smallest, a middle and the largest architecture of a space, `1 x d` each; the
    middle one has the median of the MACs of 10,000 samples.
    """
    samples = space.sample(NUM_SAMPLES, np.random.default_rng(0))
    macs = space.layers.costs(samples).macs
    middle = samples[np.argsort(macs, kind="stable")[len(macs) // 2]]
    return {"smallest": space.smallest(), "middle": middle[None], "largest": space.largest()}


def describe_network(
    elastic: Elastic, profile: Profile | None = None, budget_ms: float | None = None
) -> dict[str, Any]:
    """Describe a network that became elastic as plain data.

    Args:
        profile: of its space, to predict latencies by.
        budget_ms: whether it is within reach is told.

    Raises:
        InputError: a profile of another space.
    """
    space = elastic.space
    latency = None if profile is None else fit_latency(space, profile).predictor
    rows: dict[str, dict[str, Any]] = {}
    for name, genome in members(space).items():
        rows[name] = dict(space.layers.costs(genome).row(0))
        if latency is not None:
            guess = latency.predict(genome)
            rows[name]["predicted_latency_ms"] = float(guess.mean[0])
    described: dict[str, Any] = {
        "space": space.name,
        "modality": space.modality,
        "num_architectures": space.num_architectures,
        "dimensions": [
            {"name": d.name, "options": list(d.options), "active_when": _condition(d.active_when)}
            for d in space.dimensions
        ],
        "stays": [vars(one) for one in elastic.stays],
        "notes": list(elastic.notes),
        "members": rows,
    }
    if latency is not None and budget_ms is not None:
        least = rows["smallest"]["predicted_latency_ms"]
        described |= {"budget_ms": budget_ms, "within_reach": least <= budget_ms}
    return described


def _condition(active_when: tuple[str, frozenset[int]] | None) -> dict[str, Any] | None:
    if active_when is None:
        return None
    return {"dimension": active_when[0], "option_indices": sorted(active_when[1])}


def network_tables(described: Mapping[str, Any]) -> list[Table]:
    """Lay a description out: what can be chosen, what stays and why, what members cost."""
    chosen = Table("can be chosen", "options", box=None, pad_edge=False)
    for row in described["dimensions"]:
        options = ", ".join(map(str, row["options"]))
        chosen.add_row(row["name"], options)
    staying = Table("stays", "size", "because", box=None, pad_edge=False)
    for row in described["stays"]:
        staying.add_row(row["name"], str(row["size"]), row["reason"])
    costs = Table(box=None, pad_edge=False)
    columns = ["member", "MACs", "parameters", "memory"]
    timed = "predicted_latency_ms" in described["members"]["smallest"]
    for column in [*columns, *(["predicted latency"] if timed else [])]:
        costs.add_column(column, justify="left" if column == "member" else "right")
    for name, row in described["members"].items():
        words = [
            f"{row['macs'] / 1e6:,.2f} M",
            f"{row['num_params'] / 1e6:,.3f} M",
            f"{row['activation_bytes'] / 1024:,.0f} KiB",
        ]
        if timed:
            words.append(f"{row['predicted_latency_ms']:.4g} ms")
        costs.add_row(name, *words)
    return [chosen, *([staying] if described["stays"] else []), costs]
