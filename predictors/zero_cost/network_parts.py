"""Which parts of a network proxies tell apart, and where a network can be entered."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from search_spaces import InputError

WeightedLayer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
RECTIFIERS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Hardswish,
    nn.Tanh,
    nn.Hardtanh,
)
"""Nonlinearities of units; gates (sigmoids) and softmax, which weigh others, are none."""


def weighted_layers(network: nn.Module) -> list[WeightedLayer]:
    """Return the convolutions and linear layers: those whose weights proxies look at.

    Raises:
        InputError: there is none.
    """
    layers = [child for child in network.modules() if isinstance(child, WEIGHTED)]
    if not layers:
        raise InputError("expected a network with convolutions or linear layers, found none")
    return layers


def replace_parts(
    network: nn.Module,
    kinds: tuple[type[nn.Module], ...],
    replacement: Callable[[], nn.Module] = nn.Identity,
) -> None:
    """Put others (the identity, if none are given) in place of all parts of some kinds."""
    for name, child in list(network.named_modules(remove_duplicate=False)):
        if isinstance(child, kinds):
            network.set_submodule(name, replacement())


def run_from_entries(
    network: nn.Module, inputs: tuple[Tensor, ...], replaced: Callable[[Tensor], Tensor]
) -> Tensor | tuple[Tensor, ...]:
    """Run a network with something else where numbers enter it.

    Entries are the inputs that are numbers, and for token ids, which have no gradient and no
    Gaussian, the outputs of the network's embeddings. Other whole numbers, as masks, pass.

    Raises:
        InputError: there is no entry.
    """
    entries = 0

    def enter(tensor: Tensor) -> Tensor:
        nonlocal entries
        entries += 1
        return replaced(tensor)

    embeddings = [child for child in network.modules() if isinstance(child, nn.Embedding)]
    hooks = [one.register_forward_hook(lambda _, __, output: enter(output)) for one in embeddings]
    try:
        given = [enter(one) if one.is_floating_point() else one for one in inputs]
        outputs: Tensor | tuple[Tensor, ...] = network(*given)
    finally:
        for hook in hooks:
            hook.remove()
    if not entries:
        raise InputError(
            "expected an input of numbers, or an nn.Embedding that reads the ids: where else "
            f"would {', '.join(str(one.dtype) for one in inputs)} be varied?"
        )
    return outputs


def total(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return the sum of all numbers of all outputs, a scalar."""
    several = (outputs,) if isinstance(outputs, Tensor) else outputs
    return sum((one.sum() for one in several[1:]), several[0].sum())
