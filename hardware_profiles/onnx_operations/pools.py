"""Pools of windows, and of whole images."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from hardware_profiles.onnx_operations.call import Call, Emitter, Graph, as_numpy


def _emit_average_pool(graph: Graph, call: Call) -> None:
    pool = call.module
    rank = _spatial_axes(pool)
    padding = _each(pool.padding, rank)
    if getattr(pool, "divisor_override", None) is not None:
        raise call.refuse("only averages, no other divisor")
    if pool.ceil_mode and any(padding) and pool.count_include_pad:
        raise call.refuse("what counts beyond the padding differs between runtimes")
    graph.add(
        "AveragePool",
        call.inputs,
        call.output,
        kernel_shape=_each(pool.kernel_size, rank),
        strides=_each(pool.stride, rank),
        pads=[*padding, *padding],
        ceil_mode=int(pool.ceil_mode),
        count_include_pad=int(pool.count_include_pad and any(padding)),
    )


def _emit_max_pool(graph: Graph, call: Call) -> None:
    pool = call.module
    rank = _spatial_axes(pool)
    padding = _each(pool.padding, rank)
    if pool.return_indices:
        raise call.refuse("only the maxima, not their positions")
    graph.add(
        "MaxPool",
        call.inputs,
        call.output,
        kernel_shape=_each(pool.kernel_size, rank),
        strides=_each(pool.stride, rank),
        pads=[*padding, *padding],
        dilations=_each(pool.dilation, rank),
        ceil_mode=int(pool.ceil_mode),
    )


def _emit_adaptive_pool(graph: Graph, call: Call) -> None:
    """Pool whole axes, or windows: of equal sizes where the output's size divides the input's."""
    pool, rank = call.module, _spatial_axes(call.module)
    operation = "MaxPool" if "Max" in type(pool).__name__ else "AveragePool"
    if getattr(pool, "return_indices", False):
        raise call.refuse("only the maxima, not their positions")
    wanted = _each(pool.output_size, rank)
    graph.expect_rank(call.output, 2 + rank)  # torch takes images without a batch as well
    if set(wanted) == {1}:
        graph.add(f"Global{operation}", call.inputs, call.output)
        return
    sizes = call.sizes(call.inputs[0])[-rank:]
    windows = [_window(size, parts) for size, parts in zip(sizes, wanted, strict=True)]
    if None not in windows:
        graph.add(operation, call.inputs, call.output, kernel_shape=windows, strides=windows)
    elif operation == "AveragePool" and None not in sizes:
        _emit_uneven_averages(
            graph, call, [parts or size for size, parts in zip(sizes, wanted, strict=True)]
        )
    else:
        raise call.refuse(f"only windows of equal sizes, not {wanted} of {list(sizes)}")


def _window(size: int | None, parts: int | None) -> int | None:
    """Return the length of windows that are all equal; None where they are not."""
    if parts is None:
        return 1
    return None if size is None or size % parts else size // parts


def _emit_uneven_averages(graph: Graph, call: Call, wanted: Sequence[Any]) -> None:
    """Emit a product of matrices for every axis: what torch makes of each position alone."""
    name, sizes = call.inputs[0], call.fixed_sizes(call.inputs[0], 2)
    for axis, (size, parts) in enumerate(zip(sizes, wanted, strict=True)):
        shares = as_numpy(F.adaptive_avg_pool1d(torch.eye(size)[None], parts)[0])
        part = f"{call.output}.axis{axis}"
        if axis == len(sizes) - 1:
            name = graph.add("MatMul", [name, graph.weight(f"{part}.shares", shares)], part)
        else:  # rows
            name = graph.add("MatMul", [graph.weight(f"{part}.shares", shares.T), name], part)
    graph.add("Identity", [name], call.output)


def _spatial_axes(pool: nn.Module) -> int:
    return int(next(name for name in type(pool).__name__[::-1] if name.isdigit()))


def _each(size: Any, axes: int) -> list[Any]:
    """Return what holds for every axis; None stands for an axis that stays."""
    return list(size) if isinstance(size, Sequence) else [size] * axes


POOL_MODULES: dict[type[nn.Module], Emitter] = {
    nn.AvgPool1d: _emit_average_pool,
    nn.AvgPool2d: _emit_average_pool,
    nn.MaxPool1d: _emit_max_pool,
    nn.MaxPool2d: _emit_max_pool,
    nn.AdaptiveAvgPool1d: _emit_adaptive_pool,
    nn.AdaptiveAvgPool2d: _emit_adaptive_pool,
    nn.AdaptiveMaxPool1d: _emit_adaptive_pool,
    nn.AdaptiveMaxPool2d: _emit_adaptive_pool,
}
