"""The weight-sharing network, and how a subnet leaves it."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from search_spaces.architecture import Architecture
from search_spaces.elastic import ELASTIC_LAYERS, ElasticLayer
from search_spaces.errors import InputError
from search_spaces.layer_module import layer_module
from search_spaces.layer_spec import LayerSpec
from search_spaces.space import SearchSpace


class Supernet(nn.Module):
    """All architectures of a space on shared weights: one elastic layer per slot, run in order.

    Which architecture runs is an argument, never state. Norms always use the statistics of the
    batch; running statistics exist on extracted, calibrated subnets only. A family that is not a
    chain of layers overrides `forward` and `extract`.
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space
        self.slots = nn.ModuleDict(
            {
                name: ELASTIC_LAYERS.get(spec.kind, ElasticLayer)(spec)
                for name, spec in space.layers.largest()
            }
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise by fan-out (arXiv:1502.01852), classifiers narrow, from torch's global
        generator.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, inputs: Tensor, architecture: Architecture) -> Tensor:
        """Run one architecture: `inputs` b x c x h x w of its resolution -> logits b x classes.

        Raises:
            InputError: the inputs are not of the architecture's size.
        """
        layers = self._named_layers(architecture)
        expected = layers[0][1].input_shapes[0]
        if tuple(inputs.shape[1:]) != expected:
            raise InputError(
                f"{architecture} takes inputs {expected}, got {tuple(inputs.shape[1:])}"
            )
        for name, spec in layers:
            inputs = self.slots[name](inputs, spec)
        return inputs

    def layers(self, architecture: Architecture) -> list[LayerSpec]:
        """Return the layer specs of one architecture, in order."""
        return [spec for _, spec in self._named_layers(architecture)]

    def input_shapes(self, architecture: Architecture) -> list[tuple[int, ...]]:
        """Return the shapes of its inputs without the batch; resolution is a dimension of the
        architecture.
        """
        return list(self.layers(architecture)[0].input_shapes)

    def extract(self, architecture: Architecture) -> fx.GraphModule:
        """Return the subnet: ordinary torch modules with copies of the weights and empty norm
        statistics.

        It is a traced `torch.fx.GraphModule`, so nothing of this project is needed to run it.
        """
        layers = []
        for name, spec in self._named_layers(architecture):
            module = layer_module(spec)
            elastic = cast(ElasticLayer, self.slots[name])
            with torch.no_grad():
                weights = elastic.slice(spec)
                for key, parameter in module.named_parameters():
                    parameter.copy_(weights[key])
            layers.append((name, module))
        return assemble(layers).to(next(self.parameters()))

    def _named_layers(self, architecture: Architecture) -> list[tuple[str, LayerSpec]]:
        return self.space.layers.layers(self.space.encode(architecture))


def assemble(layers: Iterable[tuple[str, nn.Module]]) -> fx.GraphModule:
    """Chain named modules into one that runs without this project (traced by `torch.fx`)."""
    chain = nn.Sequential()
    for name, module in layers:
        chain.add_module(name, module)
    return fx.symbolic_trace(chain)


def resize(batch: Tensor, shape: Sequence[int]) -> Tensor:
    """Scale images b x c x h x w to the height and width of `shape` (c, h, w): training,
    calibration, evaluation and export alike.
    """
    height, width = shape[-2:]
    if batch.shape[-2:] == (height, width):
        return batch
    return F.interpolate(batch, size=(height, width), mode="bilinear", antialias=True)
