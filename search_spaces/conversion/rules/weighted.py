"""Layers with weights: who their channels are."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from search_spaces.conversion.axes import (
    ONE,
    Atom,
    AtomAxis,
    fix,
    fixed_axis,
    reshaped,
    size_of,
)
from search_spaces.conversion.graph import Constant, Value

if TYPE_CHECKING:
    from search_spaces.conversion.reader import Reader

Rule = Callable[..., Any]


LEAST_ELASTIC_KERNEL = 5


def _convolution(
    r: "Reader",
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value | None:
    if r.weight(weight, ()) is None or not isinstance(r.found[weight], Constant):
        return None
    value, shape = r.value(x), r.found[weight].tensor.shape
    dims = len(shape) - 2
    if len(value.axes) != len(shape):
        return None
    stride, dilation = _each(stride, dims), _each(dilation, dims)
    padding = _padding(padding, shape[2:], dilation)
    out, inner, groups_axis = _channels(r, value.axes[1], shape[0], shape[1], groups)
    kernel = _kernel_axes(r, shape[2:], padding, dilation)
    weights = r.weights(weight=(weight, (out, inner, *kernel)), bias=(bias, (out,)))
    if weights is None:
        return None
    axes = [value.axes[0], out, *r.spatial(value)[2:]]
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    sizes = {"groups": groups_axis}
    return r.step("conv", [value], axes, settings, sizes=sizes, weights=weights)


def _channels(
    r: "Reader", axis: AtomAxis, num_out: int, per_group: int, groups: int
) -> tuple[AtomAxis, AtomAxis, AtomAxis]:
    """Return the axes of a convolution's outputs, of what each reads, and of its groups."""
    if groups == 1:
        return r.atom_axis(num_out, r.module), axis, ONE
    if per_group == 1:  # depthwise: outputs of a channel lie together
        times = num_out // groups
        more = () if times == 1 else (Atom(times, "several outputs of each channel"),)
        return tuple((*term, *more) for term in axis), ONE, axis
    split = reshaped([axis], [groups, per_group], r.where())
    fix(split[:1], f"the groups of {r.where()}")
    each = r.atom_axis(num_out // groups, r.module)
    if len(split[0]) != 1 or len(split[1]) != 1:
        return fixed_axis(num_out, "groups"), fixed_axis(per_group, "groups"), split[0]
    return ((*split[0][0], *each[0]),), split[1], split[0]


def _kernel_axes(
    r: "Reader", kernel: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[AtomAxis]:
    size = kernel[0]
    centred = all(p == d * (size // 2) for p, d in zip(padding, dilation, strict=True))
    if len(set(kernel)) == 1 and size % 2 and size >= LEAST_ELASTIC_KERNEL and centred:
        atom = Atom(size, r.named_fixed(r.module), r.module, "kernel")
        return [((atom,),)] * len(kernel)
    return [fixed_axis(size, "a small or asymmetric kernel") for size in kernel]


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    if padding == "valid":
        return [0] * len(kernel)
    if padding == "same":
        return [d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)]
    return _each(padding, len(kernel))


def _each(value: Any, n: int) -> list[int]:
    several = [value] * n if isinstance(value, int) else list(value)
    return several * n if len(several) == 1 and n > 1 else several


def _transposed(
    r: "Reader",
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value | None:
    if groups != 1 or not isinstance(r.found[weight], Constant):
        return None
    value, shape = r.value(x), r.found[weight].tensor.shape
    dims = len(shape) - 2
    out = r.atom_axis(shape[1], r.module)
    kernel = [fixed_axis(size, "the kernel of a transposed convolution") for size in shape[2:]]
    weights = r.weights(weight=(weight, (value.axes[1], out, *kernel)), bias=(bias, (out,)))
    if weights is None:
        return None
    settings = {
        "stride": _each(stride, dims),
        "padding": _each(padding, dims),
        "dilation": _each(dilation, dims),
        "output_padding": _each(output_padding, dims),
    }
    axes = [value.axes[0], out, *r.spatial(value)[2:]]
    sizes = {"groups": ONE}
    return r.step("conv_transpose", [value], axes, settings, sizes=sizes, weights=weights)


def _linear(r: "Reader", x: Any, weight: Any, bias: Any = None) -> Value | None:
    if not isinstance(r.found[weight], Constant):
        return None
    value = r.value(x)
    out = r.atom_axis(r.found[weight].tensor.shape[0], r.module)
    weights = r.weights(weight=(weight, (out, value.axes[-1])), bias=(bias, (out,)))
    if weights is None:
        return None
    return r.step("linear", [value], [*value.axes[:-1], out], weights=weights)


def _batch_norm(
    r: "Reader",
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn: bool = True,
) -> Value | None:
    value = r.value(x)
    channels = value.axes[1]
    weights = r.weights(weight=(weight, (channels,)), bias=(bias, (channels,)))
    if training or mean is None or weights is None:
        return None
    statistics = (r.found[mean].source, r.found[variance].source)
    settings = {"eps": eps, "momentum": momentum}
    return r.step(
        "batch_norm", [value], value.axes, settings, weights=weights, statistics=statistics
    )


def _layer_norm(
    r: "Reader",
    x: Any,
    shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn: bool = True,
) -> Value | None:
    value = r.value(x)
    normed = value.axes[-len(shape) :]
    weights = r.weights(weight=(weight, normed), bias=(bias, normed))
    if weights is None or (weight is None and bias is not None):
        return None
    settings = {"eps": eps, "axes": len(shape)}
    return r.step("layer_norm", [value], value.axes, settings, weights=weights)


def _group_norm(
    r: "Reader",
    x: Any,
    groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn: bool = True,
) -> Value | None:
    value = r.value(x)
    channels = value.axes[1]
    weights = r.weights(weight=(weight, (channels,)), bias=(bias, (channels,)))
    if weights is None:
        return None
    sizes = {"groups": ONE}
    if groups > 1:
        split = reshaped([channels], [groups, size_of(channels) // groups], r.where())
        fix(split[:1], f"the groups of {r.where()}")
        sizes = {"groups": split[0]}
    return r.step("group_norm", [value], value.axes, {"eps": eps}, sizes=sizes, weights=weights)


def _rms_norm(
    r: "Reader", x: Any, shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> Value | None:
    value = r.value(x)
    weights = r.weights(weight=(weight, value.axes[-len(shape) :]))
    if not weights:
        return None
    return r.step("rms_norm", [value], value.axes, {"eps": eps}, weights=weights)


def _prelu(r: "Reader", x: Any, weight: Any) -> Value | None:
    if not isinstance(r.found[weight], Constant):
        return None
    value = r.value(x)
    single = r.found[weight].tensor.numel() == 1
    weights = r.weights(weight=(weight, (ONE if single else value.axes[1],)))
    return r.step("prelu", [value], value.axes, weights=weights)


def _embedding(r: "Reader", weight: Any, ids: Any, *more: Any) -> Value | None:
    table, given = r.found[weight], r.found[ids]
    if not isinstance(table, Constant):
        return None
    rows, width = table.tensor.shape
    if isinstance(given, Constant):  # learned positions
        positions = given.tensor.flatten()
        if not torch.equal(positions, torch.arange(len(positions))):
            return None
        whole = r.as_value(table)
        part = whole if len(positions) == rows else r.narrow(whole, 0, 0, len(positions))
        if part is whole:
            fix([whole.axes[0]], "positions")
        axes = [*(fixed_axis(s, "positions") for s in given.tensor.shape), whole.axes[1]]
        return r.step("reshape", [part], axes)
    out = r.atom_axis(width, r.module)
    vocabulary = fixed_axis(rows, "the vocabulary")
    weights = r.weights(weight=(weight, (vocabulary, out)))
    return r.step("embedding", [r.value(ids)], [*given.axes, out], weights=weights)


WEIGHTED_RULES: dict[str, Rule] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
    "prelu": _prelu,
    "embedding": _embedding,
}
