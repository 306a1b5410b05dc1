"""Operations of torch that a file may name: from tensors to a tensor, and nothing else."""

from typing import Any

import torch

from search_spaces.errors import InputError


def torch_operation(name: str) -> Any:
    """Return an operation of torch that reads tensors and numbers, writes nothing else and gives
    one tensor.

    Raises:
        InputError: no such operation, one that does more, or one of torch's own use, which does
            not check what it is given.
    """
    first, _, overload = name.removeprefix("aten.").partition(".")
    if first.startswith("_") and not first.startswith("_upsample_"):
        raise InputError(f"{name!r} is a private operation of torch")
    packet = getattr(torch.ops.aten, first, None) if first.isidentifier() else None
    found = getattr(packet, overload, None) if overload.isidentifier() else None
    if not isinstance(found, torch._ops.OpOverload):
        raise InputError(f"unknown operation of torch {name!r}")
    schema = found._schema
    reads = {"Tensor", "int", "float", "bool", "number", "Scalar", "SymInt"}
    words = {word for argument in schema.arguments for word in _words(str(argument.type))} - {
        "Optional",
        "List",
    }
    one = len(schema.returns) == 1 and str(schema.returns[0].type) == "Tensor"
    unusual = words - reads - {"Device", "ScalarType", "Layout", "MemoryFormat", "str"}
    reads_tensors = any("Tensor" in str(argument.type) for argument in schema.arguments)
    if schema.is_mutable or unusual or not one or not reads_tensors:
        raise InputError(f"{name!r} is no operation from tensors to a tensor")
    return found


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text).split()


NUMBER_TYPES = {str(one): one for one in (torch.float32, torch.int64, torch.bool)}
"""Types of numbers that operations may turn tensors into."""
