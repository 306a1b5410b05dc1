"""What a zero-cost proxy looks at: a network, one mini-batch, and what several proxies share."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from predictors.zero_cost.network_parts import weighted_layers
from search_spaces import InputError

Outputs = Tensor | tuple[Tensor, ...]
Loss = Callable[[Outputs, Tensor], Tensor]

LEAST_SAMPLES = 4  # two halves whose norms have a variance


def cross_entropy(outputs: Outputs, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of one output, b x classes."""
    (logits,) = (outputs,) if isinstance(outputs, Tensor) else outputs
    return F.cross_entropy(logits, targets)


@dataclass(frozen=True)
class Batch:
    """One mini-batch of b samples, as the network takes them, and the loss they are judged by.

    Inputs (numbers, token ids, masks) and targets have b rows each; `loss` turns outputs and
    targets into a scalar.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor
    loss: Loss = cross_entropy

    def __len__(self) -> int:
        return len(self.targets)

    def loss_of(self, network: nn.Module, rows: slice = slice(None)) -> Tensor:
        """Return the loss of a network on some of the samples, a scalar."""
        outputs = network(*(one[rows] for one in self.inputs))
        return self.loss(outputs, self.targets[rows])


@dataclass(frozen=True)
class Backpropagation:
    """One forward and backward pass: gradients of the loss by weights and by layers' outputs."""

    weights: tuple[Tensor, ...]
    weight_gradients: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]  # of every call of a weighted layer, b x channels x ...
    output_gradients: tuple[Tensor, ...]


class Probe:
    """A network that proxies may ask about and cannot change: each works on copies of it.

    Args:
        module: with the weights to look at, on the device of the batch.
        batch: 4 samples or more.
        seed: of what a proxy draws.

    Raises:
        InputError: a smaller batch.
    """

    def __init__(self, module: nn.Module, batch: Batch, seed: int = 0) -> None:
        if len(batch) < LEAST_SAMPLES:
            raise InputError(
                f"expected a batch of {LEAST_SAMPLES} or more samples for zero-cost proxies, "
                f"got {len(batch)}"
            )
        self._module, self.batch, self.seed = module, batch, seed

    def network(self) -> nn.Module:
        """Return a copy to change at will: in training mode, so that norms use the batch, nothing
        in place, so that what a layer gave stays as it was, and gradients for all weights.
        """
        network = deepcopy(self._module).train()
        for child in network.modules():
            if hasattr(child, "inplace"):
                vars(child)["inplace"] = False
        return network.requires_grad_(True)

    def generator(self) -> torch.Generator:
        """Return a generator at its seed, for draws on the CPU."""
        return torch.Generator().manual_seed(self.seed)

    @cached_property
    def backpropagation(self) -> Backpropagation:
        """The loss of the whole batch, followed back once for all proxies that need it."""
        network = self.network()
        layers = weighted_layers(network)
        outputs: list[Tensor] = []
        channels_last: list[bool] = []

        def record(layer: nn.Module, _: object, output: Tensor) -> None:
            outputs.append(output)
            channels_last.append(isinstance(layer, nn.Linear))

        for layer in layers:
            layer.register_forward_hook(record)
        weights = [layer.weight for layer in layers]
        gradients = gradients_of(self.batch.loss_of(network), [*weights, *outputs])
        return Backpropagation(
            tuple(weight.detach() for weight in weights),
            gradients[: len(weights)],
            _channels_first(outputs, channels_last),
            _channels_first(gradients[len(weights) :], channels_last),
        )


def gradients_of(
    scalar: Tensor, tensors: list[Tensor], create_graph: bool = False
) -> tuple[Tensor, ...]:
    """Return the gradients of a scalar, zeros where it does not depend on a tensor."""
    return torch.autograd.grad(
        scalar, tensors, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )


def _channels_first(
    tensors: list[Tensor] | tuple[Tensor, ...], last: list[bool]
) -> tuple[Tensor, ...]:
    pairs = zip(tensors, last, strict=True)
    return tuple(t.detach().movedim(-1, 1) if is_last else t.detach() for t, is_last in pairs)
