"""The networks of a plan as something a runtime can time.

Their weights are one small block of random numbers, repeated: latency does not depend on them, and
files of them compress to nearly nothing.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from hardware_profiles.onnx_graph import onnx_model
from hardware_profiles.plan import PlanItem
from hardware_profiles.runtimes.runtime import Workload
from search_spaces import Architecture, LayerSpec, SearchSpace, TensorSpec
from search_spaces.layer_modules import layer_module
from search_spaces.layer_slot import Network, NetworkLayer
from search_spaces.supernet import assemble

BLOCK_LENGTH = 509  # prime, so that rows of weights are not equal


def workload(space: SearchSpace, item: PlanItem) -> Workload:
    """Return the network of a plan's item."""
    if item.role == "layer":
        return layer_workload(item.spec)
    return subnet_workload(space, space.architecture(item.values))


def layer_workload(spec: LayerSpec) -> Workload:
    """One layer alone."""
    names = ["input", *(f"input{i}" for i in range(2, 1 + len(spec.inputs)))]
    inputs = {
        name: TensorSpec(one.shape, one.dtype)  # of the sizes that costs hold for
        for name, one in zip(names, spec.inputs, strict=True)
    }
    layer = NetworkLayer("layer", spec, tuple(names))
    network = Network(inputs, (layer,), {"output": "layer"})
    return module_workload(lambda: assemble(network, {"layer": _filled(spec)}), inputs, ["output"])


def subnet_workload(space: SearchSpace, architecture: Architecture) -> Workload:
    """One whole subnet."""
    network = space.layers.network(space.encode(architecture))
    return module_workload(
        lambda: assemble(network, {layer.name: _filled(layer.spec) for layer in network.layers}),
        network.inputs,
        list(network.outputs),
    )


def module_workload(
    build: Callable[[], nn.Module], inputs: Mapping[str, TensorSpec], outputs: Sequence[str]
) -> Workload:
    """Return a network that `build` makes, also as the ONNX file of it."""

    def module() -> nn.Module:
        return build().eval()

    @cache
    def compressed() -> bytes:  # made once, kept small: every visit of a profile asks for it
        with torch.no_grad():
            data = onnx_model(module(), inputs, outputs=outputs).SerializeToString()
        return zlib.compress(data, 1)

    def onnx() -> bytes:
        return zlib.decompress(compressed())

    return Workload(module, inputs, onnx)


def _filled(spec: LayerSpec) -> nn.Module:
    """Build the module of a spec: weights repeat the block, norms and biases do nothing."""
    with torch.device("meta"):
        module = layer_module(spec)
    module.to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.dim() > 1:
                tensor.copy_(_repeated(tensor.numel()).view_as(tensor))
                # activations stay of order one; a power of two keeps the repeated bits equal
                tensor *= 2.0 ** -round(math.log2(tensor[0].numel()) / 2)
            else:
                tensor.fill_(float(name.endswith(("weight", "running_var"))))
    return module


def _repeated(length: int) -> Tensor:
    repeats = -(-length // BLOCK_LENGTH)
    return _block().repeat(repeats)[:length]


@cache
def _block() -> Tensor:
    normal = torch.randn(BLOCK_LENGTH, generator=torch.Generator().manual_seed(0))
    return (normal * 16).round() / 16  # few distinct numbers
