"""The one place that says who shares what."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from search_spaces.layer_kinds import LAYER_KINDS
from search_spaces.layer_modules import layer_skeleton, parameter_shapes, run_layer
from search_spaces.layer_modules.initial import initialise
from search_spaces.layer_spec import LayerSpec

Shape = tuple[int, ...]
INPUT_SIZES = {"height", "width", "frames", "stride"}


def leading_slice(weights: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a view of `shape`: the first channels and features, and of kernels (dimension 2 on)
    the centre.
    """
    if weights.shape == shape:
        return weights
    view = weights
    for dimension, (size, wanted) in enumerate(zip(weights.shape, shape, strict=True)):
        if wanted != size:
            view = view.narrow(dimension, (size - wanted) // 2 if dimension >= 2 else 0, wanted)
    return view


def largest_shapes(several: Iterable[Mapping[str, Shape]]) -> dict[str, Shape]:
    """Return, for every name, the component-wise largest of its shapes."""
    shapes: dict[str, Shape] = {}
    for one in several:
        for name, shape in one.items():
            shapes[name] = tuple(map(max, shapes.get(name, shape), shape))
    return shapes


def distinct_weights(specs: Sequence[LayerSpec]) -> list[LayerSpec]:
    """Drop specs whose weights are those of another one: the size of the input alone differs, and
    not the number of weights (as it would with learned positions). Each costs a module to be built.
    """
    found: dict[object, LayerSpec] = {}
    for spec in specs:
        rest = tuple(field for field in spec.fields if field[0] not in INPUT_SIZES)
        found.setdefault((rest, int(LAYER_KINDS[spec.kind].num_params(spec.values))), spec)
    return list(found.values())


class ElasticLayer(nn.Module):
    """Shared weights of one slot; every spec of the slot runs on slices of them.

    A weight is as large as the largest of that name in any spec; one that only some specs have (a
    projected shortcut, one of several operations) is theirs alone. `slice` is the only sharing
    rule: `forward` runs the plain module of a spec on the slices, extraction copies them. A kind
    that shares otherwise subclasses and overrides `slice` alone, or `covering` too where its
    slices need more room than the largest shape.

    Args:
        specs: all that the slot can hold.
    """

    def __init__(self, specs: Sequence[LayerSpec]) -> None:
        super().__init__()
        self.shared = nn.Module()  # weights alone, by the names they have in the plain modules
        self._owners: dict[str, nn.Module] = {}
        self._holders: dict[str, tuple[dict[str, nn.Parameter | None], str]] = {}  # for speed
        for spec in specs:
            for name in parameter_shapes(spec):
                owner = name.rpartition(".")[0]
                self._owners.setdefault(name, layer_skeleton(spec).get_submodule(owner))
        trained = self._are_trained(specs)
        for name, shape in self.covering(specs).items():
            weight = nn.Parameter(torch.empty(shape), requires_grad=trained[name])
            holder = _register(self.shared, name, weight)
            self._holders[name] = (holder._parameters, name.rpartition(".")[2])
        self.reset_parameters()

    @staticmethod
    def _are_trained(specs: Sequence[LayerSpec]) -> dict[str, bool]:
        """Tell which weights training changes; constants of a network are not."""
        return {
            name: parameter.requires_grad
            for spec in specs
            for name, parameter in layer_skeleton(spec).named_parameters()
        }

    def covering(self, specs: Sequence[LayerSpec]) -> dict[str, Shape]:
        """Return the shape of every shared weight, from which all specs can take theirs."""
        return largest_shapes(parameter_shapes(spec) for spec in specs)

    def reset_parameters(self) -> None:
        """Initialise every weight by the kind of module that owns it."""
        for name, parameter in self.shared.named_parameters():
            initialise(self._owners[name], name.rpartition(".")[2], parameter)

    def slice(self, spec: LayerSpec) -> dict[str, Tensor]:
        """Return the weights of `spec` as views of the shared ones, by parameter name of the plain
        module.
        """
        return {
            name: leading_slice(self.weight(name), shape)
            for name, shape in parameter_shapes(spec).items()
        }

    def statistics(self, spec: LayerSpec) -> dict[str, Tensor]:
        """Return the running statistics that norms of `spec` came with, by buffer name of the plain
        module: none, unless a network was trained before it became a supernet.
        """
        return {}

    def weight(self, name: str) -> nn.Parameter:
        """Return a shared weight by its dotted name."""
        holder, key = self._holders[name]
        found = holder[key]
        assert found is not None
        return found

    def forward(self, spec: LayerSpec, *inputs: Tensor) -> Tensor:
        """Run the layer of `spec`, norms on the statistics of this batch."""
        return run_layer(spec, self.slice(spec), inputs)


def _register(root: nn.Module, name: str, parameter: nn.Parameter) -> nn.Module:
    """Put a parameter at a dotted name, making the modules on the way; return the last one."""
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.register_parameter(last, parameter)
    return root
