"""The weight-sharing network, and how a subnet leaves it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from search_spaces.architecture import Architecture
from search_spaces.elastic import (
    ELASTIC_LAYERS,
    KERNEL_TRANSFORMS,
    ElasticLayer,
    distinct_weights,
)
from search_spaces.errors import InputError
from search_spaces.layer_kind import TensorSpec
from search_spaces.layer_modules import layer_module
from search_spaces.layer_slot import Network
from search_spaces.layer_spec import LayerSpec
from search_spaces.regularisation import Regularisation
from search_spaces.space import SearchSpace

Tensors = Tensor | tuple[Tensor, ...]


class Supernet(nn.Module):
    """All architectures of a space on shared weights: one elastic layer per slot.

    Which architecture runs is an argument, never state. Norms always use the statistics of the
    batch; running statistics exist on extracted, calibrated subnets only.

    Args:
        space: whose architectures.
        kernel_transform: let small kernels of inverted residuals be learned maps of large ones
            (once-for-all, arXiv:1908.09791) rather than their centres.
        only: hold the weights of this architecture and refuse all others: a plain network, trained
            and evaluated as a supernet is.
    """

    def __init__(
        self,
        space: SearchSpace,
        kernel_transform: bool = False,
        only: Architecture | None = None,
    ) -> None:
        super().__init__()
        self.space, self.only = space, only
        layers = ELASTIC_LAYERS | (KERNEL_TRANSFORMS if kernel_transform else {})
        if only is not None:  # nothing is shared, by whatever rule
            layers = {}
        self.slots = nn.ModuleDict(
            {
                name: layers.get(specs[0].kind, ElasticLayer)(distinct_weights(specs))
                for name, specs in self.slot_specs()
            }
        )

    def forward(
        self,
        inputs: Tensors,
        architecture: Architecture,
        regularisation: Regularisation | None = None,
    ) -> Tensors:
        """Run one architecture.

        Args:
            inputs: batches of the architecture's inputs, in order; one tensor or several.
            architecture: which subnet.
            regularisation: in training, what to drop.

        Returns:
            One output, or several in the order of the space's.

        Raises:
            InputError: the inputs are not of the architecture's number or sizes, or the
                architecture is of another space or not the only one held.
        """
        network = self.network(architecture)
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        check_inputs(network.inputs, given, f"architecture {architecture}")
        values = dict(zip(network.inputs, given, strict=True))
        waiting = Counter(name for layer in network.layers for name in layer.reads)
        waiting.update(network.outputs.values())
        results_of = set(network.outputs.values())
        for layer in network.layers:
            reads = [values[name] for name in layer.reads]
            waiting.subtract(layer.reads)
            for name in set(layer.reads):
                if not waiting[name]:  # so that its memory serves again, as in a subnet
                    del values[name]
            if regularisation and layer.name in results_of:
                reads[0] = regularisation.drop_features(reads[0])
            outputs = self.slots[layer.name](layer.spec, *reads)
            if regularisation and layer.droppable:
                outputs = regularisation.drop_paths(outputs)
            values[layer.name] = outputs
        results = tuple(values[name] for name in network.outputs.values())
        return results[0] if len(results) == 1 else results

    def network(self, architecture: Architecture) -> Network:
        """Return one architecture as a graph of layers.

        Raises:
            InputError: the architecture is of another space or not the only one held.
        """
        if self.only is not None and architecture != self.only:
            raise InputError(
                f"this network is architecture {self.only} alone, got {architecture}; "
                "take the supernet for others"
            )
        return self.space.layers.network(self.space.encode(architecture))

    def slot_specs(self) -> list[tuple[str, list[LayerSpec]]]:
        """Return, of every slot with weights here, its name and the distinct specs it can hold."""
        if self.only is None:
            return [(name, specs) for name, specs in self.space.layers.slot_specs() if specs]
        return [(layer.name, [layer.spec]) for layer in self.network(self.only).layers]

    def layers(self, architecture: Architecture) -> list[LayerSpec]:
        """Return the layer specs of one architecture, in order."""
        return [layer.spec for layer in self.network(architecture).layers]

    def inputs(self, architecture: Architecture) -> dict[str, TensorSpec]:
        """Return its inputs by name; an image's resolution is a dimension of the architecture."""
        return dict(self.network(architecture).inputs)

    def extract(self, architecture: Architecture) -> fx.GraphModule:
        """Return the subnet: ordinary torch modules with copies of the weights and empty norm
        statistics.

        It is a traced `torch.fx.GraphModule`, so nothing of this project is needed to run it.
        """
        network = self.network(architecture)
        modules = {}
        for layer in network.layers:
            module = layer_module(layer.spec)
            elastic = cast(ElasticLayer, self.slots[layer.name])
            with torch.no_grad():
                weights = elastic.slice(layer.spec)
                for key, parameter in module.named_parameters():
                    parameter.copy_(weights[key])
                for key, values in elastic.statistics(layer.spec).items():
                    module.get_buffer(key).copy_(values)
            modules[layer.name] = module
        return assemble(network, modules).to(next(self.parameters()))


def check_inputs(specs: Mapping[str, TensorSpec], given: tuple[Tensor, ...], taker: str) -> None:
    """Check a batch of inputs against what a network takes.

    Raises:
        InputError: too few or many, another size, or another type of numbers.
    """
    if len(given) != len(specs):
        raise InputError(f"{taker} takes {', '.join(specs)}; got {len(given)} inputs")
    for (name, spec), tensor in zip(specs.items(), given, strict=True):
        found = tuple(tensor.shape[1:])
        fits = len(found) == len(spec.shape) and all(
            size == wanted or (i in spec.free and size > 0)
            for i, (size, wanted) in enumerate(zip(found, spec.shape, strict=True))
        )
        if not fits:
            raise InputError(f"{taker} takes {name} {spec.shape}, got {found}")
        if tensor.is_floating_point() != (spec.dtype == "float32"):
            raise InputError(f"{taker} takes {name} as {spec.dtype}, got {tensor.dtype}")


def assemble(network: Network, modules: Mapping[str, nn.Module]) -> fx.GraphModule:
    """Join the modules of a network's layers into one that runs without this project."""
    graph = fx.Graph()
    values = {name: graph.placeholder(name) for name in network.inputs}
    for layer in network.layers:
        reads = tuple(values[name] for name in layer.reads)
        values[layer.name] = graph.call_module(layer.name, reads)
    results = tuple(values[name] for name in network.outputs.values())
    graph.output(results[0] if len(results) == 1 else results)
    whole = fx.GraphModule(dict(modules), graph)
    return fx.symbolic_trace(whole)  # once more, through the layers down to torch's own modules


def resize(inputs: tuple[Tensor, ...], specs: Iterable[TensorSpec]) -> tuple[Tensor, ...]:
    """Scale images to the size that a network takes: training, calibration, evaluation and export
    alike. Other inputs pass unchanged.
    """
    return tuple(_resized(batch, spec) for batch, spec in zip(inputs, specs, strict=True))


def _resized(batch: Tensor, spec: TensorSpec) -> Tensor:
    size = list(spec.shape[-2:])
    if len(spec.shape) != 3 or list(batch.shape[-2:]) == size:
        return batch
    return F.interpolate(batch, size=size, mode="bilinear", antialias=True)
