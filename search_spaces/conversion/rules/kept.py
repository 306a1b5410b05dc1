"""Operations that no rule knows, and constants that are no floats: kept as they are."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from search_spaces.conversion.axes import BATCH_SIZE, fix, fixed_axis
from search_spaces.conversion.graph import Constant, Operation, Value
from search_spaces.conversion.tracing import writes_over
from search_spaces.errors import InputError
from search_spaces.layer_modules.torch_operation import NUMBER_TYPES, torch_operation

if TYPE_CHECKING:
    from search_spaces.conversion.reader import Reader

SHAPED_LIKE = frozenset({"zeros_like", "ones_like", "full_like", "to", "log_sigmoid", "where"})
"""Operations that work number by number, which torch does not say of them."""
PLACES = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking", "copy"})
"""Arguments about where tensors lie, which a subnet decides for itself."""


def keep(r: "Reader") -> Value:
    """Keep an operation that no rule knows as it is: pointwise ones pass sizes on, all others
    fix them.
    """
    node = r.node
    name = str(node.target)
    if writes_over(node):
        name = name.replace("_.", ".")
    try:
        operation = torch_operation(name)
    except InputError:
        raise r.refuse("other things than tensors, or gives several") from None
    reads: list[Value] = []
    given = {k: v for k, v in node.kwargs.items() if k not in PLACES and v is not None}
    settings = {
        "name": name,
        "arguments": [_plain(r, argument, reads) for argument in node.args],
        "keywords": {
            key: _plain(r, value, reads) for key, value in sorted(given.items())
        },  # as in JSON
    }
    result = node.meta.get("val")
    if not isinstance(result, Tensor) or not reads:
        raise r.refuse("other things than tensors")
    if torch.Tag.pointwise in operation.tags or name.split(".")[1] in SHAPED_LIKE:
        return r.step("torch", reads, r.broadcast(reads), settings)
    for read in reads:
        fix(read.axes, f"{r.where()} has no rule for its sizes")
    axes = [fixed_axis(size, f"a size that {r.where()} gives") for size in r.shape]
    return r.step("torch", reads, axes, settings)


def _plain(r: "Reader", argument: Any, reads: list[Value]) -> Any:
    """Return an argument as a program holds it; tensors are added to `reads`."""
    if isinstance(argument, fx.Node):
        reads.append(r.value(argument))
        return {"read": True}
    if isinstance(argument, (list, tuple)):
        return [_plain(r, one, reads) for one in argument]
    if isinstance(argument, int) and argument and argument % BATCH_SIZE == 0:
        raise r.refuse("a size of the batch")
    if isinstance(argument, torch.dtype) and str(argument) in NUMBER_TYPES:
        return {"dtype": str(argument)}
    if argument is not None and not isinstance(argument, (int, float, bool)):
        raise r.refuse(f"an argument {argument!r}")
    return argument


def of_floats(r: "Reader", constant: Constant) -> Value:
    """Return truth values or whole numbers, of which layers hold floats, made of these."""
    dtype, numbers = constant.tensor.dtype, constant.tensor.float()
    if str(dtype) not in NUMBER_TYPES or not torch.equal(numbers.to(dtype), constant.tensor):
        raise r.refuse(f"a constant of {dtype}")
    source = f"{constant.source} as float32"
    r.computed[source] = numbers
    floats = r.as_value(Constant(source, numbers, False))
    form: tuple[str, Any] = ("aten.to.dtype", {"dtype": str(dtype)})
    if dtype == torch.bool:
        form = ("aten.ne.Scalar", 0)
    settings = {"name": form[0], "arguments": [{"read": True}, form[1]], "keywords": {}}
    result = Value(constant.source, floats.axes, str(dtype).removeprefix("torch."))
    r.operations.append(Operation("torch", (floats,), result, settings, module=r.module))
    return result
