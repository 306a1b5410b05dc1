"""What `nas spaces` tells: dimensions, size and costs of the spaces in the catalogue."""

from typing import Any

import numpy as np
from rich.table import Table

from search_spaces import SPACES, SearchSpace, build_space

NUM_SAMPLES = 10_000


def describe_spaces() -> list[dict[str, Any]]:
    """Describe every space of the catalogue as plain data."""
    return [describe_space(name) for name in SPACES]


def describe_space(name: str) -> dict[str, Any]:
    """Describe one space: dimensions, exact size, and costs of its least, middle and largest
    member.

    The middle is the median of 10,000 sampled architectures, for each cost by itself.
    """
    space = build_space(name)
    grid = space.layers
    samples = grid.costs(space.sample(NUM_SAMPLES, np.random.default_rng(0)))
    return {
        "name": name,
        "versioned_name": space.name,
        "modality": space.modality,
        "num_dimensions": space.num_dimensions,
        "num_architectures": space.num_architectures,
        "num_layer_specs": len(grid.specs),
        "costs": {
            "least": grid.costs(space.smallest()).row(0),
            "middle": {
                "macs": int(np.median(samples.macs)),
                "num_params": int(np.median(samples.num_params)),
                "activation_bytes": int(np.median(samples.activation_bytes)),
            },
            "largest": grid.costs(space.largest()).row(0),
        },
        "dimensions": _dimensions(space),
    }


def _dimensions(space: SearchSpace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    parents = {dimension.name: dimension for dimension in space.dimensions}
    for dimension in space.dimensions:
        row: dict[str, Any] = {"name": dimension.name, "options": list(dimension.options)}
        if dimension.active_when is not None:
            parent, activating = dimension.active_when
            options = [parents[parent].options[i] for i in sorted(activating)]
            row["active_when"] = {"dimension": parent, "options": options}
        rows.append(row)
    return rows


def space_tables(described: list[dict[str, Any]], dimensions: bool) -> list[Table]:
    """Lay descriptions out as tables: sizes and costs, and the dimensions where wanted."""
    table = Table(box=None, pad_edge=False)
    for column in ("space", "takes", "architectures", "member", "MACs", "parameters", "memory"):
        left = column in ("space", "takes", "member")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    for space in described:
        for i, (member, costs) in enumerate(space["costs"].items()):
            size = (space["name"], space["modality"], _size(space["num_architectures"]))
            table.add_row(
                *(size if i == 0 else ("", "", "")),
                member,
                f"{costs['macs'] / 1e6:,.2f} M",
                f"{costs['num_params'] / 1e6:,.3f} M",
                f"{costs['activation_bytes'] / 1024:,.0f} KiB",
            )
    if not dimensions:
        return [table]
    listing = Table("dimension", "options", "active when", box=None, pad_edge=False)
    for row in described[0]["dimensions"]:
        condition = row.get("active_when")
        words = ""
        if condition is not None:
            words = f"{condition['dimension']} in {_join(condition['options'])}"
        listing.add_row(row["name"], _join(row["options"]), words)
    return [table, listing]


def _size(count: int) -> str:
    return f"{count:,}" if count < 10**9 else f"{count:.3e}"


def _join(options: list[Any]) -> str:
    return ", ".join(str(option) for option in options)
