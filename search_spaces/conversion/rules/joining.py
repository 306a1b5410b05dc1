"""Sums, products, joins, attention and means: what makes channels the same."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import fx

from search_spaces.conversion.axes import (
    ONE,
    Atom,
    fix,
    leaves,
    size_of,
    unify,
)
from search_spaces.conversion.graph import Value

if TYPE_CHECKING:
    from search_spaces.conversion.reader import Reader

Rule = Callable[..., Any]


def _binary(kind: str) -> Callable[..., Value | None]:
    def rule(r: "Reader", x: Any, y: Any, **keywords: Any) -> Value | None:
        if keywords.get("alpha", 1) != 1 or set(keywords) - {"alpha"}:
            return None
        if isinstance(x, fx.Node) and isinstance(y, fx.Node):
            values = [r.value(x), r.value(y)]
            return r.step(kind, values, r.broadcast(values))
        tensor, number = (x, y) if isinstance(x, fx.Node) else (y, x)
        value = r.value(tensor)
        settings = {"number": number, "reversed": tensor is y}
        return r.step(kind, [value], value.axes, settings)

    return rule


def _concatenate(r: "Reader", parts: Sequence[Any], dim: int = 0) -> Value | None:
    values = [r.value(part) for part in parts]
    dim %= len(values[0].axes)
    axes = list(values[0].axes)
    for value in values[1:]:
        for i, axis in enumerate(value.axes):
            if i != dim:
                unify(axes[i], axis, r.where())
    axes[dim] = tuple(term for value in values for term in value.axes[dim])
    if not all(term for term in axes[dim]):  # parts of size 1
        axes[dim] = tuple(term or (Atom(1, "one"),) for term in axes[dim])
    return r.step("cat", values, axes, {"dim": dim})


def _matmul(r: "Reader", x: Any, y: Any) -> Value | None:
    first, second = r.value(x), r.value(y)
    if len(first.axes) != len(second.axes) or len(first.axes) < 2:
        return None
    unify(first.axes[-1], second.axes[-2], r.where())
    batches = r.broadcast([Value("", first.axes[:-2]), Value("", second.axes[:-2])])
    return r.step("matmul", [first, second], [*batches, first.axes[-2], second.axes[-1]])


def _attention(
    r: "Reader",
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    dropout: float = 0.0,
    causal: bool = False,
    scale: float | None = None,
    **more: Any,
) -> Value | None:
    if dropout or any(more.values()):
        return None
    q, k, v = (r.value(one) for one in (query, key, value))
    for one in (q, k, v):
        fix([one.axes[-1]], "the size of an attention head")
        fix([one.axes[-2]], "the number of tokens")
    for one in (k, v):
        for first, second in zip(q.axes[:-2], one.axes[:-2], strict=True):
            unify(first, second, r.where())
    for axis in q.axes[1:-2]:
        for term in axis:
            for leaf in leaves(term):
                leaf.noun = "heads"
    reads = [q, k, v]
    stated = scale if scale is not None else size_of(q.axes[-1]) ** -0.5
    settings = {"causal": causal, "scale": stated}
    if mask is not None:
        reads.append(r.value(mask))
        _join_mask(r, q, reads[-1])
    return r.step("attention", reads, [*q.axes[:-1], v.axes[-1]], settings)


def _join_mask(r: "Reader", query: Value, mask: Value) -> None:
    """Let a mask have the heads of the queries, where it says something of each."""
    for axis, own in zip(query.axes[-3::-1], mask.axes[-3::-1], strict=False):
        if size_of(own) > 1:
            unify(axis, own, r.where())
    fix(mask.axes[-2:], "the mask of an attention")


def _reduction(kind: str) -> Callable[..., Value | None]:
    def rule(
        r: "Reader", x: Any, dims: Any = None, keepdim: bool = False, **keywords: Any
    ) -> Value | None:
        if not dims or keywords.get("dtype") is not None:
            return None
        value = r.value(x)
        dims = [dim % len(value.axes) for dim in ([dims] if isinstance(dims, int) else dims)]
        if kind == "sum":
            fix([value.axes[dim] for dim in dims], f"{r.where()} runs over it")
        axes = [ONE if i in dims else axis for i, axis in enumerate(value.axes)]
        if not keepdim:
            axes = [axis for i, axis in enumerate(value.axes) if i not in dims]
        return r.step(kind, [value], axes, {"dims": dims, "keepdim": keepdim})

    return rule


JOINING_RULES: dict[str, Rule] = {
    "add": _binary("add"),
    "sub": _binary("sub"),
    "mul": _binary("mul"),
    "div": _binary("div"),
    **dict.fromkeys(("cat", "concat"), _concatenate),
    **dict.fromkeys(("matmul", "bmm", "mm"), _matmul),
    "scaled_dot_product_attention": _attention,
    "mean": _reduction("mean"),
    "sum": _reduction("sum"),
}
