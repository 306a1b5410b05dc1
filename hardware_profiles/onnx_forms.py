"""Sizes of all tensors of a traced network, which is run through without numbers."""

from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx, nn

from hardware_profiles.onnx_operations.call import Form
from hardware_profiles.onnx_operations.convolution import BatchNorm
from search_spaces import TensorSpec

DTYPES = {"float32": torch.float32, "int64": torch.int64}
BATCHES = (2, 3)  # sizes that differ between them are what the batch decides
SAME = (BatchNorm, nn.ReLU, nn.Hardtanh, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Hardswish, nn.LayerNorm)
"""Layers that give what has the form of what they read; passed over, as torch is slow on some."""
LONGER = 8  # likewise, by how much free axes grow


class Forms:
    """Finds the forms of all tensors of a traced network once one is asked for.

    Args:
        traced: not changed.
        inputs: what it takes, in order.
    """

    def __init__(self, traced: fx.GraphModule, inputs: Mapping[str, TensorSpec]) -> None:
        self._traced, self._inputs = traced, inputs

    def of(self, node: fx.Node) -> Form | None:
        """Return the form of what a node gives; None where it is no tensor, or cannot be told."""
        return self._forms.get(node)

    def rank(self, node: fx.Node) -> int | None:
        """Return how many axes it has, from the node alone where that says so."""
        if node.op == "get_attr":
            return int(attribute(self._traced, node).ndim)
        sizes = node.args[1:]
        if node.op == "call_method" and node.target in ("permute", "reshape", "view") and sizes:
            return len(sizes[0]) if isinstance(sizes[0], (list, tuple)) else len(sizes)
        form = self.of(node)
        return None if form is None else len(form.sizes)

    @cached_property
    def _forms(self) -> dict[fx.Node, Form]:
        try:
            first, second = (
                self._run(batch, longer) for batch, longer in zip(BATCHES, (0, LONGER), strict=True)
            )
        except Exception:  # noqa: BLE001  whatever stops it is told by who needs a form
            return {}
        forms = {}
        for node, tensor in first.items():
            other = second.get(node)
            if other is not None and other.ndim == tensor.ndim:
                pairs = zip(tensor.shape, other.shape, strict=True)
                sizes = tuple(one if one == more else None for one, more in pairs)
                forms[node] = Form(sizes, tensor.dtype)
        return forms

    def _run(self, batch: int, longer: int) -> dict[fx.Node, Tensor]:
        tensors = []
        for spec in self._inputs.values():
            sizes = [s + longer if i in spec.free else s for i, s in enumerate(spec.shape)]
            shape = (batch, *sizes)
            tensors.append(torch.empty(shape, dtype=DTYPES[spec.dtype], device="meta"))
        reader = _Reader(self._traced)
        with torch.no_grad(), torch.device("meta"):
            reader.run(*tensors)
        return reader.results


def attribute(traced: fx.GraphModule, node: fx.Node) -> Tensor:
    """Return the tensor that a node of a network's own weights stands for."""
    owner, _, name = str(node.target).rpartition(".")
    tensor: Tensor = getattr(traced.get_submodule(owner), name)
    return tensor


class _Reader(fx.Interpreter):
    """Runs a network on tensors without numbers, its weights replaced by such."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.results: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.results[n] = result
        return result

    def fetch_attr(self, target: str) -> Any:
        value = super().fetch_attr(target)
        return _without_numbers(value) if isinstance(value, Tensor) else value

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.module.get_submodule(str(target))
        if isinstance(module, SAME):
            return args[0]
        named = chain(module.named_parameters(), module.named_buffers())
        state = {name: _without_numbers(tensor) for name, tensor in named}
        return torch.func.functional_call(module, state, args, kwargs)


def _without_numbers(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")
