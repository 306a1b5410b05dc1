"""What every operation of torch does to axes, and the step of a program that it becomes."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, fx

from search_spaces.conversion.axes import (
    BATCH_SIZE,
    Atom,
    AtomAxis,
    fix,
    fixed_axis,
    leaves,
    reshaped,
    size_of,
    unify,
)
from search_spaces.conversion.graph import NetworkGraph, Operation, Value, Weight
from search_spaces.conversion.tracing import DTYPES, Traced
from search_spaces.errors import InputError
from search_spaces.layer_modules.program import torch_operation

LEAST_ELASTIC_KERNEL = 5
ONE: AtomAxis = ((),)


@dataclass(frozen=True)
class Constant:
    """A tensor of the network itself: a parameter, a buffer, or what follows from buffers alone."""

    source: str
    tensor: Tensor
    trained: bool


@dataclass(frozen=True)
class _Parts:
    """A tensor cut along an axis, not yet taken apart."""

    value: Value
    dim: int
    lengths: tuple[int, ...]
    drop: bool = False  # the axis, where each part is one position


class Reader:
    """Reads a traced network, operation by operation.

    Args:
        fixed: patterns of modules whose sizes stay.
    """

    def __init__(self, traced: Traced, fixed: Sequence[str] = ()) -> None:
        self._traced, self._fixed = traced, fixed
        self._found: dict[fx.Node, Any] = {}
        self._node: fx.Node
        self._raw: dict[str, tuple[AtomAxis, ...]] = {}
        self.operations: list[Operation] = []
        self.computed: dict[str, Tensor] = {}  # constants that follow from others

    def graph(self) -> NetworkGraph:
        """Return the network with its axes joined.

        Raises:
            InputError: an operation that depends on the batch's size, or gives no tensor.
        """
        traced = self._traced
        for node, name in traced.tensors.items():
            trained = name in traced.parameters
            self._found[node] = Constant(name, traced.state[name].detach(), trained)
        inputs = []
        for node in traced.inputs:
            tensor = node.meta["val"]
            axes = tuple(fixed_axis(size, "the size of the input") for size in tensor.shape)
            self._found[node] = Value(node.name, axes, DTYPES[tensor.dtype])
            inputs.append(self._found[node])
        for node in traced.nodes:
            self._node = node
            self._found[node] = self._read(node)
            if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
                self._found[node.args[0]] = self._found[node]  # what it wrote over reads anew
        outputs = {}
        for name, node in zip(traced.output_names, traced.outputs, strict=True):
            self._node = node
            outputs[name] = self._value(node)
            fix(outputs[name].axes, "the size of an output")
        return NetworkGraph(inputs, self.operations, outputs)

    # --- arguments --------------------------------------------------------------------------------

    @property
    def module(self) -> str:
        """Path of the module that the operation belongs to."""
        stack = self._node.meta.get("nn_module_stack") or {}
        return list(stack.values())[-1][0] if stack else ""

    @property
    def shape(self) -> list[int]:
        """Of the traced result."""
        return list(self._node.meta["val"].shape)

    def where(self) -> str:
        """Name the operation for people."""
        node = self._node.args[0] if self._node.target is operator.getitem else self._node
        operation = str(node.target).split(".")[1].strip("_")
        return f"{operation} in {self.module}" if self.module else operation

    def _value(self, argument: Any) -> Value:
        """Return a tensor that flows; a parameter used as such becomes one."""
        found = self._found[argument]
        if isinstance(found, Constant):
            return self._as_value(found)
        if isinstance(found, Value):
            return found
        raise self._refuse("several tensors in one")

    def _as_value(self, constant: Constant) -> Value:
        if constant.tensor.dtype != torch.float32:
            raise self._refuse(f"a constant of {constant.tensor.dtype}")
        shape = constant.tensor.shape
        axes = self._raw.setdefault(
            constant.source, tuple(self._atom_axis(size, constant.source) for size in shape)
        )
        value = Value(constant.source, axes)  # one for every use: each layer holds its own
        weights = {"value": Weight(constant.source, axes)}
        settings = {"trainable": constant.trained}
        self.operations.append(
            Operation("parameter", (), value, settings, weights=weights, module=self.module)
        )
        return value

    def _atom_axis(self, size: int, name: str, noun: str = "width") -> AtomAxis:
        if size == 1:
            return ONE
        return ((Atom(size, self._named_fixed(name), name, noun),),)

    def _named_fixed(self, name: str) -> str | None:
        named = any(fnmatchcase(name, p) or fnmatchcase(name, f"{p}.*") for p in self._fixed)
        return "named as fixed" if named else None

    def _weight(self, argument: Any, axes: Sequence[AtomAxis]) -> Weight | None:
        found = self._found.get(argument) if isinstance(argument, fx.Node) else None
        return Weight(found.source, tuple(axes)) if isinstance(found, Constant) else None

    def _weights(self, **given: tuple[Any, Sequence[AtomAxis]]) -> dict[str, Weight] | None:
        """Return weights by name; None where one is computed, not the network's own."""
        weights = {}
        for name, (argument, axes) in given.items():
            if argument is None:
                continue
            weight = self._weight(argument, axes)
            if weight is None:
                return None
            weights[name] = weight
        return weights

    def _refuse(self, what: str) -> InputError:
        return InputError(
            f"{self._node.target} in {self.module or 'the network'} works on {what}, which cannot be "
            "made elastic; write that part otherwise"
        )

    def _step(
        self,
        kind: str,
        reads: Sequence[Value],
        axes: Sequence[AtomAxis],
        settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> Value:
        result = Value(self._node.name, tuple(axes))
        operation = Operation(
            kind, tuple(reads), result, settings or {}, module=self.module, **more
        )
        self.operations.append(operation)
        return result

    # --- dispatch ---------------------------------------------------------------------------------

    def _read(self, node: fx.Node) -> Any:
        if node.target is operator.getitem:
            return self._item(node)
        if not isinstance(node.target, torch._ops.OpOverload):
            raise InputError(
                f"{node.target} in {self.module or 'the network'} cannot be made elastic: write "
                "that part without control flow of torch"
            )
        if folded := self._folded(node):
            return folded
        name = str(node.target).split(".")[1]
        rule = _RULES.get(name.rstrip("_") if name != "_" else name)
        result = rule(self, *node.args, **node.kwargs) if rule else None
        return self._other(node) if result is None else result

    def _folded(self, node: fx.Node) -> Constant | None:
        """Compute what follows from constants alone."""
        sources = [self._found[read] for read in node.all_input_nodes]
        untrained = all(isinstance(s, Constant) and not s.trained for s in sources)
        value = node.meta.get("val")
        if not untrained or not isinstance(value, Tensor) or node.target._schema.is_mutable:
            return None
        if any(size % BATCH_SIZE == 0 for size in value.shape):
            return None
        arguments, keywords = fx.node.map_arg(
            (node.args, node.kwargs), lambda read: self._found[read].tensor
        )
        tensor = node.target(*arguments, **keywords)
        self.computed[node.name] = tensor
        return Constant(node.name, tensor, False)

    def _item(self, node: fx.Node) -> Any:
        source, index = node.args
        parts = self._found[source]
        if not isinstance(parts, _Parts):
            raise self._refuse("one of several results")
        value, dim = parts.value, parts.dim
        if parts.drop:
            return self._select(value, dim, index)
        return self._part(value, dim, parts.lengths, index)

    def _select(self, value: Value, dim: int, index: int) -> Value:
        fix([value.axes[dim]], f"{self.where()} takes one position of it")
        axes = [axis for i, axis in enumerate(value.axes) if i != dim]
        size = size_of(value.axes[dim])
        return self._step("select", [value], axes, {"dim": dim, "index": index % size})

    def _part(self, value: Value, dim: int, lengths: Sequence[int], index: int) -> Value:
        start, axis = sum(lengths[:index]), value.axes[dim]
        is_fixed = all(leaf.fixed for term in axis for leaf in leaves(term))
        if is_fixed or len(set(lengths)) > 1 or len(axis) > 1:
            return self._narrow(value, dim, start, lengths[index])
        # equal parts: each has the same channels
        sizes = [size_of(one) for one in value.axes]
        cut = [*sizes[:dim], len(lengths), lengths[0], *sizes[dim + 1 :]]
        split = reshaped([axis], [len(lengths), lengths[0]], self.where())
        axes = [*value.axes[:dim], *split, *value.axes[dim + 1 :]]
        assert len(cut) == len(axes)
        apart = self._step("reshape", [value], axes)
        return self._select(apart, dim, index)

    def _narrow(self, value: Value, dim: int, start: int, length: int) -> Value:
        fix([value.axes[dim]], f"{self.where()} takes a part of it")
        axes = list(value.axes)
        axes[dim] = fixed_axis(length, f"a part taken by {self.where()}")
        return self._step("narrow", [value], axes, {"dim": dim, "start": start, "length": length})

    def _other(self, node: fx.Node) -> Value:
        """Keep an operation that no rule knows as it is: pointwise ones pass sizes on, all others
        fix them.
        """
        schema_name = str(node.target)
        overload = node.target
        if overload._schema.is_mutable:
            name = schema_name.replace("_.", ".")
            overload = torch_operation(name)
            schema_name = name
        torch_operation(schema_name)
        reads: list[Value] = []

        def plain(argument: Any) -> Any:
            if isinstance(argument, fx.Node):
                reads.append(self._value(argument))
                return {"read": True}
            if isinstance(argument, (list, tuple)):
                return [plain(one) for one in argument]
            if isinstance(argument, int) and argument and argument % BATCH_SIZE == 0:
                raise self._refuse("a size of the batch")
            if argument is not None and not isinstance(argument, (int, float, bool)):
                raise self._refuse(f"an argument {argument!r}")
            return argument

        arguments = [plain(argument) for argument in node.args]
        keywords = {
            key: plain(value)
            for key, value in node.kwargs.items()
            if value is not None and not isinstance(value, fx.Node)
        }
        settings = {"name": schema_name, "arguments": arguments, "keywords": keywords}
        if not isinstance(node.meta.get("val"), Tensor) or not reads:
            raise self._refuse("other things than tensors")
        if node.meta["val"].dtype != torch.float32:
            raise self._refuse(f"numbers of {node.meta['val'].dtype}")
        if torch.Tag.pointwise in overload.tags:
            return self._step("torch", reads, self._broadcast(reads), settings)
        for read in reads:
            fix(read.axes, f"{self.where()} has no rule for its sizes")
        axes = [fixed_axis(size, f"a size that {self.where()} gives") for size in self.shape]
        return self._step("torch", reads, axes, settings)

    def _broadcast(self, values: Sequence[Value]) -> list[AtomAxis]:
        """Join the axes of tensors that are combined number by number."""
        rank = max(len(value.axes) for value in values)
        result: list[AtomAxis] = [ONE] * rank
        for value in values:
            for i, axis in enumerate(value.axes, start=rank - len(value.axes)):
                if size_of(axis) == 1:
                    continue
                if size_of(result[i]) == 1:
                    result[i] = axis
                else:
                    unify(result[i], axis, self.where())
        return result

    def _spatial(self, value: Value, first: int = 2) -> list[AtomAxis]:
        """Return the axes of a value whose axes from `first` on have new, fixed sizes."""
        new = [fixed_axis(size, "the size of the image") for size in self.shape[first:]]
        return [*value.axes[:first], *new]


# --- layers with weights --------------------------------------------------------------------------


def _convolution(
    r: Reader,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value | None:
    if r._weight(weight, ()) is None or not isinstance(r._found[weight], Constant):
        return None
    value, shape = r._value(x), r._found[weight].tensor.shape
    dims = len(shape) - 2
    if len(value.axes) != len(shape):
        return None
    stride, dilation = _each(stride, dims), _each(dilation, dims)
    padding = _padding(padding, shape[2:], dilation)
    out, inner, groups_axis = _channels(r, value.axes[1], shape[0], shape[1], groups)
    kernel = _kernel_axes(r, shape[2:], padding, dilation)
    weights = r._weights(weight=(weight, (out, inner, *kernel)), bias=(bias, (out,)))
    if weights is None:
        return None
    axes = [value.axes[0], out, *r._spatial(value)[2:]]
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    sizes = {"groups": groups_axis}
    return r._step("conv", [value], axes, settings, sizes=sizes, weights=weights)


def _channels(
    r: Reader, axis: AtomAxis, num_out: int, per_group: int, groups: int
) -> tuple[AtomAxis, AtomAxis, AtomAxis]:
    """Return the axes of a convolution's outputs, of what each reads, and of its groups."""
    if groups == 1:
        return r._atom_axis(num_out, r.module), axis, ONE
    if per_group == 1:  # depthwise: outputs of a channel lie together
        times = num_out // groups
        more = () if times == 1 else (Atom(times, "several outputs of each channel"),)
        return tuple((*term, *more) for term in axis), ONE, axis
    split = reshaped([axis], [groups, per_group], r.where())
    fix(split[:1], f"the groups of {r.where()}")
    each = r._atom_axis(num_out // groups, r.module)
    if len(split[0]) != 1 or len(split[1]) != 1:
        return fixed_axis(num_out, "groups"), fixed_axis(per_group, "groups"), split[0]
    return ((*split[0][0], *each[0]),), split[1], split[0]


def _kernel_axes(
    r: Reader, kernel: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[AtomAxis]:
    size = kernel[0]
    centred = all(p == d * (size // 2) for p, d in zip(padding, dilation, strict=True))
    if len(set(kernel)) == 1 and size % 2 and size >= LEAST_ELASTIC_KERNEL and centred:
        atom = Atom(size, r._named_fixed(r.module), r.module, "kernel")
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
    r: Reader,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value | None:
    if groups != 1 or not isinstance(r._found[weight], Constant):
        return None
    value, shape = r._value(x), r._found[weight].tensor.shape
    dims = len(shape) - 2
    out = r._atom_axis(shape[1], r.module)
    kernel = [fixed_axis(size, "the kernel of a transposed convolution") for size in shape[2:]]
    weights = r._weights(weight=(weight, (value.axes[1], out, *kernel)), bias=(bias, (out,)))
    if weights is None:
        return None
    settings = {
        "stride": _each(stride, dims),
        "padding": _each(padding, dims),
        "dilation": _each(dilation, dims),
        "output_padding": _each(output_padding, dims),
    }
    axes = [value.axes[0], out, *r._spatial(value)[2:]]
    sizes = {"groups": ONE}
    return r._step("conv_transpose", [value], axes, settings, sizes=sizes, weights=weights)


def _linear(r: Reader, x: Any, weight: Any, bias: Any = None) -> Value | None:
    if not isinstance(r._found[weight], Constant):
        return None
    value = r._value(x)
    out = r._atom_axis(r._found[weight].tensor.shape[0], r.module)
    weights = r._weights(weight=(weight, (out, value.axes[-1])), bias=(bias, (out,)))
    if weights is None:
        return None
    return r._step("linear", [value], [*value.axes[:-1], out], weights=weights)


def _batch_norm(
    r: Reader,
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
    value = r._value(x)
    channels = value.axes[1]
    weights = r._weights(weight=(weight, (channels,)), bias=(bias, (channels,)))
    if training or mean is None or weights is None:
        return None
    statistics = (r._found[mean].source, r._found[variance].source)
    settings = {"eps": eps, "momentum": momentum}
    return r._step(
        "batch_norm", [value], value.axes, settings, weights=weights, statistics=statistics
    )


def _layer_norm(
    r: Reader,
    x: Any,
    shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn: bool = True,
) -> Value | None:
    value = r._value(x)
    normed = value.axes[-len(shape) :]
    weights = r._weights(weight=(weight, normed), bias=(bias, normed))
    if weights is None or (weight is None and bias is not None):
        return None
    settings = {"eps": eps, "axes": len(shape)}
    return r._step("layer_norm", [value], value.axes, settings, weights=weights)


def _group_norm(
    r: Reader,
    x: Any,
    groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn: bool = True,
) -> Value | None:
    value = r._value(x)
    channels = value.axes[1]
    weights = r._weights(weight=(weight, (channels,)), bias=(bias, (channels,)))
    if weights is None:
        return None
    sizes = {"groups": ONE}
    if groups > 1:
        split = reshaped([channels], [groups, size_of(channels) // groups], r.where())
        fix(split[:1], f"the groups of {r.where()}")
        sizes = {"groups": split[0]}
    return r._step("group_norm", [value], value.axes, {"eps": eps}, sizes=sizes, weights=weights)


def _embedding(r: Reader, weight: Any, ids: Any, *more: Any) -> Value | None:
    table, given = r._found[weight], r._found[ids]
    if not isinstance(table, Constant):
        return None
    rows, width = table.tensor.shape
    if isinstance(given, Constant):  # learned positions
        positions = given.tensor.flatten()
        if not torch.equal(positions, torch.arange(len(positions))):
            return None
        whole = r._as_value(table)
        part = whole if len(positions) == rows else r._narrow(whole, 0, 0, len(positions))
        if part is whole:
            fix([whole.axes[0]], "positions")
        axes = [*(fixed_axis(s, "positions") for s in given.tensor.shape), whole.axes[1]]
        return r._step("reshape", [part], axes)
    out = r._atom_axis(width, r.module)
    vocabulary = fixed_axis(rows, "the vocabulary")
    weights = r._weights(weight=(weight, (vocabulary, out)))
    return r._step("embedding", [r._value(ids)], [*given.axes, out], weights=weights)


# --- layers without -------------------------------------------------------------------------------


def _activation(kind: str, *names: str) -> Callable[..., Value | None]:
    def rule(r: Reader, x: Any, *given: Any, **keywords: Any) -> Value | None:
        value = r._value(x)
        settings = {**dict(zip(names, given, strict=False)), **keywords}
        return r._step(kind, [value], value.axes, settings)

    return rule


def _softmax(r: Reader, x: Any, dim: int, *more: Any) -> Value | None:
    value = r._value(x)
    dim %= len(value.axes)
    fix([value.axes[dim]], f"{r.where()} runs over it")
    return r._step("softmax", [value], value.axes, {"dim": dim})


def _pool(kind: str, *names: str) -> Callable[..., Value | None]:
    def rule(r: Reader, x: Any, *given: Any, **keywords: Any) -> Value | None:
        value = r._value(x)
        settings = {**dict(zip(names, given, strict=False)), **keywords}
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
        if settings.get("stride") == []:
            del settings["stride"]
        if kind.endswith("1d"):
            settings = {
                k: v[0] if isinstance(v, list) and len(v) == 1 else v for k, v in settings.items()
            }
        return r._step(kind, [value], r._spatial(value), settings)

    return rule


def _upsample(mode: str) -> Callable[..., Value | None]:
    def rule(r: Reader, x: Any, size: Any, *given: Any, **keywords: Any) -> Value | None:
        if str(r._node.target).split(".")[-1] != "vec":
            return None
        value, settings = r._value(x), {"mode": mode}
        rest = list(given)
        if mode != "nearest":
            settings["align_corners"] = rest.pop(0) or None
        scale = keywords.get("scale_factors", rest[0] if rest else None)
        settings["size" if scale is None else "scale_factor"] = list(size or scale)
        return r._step("upsample", [value], r._spatial(value), settings)

    return rule


# --- sums, products, joins ------------------------------------------------------------------------


def _binary(kind: str) -> Callable[..., Value | None]:
    def rule(r: Reader, x: Any, y: Any, **keywords: Any) -> Value | None:
        if keywords.get("alpha", 1) != 1 or set(keywords) - {"alpha"}:
            return None
        if isinstance(x, fx.Node) and isinstance(y, fx.Node):
            values = [r._value(x), r._value(y)]
            return r._step(kind, values, r._broadcast(values))
        tensor, number = (x, y) if isinstance(x, fx.Node) else (y, x)
        value = r._value(tensor)
        settings = {"number": number, "reversed": tensor is y}
        return r._step(kind, [value], value.axes, settings)

    return rule


def _concatenate(r: Reader, parts: Sequence[Any], dim: int = 0) -> Value | None:
    values = [r._value(part) for part in parts]
    dim %= len(values[0].axes)
    axes = list(values[0].axes)
    for value in values[1:]:
        for i, axis in enumerate(value.axes):
            if i != dim:
                unify(axes[i], axis, r.where())
    axes[dim] = tuple(term for value in values for term in value.axes[dim])
    if not all(term for term in axes[dim]):  # parts of size 1
        axes[dim] = tuple(term or (Atom(1, "one"),) for term in axes[dim])
    return r._step("cat", values, axes, {"dim": dim})


def _matmul(r: Reader, x: Any, y: Any) -> Value | None:
    first, second = r._value(x), r._value(y)
    if len(first.axes) != len(second.axes) or len(first.axes) < 2:
        return None
    unify(first.axes[-1], second.axes[-2], r.where())
    batches = r._broadcast([Value("", first.axes[:-2]), Value("", second.axes[:-2])])
    return r._step("matmul", [first, second], [*batches, first.axes[-2], second.axes[-1]])


def _attention(
    r: Reader,
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
    q, k, v = (r._value(one) for one in (query, key, value))
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
    reads, settings = [q, k, v], {"causal": causal}
    settings["scale"] = scale if scale is not None else size_of(q.axes[-1]) ** -0.5
    if mask is not None:
        reads.append(r._value(mask))
        fix(reads[-1].axes, "the mask of an attention")
    return r._step("attention", reads, [*q.axes[:-1], v.axes[-1]], settings)


def _reduction(kind: str) -> Callable[..., Value | None]:
    def rule(
        r: Reader, x: Any, dims: Any = None, keepdim: bool = False, **keywords: Any
    ) -> Value | None:
        if not dims or keywords.get("dtype") is not None:
            return None
        value = r._value(x)
        dims = [dim % len(value.axes) for dim in ([dims] if isinstance(dims, int) else dims)]
        if kind == "sum":
            fix([value.axes[dim] for dim in dims], f"{r.where()} runs over it")
        axes = [ONE if i in dims else axis for i, axis in enumerate(value.axes)]
        if not keepdim:
            axes = [axis for i, axis in enumerate(value.axes) if i not in dims]
        return r._step(kind, [value], axes, {"dims": dims, "keepdim": keepdim})

    return rule


# --- layout ---------------------------------------------------------------------------------------


def _same(r: Reader, x: Any, *more: Any, **keywords: Any) -> Any:
    return r._found[x]


def _dropout(r: Reader, x: Any, p: float, train: bool) -> Any:
    return None if train else r._found[x]


def _to(r: Reader, x: Any, *more: Any, **keywords: Any) -> Any:
    same = r._node.meta["val"].dtype == x.meta["val"].dtype
    return r._found[x] if same else None


def _reshape(r: Reader, x: Any, *more: Any, **keywords: Any) -> Value | None:
    value = r._value(x)
    axes = reshaped(value.axes, r.shape, r.where())
    return r._step("reshape", [value], axes)


def _permute(r: Reader, x: Any, dims: Sequence[int]) -> Value | None:
    value = r._value(x)
    dims = [dim % len(value.axes) for dim in dims]
    return r._step("permute", [value], [value.axes[dim] for dim in dims], {"dims": dims})


def _transpose(r: Reader, x: Any, first: int = 0, second: int = 1) -> Value | None:
    rank = len(r.shape)
    dims = list(range(rank))
    dims[first % rank], dims[second % rank] = dims[second % rank], dims[first % rank]
    return _permute(r, x, dims)


def _select(r: Reader, x: Any, dim: int, index: int) -> Value | None:
    value = r._value(x)
    return r._select(value, dim % len(value.axes), index)


def _slice(
    r: Reader, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    value = r._value(x)
    dim %= len(value.axes)
    size, length = size_of(value.axes[dim]), r.shape[dim]
    if length == size:
        return value
    if step != 1:
        return None
    first = start or 0
    return r._narrow(value, dim, first + size if first < 0 else first, length)


def _unbind(r: Reader, x: Any, dim: int = 0) -> Any:
    value = r._value(x)
    dim %= len(value.axes)
    return _Parts(value, dim, (1,) * size_of(value.axes[dim]), drop=True)


def _split(r: Reader, x: Any, *more: Any, **keywords: Any) -> Any:
    value, results = r._value(x), r._node.meta["val"]
    shapes = [tuple(one.shape) for one in results]
    whole = [size_of(axis) for axis in value.axes]
    dims = [i for i, size in enumerate(whole) if any(shape[i] != size for shape in shapes)]
    dim = dims[0] if dims else 0
    return _Parts(value, dim, tuple(shape[dim] for shape in shapes))


def _expand(r: Reader, x: Any, *more: Any, **keywords: Any) -> Value | None:
    value = r._value(x)
    old = [ONE] * (len(r.shape) - len(value.axes)) + list(value.axes)
    axes, batch = [], False
    for i, (axis, size) in enumerate(zip(old, r.shape, strict=True)):
        if size_of(axis) == size:
            axes.append(axis)
            continue
        axes.append(fixed_axis(size, f"a size of {r.where()}"))
        if size % BATCH_SIZE == 0:
            if i or size != BATCH_SIZE:
                raise r._refuse("a size of the batch")
            batch = True
    if len(old) > len(value.axes):
        value = r._step("reshape", [value], old)
    return r._step("expand", [value], axes, {"batch": batch})


def _pad(
    r: Reader, x: Any, sizes: Sequence[int], mode: Any = None, value: Any = None
) -> Value | None:
    if "constant" not in str(r._node.target) and mode != "constant":
        return None
    number = mode if "constant" in str(r._node.target) else value
    given = r._value(x)
    axes = list(given.axes)
    for i in range(len(sizes) // 2):
        dim = len(axes) - 1 - i
        if sizes[2 * i] or sizes[2 * i + 1]:
            fix([axes[dim]], f"{r.where()} lengthens it")
            axes[dim] = fixed_axis(r.shape[dim], f"a size of {r.where()}")
    # for all axes: what comes after does not know how many there are
    full = [*sizes, *(0 for _ in range(2 * len(axes) - len(sizes)))]
    return r._step("pad", [given], axes, {"sizes": full, "value": float(number or 0)})


_RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "embedding": _embedding,
    **{
        name: _activation(name)
        for name in ("relu", "relu6", "sigmoid", "tanh", "hardswish", "hardsigmoid", "silu", "mish")
    },
    "gelu": _activation("gelu", "approximate"),
    "leaky_relu": _activation("leaky_relu", "negative_slope"),
    "elu": _activation("elu", "alpha"),
    "softplus": _activation("softplus", "beta", "threshold"),
    "hardtanh": _activation("hardtanh", "min_val", "max_val"),
    "softmax": _softmax,
    "max_pool1d": _pool("max_pool1d", "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "max_pool2d": _pool("max_pool2d", "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "avg_pool1d": _pool(
        "avg_pool1d", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"
    ),
    "avg_pool2d": _pool(
        "avg_pool2d", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
        "divisor_override",
    ),
    "adaptive_avg_pool1d": _pool("adaptive_avg_pool1d", "output_size"),
    "adaptive_avg_pool2d": _pool("adaptive_avg_pool2d", "output_size"),
    "upsample_nearest2d": _upsample("nearest"),
    "upsample_nearest1d": _upsample("nearest"),
    "upsample_bilinear2d": _upsample("bilinear"),
    "add": _binary("add"),
    "sub": _binary("sub"),
    "mul": _binary("mul"),
    "div": _binary("div"),
    **dict.fromkeys(("cat", "concat"), _concatenate),
    **dict.fromkeys(("matmul", "bmm", "mm"), _matmul),
    "scaled_dot_product_attention": _attention,
    "mean": _reduction("mean"),
    "sum": _reduction("sum"),
    **dict.fromkeys(
        ("contiguous", "clone", "detach", "alias", "lift_fresh_copy", "lift_fresh"), _same
    ),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout"), _dropout),
    **dict.fromkeys(("to", "_to_copy"), _to),
    **dict.fromkeys(
        ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze"), _reshape
    ),
    "permute": _permute,
    **dict.fromkeys(("transpose", "t"), _transpose),
    "select": _select,
    "slice": _slice,
    "unbind": _unbind,
    **dict.fromkeys(("split", "chunk", "split_with_sizes"), _split),
    "expand": _expand,
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
}  # fmt: skip
"""By the operation's name in torch; what a rule cannot express it leaves (None) to `_other`."""
