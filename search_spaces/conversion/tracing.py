"""A network's own module, traced by torch.export into a flat list of torch's operations."""

import copy
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from search_spaces.conversion.axes import BATCH_SIZE
from search_spaces.errors import InputError

DTYPES = {torch.float32: "float32", torch.int64: "int64"}  # of inputs


@dataclass(frozen=True)
class Traced:
    """A network as torch.export writes it down, for a batch of `BATCH_SIZE`."""

    nodes: Sequence[fx.Node]
    tensors: Mapping[fx.Node, str]  # placeholder -> name of the parameter, buffer or constant
    inputs: Sequence[fx.Node]
    outputs: Sequence[fx.Node]
    output_names: Sequence[str]
    state: Mapping[str, Tensor]  # by those names
    parameters: frozenset[str]  # of them, those that are trained


def trace(model: nn.Module, example: tuple[Tensor, ...]) -> Traced:
    """Trace a network in eval mode.

    Args:
        model: is not changed.
        example: its inputs, each of at least one sample.

    Raises:
        InputError: hooks, other inputs than tensors, or a forward pass that cannot be written down
            (the line is named).
    """
    _check_model(model)
    _check_example(example)
    network = copy.deepcopy(model).cpu().eval()
    example = tuple(tensor.detach().cpu() for tensor in example)
    many = tuple(t[:1].expand(BATCH_SIZE, *t.shape[1:]) for t in example)  # takes no memory
    try:
        with torch.no_grad():
            network(*(torch.cat([tensor[:1]] * 2) for tensor in example))
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in example)
        raise InputError(
            f"the network does not take the example input ({shapes}): "
            f"{type(error).__name__}: {first}; give one batch as in use, n x ..."
        ) from error
    try:
        with _quietly():
            exported = torch.export.export(network, many)
    except Exception as error:
        raise InputError(_where(error)) from error
    signature = exported.graph_signature
    named: dict[str, str] = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    nodes = list(exported.graph.nodes)
    placeholders = {node.name: node for node in nodes if node.op == "placeholder"}
    returned = nodes[-1].args[0]
    tensors = {placeholders[name]: target for name, target in named.items()}
    changed = [tensors[node.all_input_nodes[0]] for node in nodes if _changes_one_of(tensors, node)]
    changed += map(str, signature.buffers_to_mutate.values())
    if changed:
        raise InputError(
            f"the network changes {', '.join(dict.fromkeys(changed))} as it runs; a supernet has "
            "no such state: take that out of its forward pass"
        )
    outputs, names = _outputs(exported, returned)
    return Traced(
        nodes=[node for node in nodes if node.op not in ("placeholder", "output")],
        tensors=tensors,
        inputs=[placeholders[str(name)] for name in signature.user_inputs],
        outputs=outputs,
        output_names=names,
        state={**exported.state_dict, **exported.constants},
        parameters=frozenset(signature.parameters),
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep torch from printing what the error of a failed trace says anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def writes_over(node: fx.Node) -> bool:
    """Tell whether an operation changes what it reads."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and bool(target._schema.is_mutable)


def _changes_one_of(tensors: Mapping[fx.Node, str], node: fx.Node) -> bool:
    return writes_over(node) and node.all_input_nodes[0] in tensors


def _outputs(exported: Any, returned: Any) -> tuple[list[fx.Node], list[str]]:
    found = list(returned)
    if not found or not all(isinstance(one, fx.Node) and one.op != "placeholder" for one in found):
        raise InputError(
            "expected a network that returns tensors it computed (one, a tuple or a dict of them)"
        )
    dtypes = {one.meta["val"].dtype for one in found} - {torch.float32}
    if dtypes:
        raise InputError(
            f"expected outputs of float32, got {', '.join(map(str, dtypes))}; return the scores "
            "that they follow from"
        )
    spec = exported.call_spec.out_spec
    if spec is not None and not all(child.is_leaf() for child in spec.children()):
        raise InputError(
            "expected a network that returns a tensor, a tuple or a dict of them, got a nested one"
        )
    if spec is not None and spec.type is dict:
        return found, [str(key) for key in spec.context]
    if len(found) == 1:
        return found, ["logits"]
    return found, [f"output{i}" for i in range(1, len(found) + 1)]


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"expected a torch module, got {type(model).__name__}")
    for name, module in model.named_modules():
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        if any(hooks):
            raise InputError(
                f"{name or 'the network'} has hooks, which no subnet would keep: remove them (and "
                "parametrizations, weight and spectral norms) before it is made elastic"
            )
        if is_parametrized(module):
            raise InputError(
                f"{name or 'the network'} has parametrizations (weight or spectral norms), which "
                "no subnet would keep: torch.nn.utils.parametrize.remove_parametrizations first"
            )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise InputError(f"{name} has no values (it is on the meta device); load the weights")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise InputError(f"{name} is {tensor.dtype}; convert the network: model.float()")


def _check_example(example: tuple[Tensor, ...]) -> None:
    if not example or not all(isinstance(tensor, Tensor) for tensor in example):
        got = ", ".join(type(one).__name__ for one in example) or "nothing"
        raise InputError(
            f"expected an example input: a tensor n x ..., or a tuple of them; got {got}"
        )
    for tensor in example:
        if tensor.dtype not in DTYPES or tensor.ndim < 2 or 0 in tensor.shape:
            raise InputError(
                f"expected example inputs n x ... of float32 (or int64 ids), got "
                f"{tuple(tensor.shape)} of {tensor.dtype}"
            )
        if any(size % BATCH_SIZE == 0 for size in tensor.shape[1:]):
            raise InputError(
                f"expected example inputs of other sizes than multiples of {BATCH_SIZE}, which "
                f"stands for the batch, got {tuple(tensor.shape)}; pad or cut them"
            )


def line_in(text: str, frames: Sequence[traceback.FrameSummary] = ()) -> str:
    """Return the last line of the user's own code that a stack in words names, else that frames
    do: " at FILE:LINE (CODE)"; nothing where there is none.
    """
    places = re.findall(r'File "([^"]+)", line (\d+), in (\w+)\n\s*(.+)', text)
    stack = [(f.filename, str(f.lineno), f.name, f.line or "") for f in frames]
    own = [place for place in places or stack if "/torch/" not in place[0]] or places
    if not own:
        return ""
    file, number, _, code = own[-1]
    return f" at {file}:{number} ({code.strip()[:80]})"


def _where(error: Exception) -> str:
    """Say in one line what stops tracing, and where in the user's code."""
    text = str(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    kind = type(error).__name__
    if "DataDependent" in kind or "data-dependent" in text:
        reason = "what it does depends on the values of a tensor"
    else:
        reason = f"{kind}: {(text.strip().splitlines() or [''])[0][:160]}"
    return (
        f"the network cannot be traced{line_in(text, frames)}: {reason}. Write that part without "
        "decisions on values (torch.where), or pass the part before or after it as the network"
    )
