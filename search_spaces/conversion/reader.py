"""A traced network, read operation by operation: what its axes have in common."""

import operator
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, fx

from search_spaces.conversion.axes import (
    BATCH,
    BATCH_SIZE,
    ONE,
    Atom,
    AtomAxis,
    fix,
    fixed_axis,
    leaves,
    reshaped,
    size_of,
    unify,
)
from search_spaces.conversion.graph import (
    Constant,
    NetworkGraph,
    Operation,
    Parts,
    Value,
    Weight,
)
from search_spaces.conversion.rules import RULES
from search_spaces.conversion.tracing import DTYPES, Traced, line_in, writes_over
from search_spaces.errors import InputError
from search_spaces.layer_modules.program import NUMBERS, torch_operation

SHAPED_LIKE = frozenset({"zeros_like", "ones_like", "full_like", "to", "log_sigmoid"})
"""Operations whose results have the sizes of what they read."""
PLACES = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking", "copy"})
"""Arguments about where tensors lie, which a subnet decides for itself."""


class Reader:
    """Reads a traced network, operation by operation.

    Args:
        fixed: patterns of modules whose sizes stay.
    """

    def __init__(self, traced: Traced, fixed: Sequence[str] = ()) -> None:
        self._traced, self._fixed = traced, fixed
        self.found: dict[fx.Node, Any] = {}
        self.node: fx.Node
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
            self.found[node] = Constant(name, traced.state[name].detach(), trained)
        inputs = []
        for node in traced.inputs:
            tensor = node.meta["val"]
            axes = tuple(fixed_axis(size, "the size of the input") for size in tensor.shape)
            self.found[node] = Value(node.name, axes, DTYPES[tensor.dtype])
            inputs.append(self.found[node])
        for node in traced.nodes:
            self.node = node
            self.found[node] = self._read(node)
            if writes_over(node):  # what it wrote over reads anew
                self.found[node.all_input_nodes[0]] = self.found[node]
        outputs = {}
        for name, node in zip(traced.output_names, traced.outputs, strict=True):
            self.node = node
            outputs[name] = self.value(node)
            fix(outputs[name].axes, "the size of an output")
        read = {id(value) for operation in self.operations for value in operation.reads}
        for position, value in enumerate(inputs, start=1):
            if id(value) not in read:
                raise InputError(f"the network does not read input {position}; leave it out")
        return NetworkGraph(inputs, self.operations, outputs)

    # --- arguments --------------------------------------------------------------------------------

    @property
    def module(self) -> str:
        """Path of the module that the operation belongs to."""
        stack = self.node.meta.get("nn_module_stack") or {}
        return list(stack.values())[-1][0] if stack else ""

    @property
    def shape(self) -> list[int]:
        """Of the traced result."""
        return list(self.node.meta["val"].shape)

    def where(self) -> str:
        """Name the operation for people."""
        node = self.node
        if node.target is operator.getitem:
            node = node.all_input_nodes[0]
        operation = str(node.target).split(".")[1].strip("_")
        return f"{operation} in {self.module}" if self.module else operation

    def value(self, argument: Any) -> Value:
        """Return a tensor that flows; a parameter used as such becomes one."""
        found = self.found[argument]
        if isinstance(found, Constant):
            return self.as_value(found)
        if isinstance(found, Value):
            return found
        raise self.refuse("several tensors in one")

    def as_value(self, constant: Constant) -> Value:
        """Return a tensor of the network itself as one that flows, its axes free."""
        if constant.tensor.dtype != torch.float32:
            raise self.refuse(f"a constant of {constant.tensor.dtype}")
        shape = constant.tensor.shape
        axes = self._raw.setdefault(
            constant.source, tuple(self.atom_axis(size, constant.source) for size in shape)
        )
        value = Value(constant.source, axes)  # one for every use: each layer holds its own
        weights = {"value": Weight(constant.source, axes)}
        settings = {"trainable": constant.trained}
        self.operations.append(
            Operation("parameter", (), value, settings, weights=weights, module=self.module)
        )
        return value

    def atom_axis(self, size: int, name: str, noun: str = "width") -> AtomAxis:
        """Return a new axis, which can be chosen unless its module is named as fixed."""
        if size == 1:
            return ONE
        return ((Atom(size, self.named_fixed(name), name, noun),),)

    def named_fixed(self, name: str) -> str | None:
        """Return why sizes of a module stay, where the user named it."""
        named = any(fnmatchcase(name, p) or fnmatchcase(name, f"{p}.*") for p in self._fixed)
        return "named as fixed" if named else None

    def weight(self, argument: Any, axes: Sequence[AtomAxis]) -> Weight | None:
        """Return a weight of these axes; None where it is computed, not the network's own."""
        found = self.found.get(argument) if isinstance(argument, fx.Node) else None
        return Weight(found.source, tuple(axes)) if isinstance(found, Constant) else None

    def weights(self, **given: tuple[Any, Sequence[AtomAxis]]) -> dict[str, Weight] | None:
        """Return weights by name; None where one is computed, not the network's own."""
        weights = {}
        for name, (argument, axes) in given.items():
            if argument is None:
                continue
            weight = self.weight(argument, axes)
            if weight is None:
                return None
            weights[name] = weight
        return weights

    def refuse(self, what: str) -> InputError:
        """Build the error for an operation on what cannot be elastic."""
        line = line_in(self.node.meta.get("stack_trace") or "")
        return InputError(
            f"{self.node.target} in {self.module or 'the network'}{line} works on {what}, which "
            "cannot be made elastic; write that part otherwise"
        )

    def step(
        self,
        kind: str,
        reads: Sequence[Value],
        axes: Sequence[AtomAxis],
        settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> Value:
        """Add an operation; return what it gives."""
        result = Value(self.node.name, tuple(axes), self._dtype())
        operation = Operation(
            kind, tuple(reads), result, settings or {}, module=self.module, **more
        )
        self.operations.append(operation)
        return result

    def _dtype(self) -> str:
        value = self.node.meta.get("val")
        return str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else "float32"

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
        rule = RULES.get(name.rstrip("_") if name != "_" else name)
        result = rule(self, *node.args, **node.kwargs) if rule else None
        return self._other(node) if result is None else result

    def _folded(self, node: fx.Node) -> Constant | None:
        """Compute what follows from constants alone."""
        sources = [self.found[read] for read in node.all_input_nodes]
        untrained = all(isinstance(s, Constant) and not s.trained for s in sources)
        value, target = node.meta.get("val"), node.target
        if not untrained or not isinstance(value, Tensor) or writes_over(node):
            return None
        assert callable(target)
        if any(size % BATCH_SIZE == 0 for size in value.shape):
            return None
        arguments, keywords = fx.node.map_arg(
            (node.args, node.kwargs), lambda read: self.found[read].tensor
        )
        tensor = target(*arguments, **keywords)
        self.computed[node.name] = tensor
        return Constant(node.name, tensor, False)

    def _item(self, node: fx.Node) -> Any:
        parts, index = self.found[node.all_input_nodes[0]], node.args[1]
        assert isinstance(index, int)
        if not isinstance(parts, Parts):
            raise self.refuse("one of several results")
        value, dim = parts.value, parts.dim
        if parts.drop:
            return self.select(value, dim, index)
        return self.part(value, dim, parts.lengths, index)

    def select(self, value: Value, dim: int, index: int) -> Value:
        """Take one position of an axis, which is gone then."""
        self._refuse_end_of_batch(value, dim, index + 1)
        fix([value.axes[dim]], f"{self.where()} takes one position of it")
        axes = [axis for i, axis in enumerate(value.axes) if i != dim]
        size = size_of(value.axes[dim])
        return self.step("select", [value], axes, {"dim": dim, "index": index % size})

    def part(self, value: Value, dim: int, lengths: Sequence[int], index: int) -> Value:
        """Take one of the parts that an axis is cut into."""
        start, axis = sum(lengths[:index]), value.axes[dim]
        if len(lengths) == 1:
            return value
        is_fixed = all(leaf.fixed for term in axis for leaf in leaves(term))
        if is_fixed or len(set(lengths)) > 1 or len(axis) > 1:
            return self.narrow(value, dim, start, lengths[index])
        # equal parts: each has the same channels
        sizes = [size_of(one) for one in value.axes]
        cut = [*sizes[:dim], len(lengths), lengths[0], *sizes[dim + 1 :]]
        split = reshaped([axis], [len(lengths), lengths[0]], self.where())
        axes = [*value.axes[:dim], *split, *value.axes[dim + 1 :]]
        assert len(cut) == len(axes)
        apart = self.step("reshape", [value], axes)
        return self.select(apart, dim, index)

    def narrow(self, value: Value, dim: int, start: int, length: int) -> Value:
        """Take a range of an axis."""
        self._refuse_end_of_batch(value, dim, start + length)
        fix([value.axes[dim]], f"{self.where()} takes a part of it")
        axes = list(value.axes)
        axes[dim] = fixed_axis(length, f"a part taken by {self.where()}")
        return self.step("narrow", [value], axes, {"dim": dim, "start": start, "length": length})

    def _refuse_end_of_batch(self, value: Value, dim: int, end: int) -> None:
        """Refuse what counts from the end of the batch, whose size is another in use."""
        is_batch = any(BATCH in leaves(term) for term in value.axes[dim])
        if is_batch and not 0 < end <= BATCH_SIZE // 2:
            raise self.refuse("the last samples of a batch")

    def _other(self, node: fx.Node) -> Value:
        """Keep an operation that no rule knows as it is: pointwise ones pass sizes on, all others
        fix them.
        """
        name = str(node.target)
        if writes_over(node):
            name = name.replace("_.", ".")
        try:
            operation = torch_operation(name)
        except InputError:
            raise self.refuse("other things than tensors, or gives several") from None
        reads: list[Value] = []
        given = {k: v for k, v in node.kwargs.items() if k not in PLACES and v is not None}
        settings = {
            "name": name,
            "arguments": [self._plain(argument, reads) for argument in node.args],
            "keywords": {key: self._plain(value, reads) for key, value in given.items()},
        }
        result = node.meta.get("val")
        if not isinstance(result, Tensor) or not reads:
            raise self.refuse("other things than tensors")
        if torch.Tag.pointwise in operation.tags or name.split(".")[1] in SHAPED_LIKE:
            return self.step("torch", reads, self.broadcast(reads), settings)
        for read in reads:
            fix(read.axes, f"{self.where()} has no rule for its sizes")
        axes = [fixed_axis(size, f"a size that {self.where()} gives") for size in self.shape]
        return self.step("torch", reads, axes, settings)

    def _plain(self, argument: Any, reads: list[Value]) -> Any:
        """Return an argument as a program holds it; tensors are added to `reads`."""
        if isinstance(argument, fx.Node):
            reads.append(self.value(argument))
            return {"read": True}
        if isinstance(argument, (list, tuple)):
            return [self._plain(one, reads) for one in argument]
        if isinstance(argument, int) and argument and argument % BATCH_SIZE == 0:
            raise self.refuse("a size of the batch")
        if isinstance(argument, torch.dtype) and str(argument) in NUMBERS:
            return {"dtype": str(argument)}
        if argument is not None and not isinstance(argument, (int, float, bool)):
            raise self.refuse(f"an argument {argument!r}")
        return argument

    def broadcast(self, values: Sequence[Value]) -> list[AtomAxis]:
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

    def spatial(self, value: Value, first: int = 2) -> list[AtomAxis]:
        """Return the axes of a value whose axes from `first` on have new, fixed sizes."""
        new = [fixed_axis(size, "the size of the image") for size in self.shape[first:]]
        return [*value.axes[:first], *new]
