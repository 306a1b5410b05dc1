"""Changes of shape and order, and parts of tensors."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.conversion.axes import (
    BATCH_SIZE,
    ONE,
    fix,
    fixed_axis,
    reshaped,
    size_of,
)
from search_spaces.conversion.graph import Parts, Value

if TYPE_CHECKING:
    from search_spaces.conversion.reader import Reader

Rule = Callable[..., Any]


def _same(r: "Reader", x: Any, *more: Any, **keywords: Any) -> Any:
    return r.found[x]


def _dropout(r: "Reader", x: Any, p: float, train: bool) -> Any:
    return None if train else r.found[x]


def _to(r: "Reader", x: Any, *more: Any, **keywords: Any) -> Any:
    same = r.node.meta["val"].dtype == x.meta["val"].dtype
    return r.found[x] if same else None


def _reshape(r: "Reader", x: Any, *more: Any, **keywords: Any) -> Value | None:
    value = r.value(x)
    axes = reshaped(value.axes, r.shape, r.where())
    return r.step("reshape", [value], axes)


def _permute(r: "Reader", x: Any, dims: Sequence[int]) -> Value | None:
    value = r.value(x)
    dims = [dim % len(value.axes) for dim in dims]
    return r.step("permute", [value], [value.axes[dim] for dim in dims], {"dims": dims})


def _transpose(r: "Reader", x: Any, first: int = 0, second: int = 1) -> Value | None:
    rank = len(r.shape)
    dims = list(range(rank))
    dims[first % rank], dims[second % rank] = dims[second % rank], dims[first % rank]
    return _permute(r, x, dims)


def _select(r: "Reader", x: Any, dim: int, index: int) -> Value | None:
    value = r.value(x)
    return r.select(value, dim % len(value.axes), index)


def _slice(
    r: "Reader", x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    value = r.value(x)
    dim %= len(value.axes)
    size, length = size_of(value.axes[dim]), r.shape[dim]
    if length == size:
        return value
    if step != 1:
        return None
    first = start or 0
    return r.narrow(value, dim, first + size if first < 0 else first, length)


def _unbind(r: "Reader", x: Any, dim: int = 0) -> Any:
    value = r.value(x)
    dim %= len(value.axes)
    return Parts(value, dim, (1,) * size_of(value.axes[dim]), drop=True)


def _split(r: "Reader", x: Any, *more: Any, **keywords: Any) -> Any:
    value, results = r.value(x), r.node.meta["val"]
    shapes = [tuple(one.shape) for one in results]
    whole = [size_of(axis) for axis in value.axes]
    dims = [i for i, size in enumerate(whole) if any(shape[i] != size for shape in shapes)]
    dim = dims[0] if dims else 0
    return Parts(value, dim, tuple(shape[dim] for shape in shapes))


def _expand(r: "Reader", x: Any, *more: Any, **keywords: Any) -> Value | None:
    value = r.value(x)
    old = [ONE] * (len(r.shape) - len(value.axes)) + list(value.axes)
    axes, batch = [], False
    for i, (axis, size) in enumerate(zip(old, r.shape, strict=True)):
        if size_of(axis) == size:
            axes.append(axis)
            continue
        if size % BATCH_SIZE:  # as many as what it meets
            axes.append(r.atom_axis(size, r.module))
            continue
        if i or size != BATCH_SIZE:
            raise r.refuse("a size of the batch")
        axes.append(fixed_axis(size, "the batch"))
        batch = True
    if len(old) > len(value.axes):
        value = r.step("reshape", [value], old)
    return r.step("expand", [value], axes, {"batch": batch})


def _pad(
    r: "Reader", x: Any, sizes: Sequence[int], mode: Any = None, value: Any = None
) -> Value | None:
    if "constant" in str(r.node.target):  # whose third argument is the number
        mode, value = "constant", mode
    if mode not in ("constant", "reflect", "replicate", "circular"):
        return None
    given = r.value(x)
    axes = list(given.axes)
    for i in range(len(sizes) // 2):
        dim = len(axes) - 1 - i
        if sizes[2 * i] or sizes[2 * i + 1]:
            fix([axes[dim]], f"{r.where()} lengthens it")
            axes[dim] = fixed_axis(r.shape[dim], f"a size of {r.where()}")
    sizes = list(sizes)
    if mode == "constant":  # of all axes: what comes after does not know how many there are
        sizes += [0] * (2 * len(axes) - len(sizes))
    settings = {"sizes": sizes, "mode": mode, "value": float(value or 0)}
    return r.step("pad", [given], axes, settings)


LAYOUT_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "contiguous",
            "clone",
            "detach",
            "alias",
            "lift_fresh_copy",
            "lift_fresh",
            "_assert_tensor_metadata",
        ),
        _same,
    ),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout"), _dropout),
    **dict.fromkeys(("to", "_to_copy"), _to),
    **dict.fromkeys(
        ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze"),
        _reshape,
    ),
    "permute": _permute,
    **dict.fromkeys(("transpose", "t"), _transpose),
    "select": _select,
    "slice": _slice,
    "unbind": _unbind,
    **dict.fromkeys(("split", "chunk", "split_with_sizes"), _split),
    "expand": _expand,
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
}
