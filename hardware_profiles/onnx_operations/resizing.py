"""Images of another size: as torch samples them, or refused."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph

LINEAR = ("linear", "bilinear", "trilinear")
AXES = {"linear": 1, "bilinear": 2, "trilinear": 3}


def _emit_upsample(graph: Graph, call: Call) -> None:
    module = call.module
    sizes = call.sizes(call.inputs[0])
    mode, axes = str(module.mode), len(sizes) - 2
    if axes < 1 or mode not in ("nearest", *LINEAR) or AXES.get(mode, axes) != axes:
        raise call.refuse(f"only nearest and linear sampling, not {mode} of {axes} axes")
    factors = _stated_factors(call, axes) or [
        after / before
        for before, after in zip(
            call.fixed_sizes(call.inputs[0], 2), call.fixed_sizes(call.output, 2), strict=True
        )
    ]
    if mode == "nearest" and not all(factor.is_integer() for factor in factors):
        _emit_positions(graph, call)
    else:
        _emit_resize(graph, call, factors, mode != "nearest", bool(module.align_corners))


def _stated_factors(call: Call, axes: int) -> list[float] | None:
    """Return the factors that the module states; None where it states sizes, or rounds."""
    factor: Any = call.module.scale_factor
    if factor is None or call.module.recompute_scale_factor:
        return None
    return [float(f) for f in factor] if isinstance(factor, tuple) else [float(factor)] * axes


def _emit_resize(
    graph: Graph, call: Call, factors: list[float], linear: bool, align_corners: bool
) -> None:
    name, (source,) = call.output, call.inputs
    if not all(factor.is_integer() for factor in factors):
        before, after = call.fixed_sizes(source, 2), call.fixed_sizes(name, 2)
        for size, factor, expected in zip(before, factors, after, strict=True):
            if {int(size * factor), int(np.float32(size) * np.float32(factor))} != {expected}:
                raise call.refuse(f"runtimes may round {size} x {factor} otherwise")
    corners = "align_corners" if align_corners else "half_pixel"
    scales = graph.weight(f"{name}.scales", np.array([1.0, 1.0, *factors]))
    graph.add(
        "Resize",
        [source, "", scales],
        name,
        mode="linear" if linear else "nearest",
        coordinate_transformation_mode=corners if linear else "asymmetric",
        nearest_mode="floor",
    )


def _emit_positions(graph: Graph, call: Call) -> None:
    """Emit the rows and columns that torch takes, one axis after the other."""
    name, module = call.inputs[0], call.module
    sizes = call.fixed_sizes(name, 2)
    for axis, size in enumerate(sizes):
        taken = _taken(module, sizes, axis)
        if taken == list(range(size)):
            continue
        positions = graph.integers(f"{call.output}.axis{axis}.positions", taken)
        name = graph.add("Gather", [name, positions], f"{call.output}.axis{axis}", axis=2 + axis)
    graph.add("Identity", [name], call.output)


def _taken(module: Any, sizes: list[int], axis: int) -> list[int]:
    """Return the positions of an axis that torch takes, as it says itself."""
    along = [1] * len(sizes)
    along[axis] = sizes[axis]
    numbers = torch.arange(float(sizes[axis])).reshape(along).expand(sizes)[None, None]
    result = F.interpolate(
        numbers,
        module.size,
        module.scale_factor,
        "nearest",
        recompute_scale_factor=module.recompute_scale_factor,
    )[0, 0]
    line = [0] * len(sizes)
    line[axis] = slice(None)  # type: ignore[call-overload]
    return [int(position) for position in result[tuple(line)]]


RESIZING_MODULES: dict[type[nn.Module], Emitter] = {nn.Upsample: _emit_upsample}
