"""Channels in the order of their importance: what small subnets take first is what matters most."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from search_spaces.elastic import distinct_weights
from search_spaces.elastic.inner_channels import INNER_CHANNELS, InnerChannels, positions
from search_spaces.layer_modules import parameter_shapes
from search_spaces.layer_spec import LayerSpec
from search_spaces.supernet import Supernet

Orders = Mapping[str, Sequence[tuple[int, Tensor]]]
"""Parameter name -> (dimension, old position of every new one)."""


def sort_channels(supernet: Supernet) -> Orders:
    """Put the channels inside every layer in the order of their importance, the greatest first
    (once-for-all, arXiv:1908.09791).

    Architectures that take all channels of their layers, so the largest, compute the same as
    before; of all others every layer now takes the most important channels. Sorted are channels
    that one layer alone reads and of which its options take different numbers: the insides of
    convolutional blocks, squeezed channels, hidden units, whole heads. The width of a network stays
    in its order: residual sums make layers share it.

    Returns:
        What was done, for `reorder` on the optimiser's state; empty where the space has no such
        layers (cells, say).
    """
    orders = channel_orders(supernet)
    reorder(dict(supernet.named_parameters()), orders)
    return orders


def channel_orders(supernet: Supernet) -> Orders:
    """Return the orders in which the weights of a supernet would have their channels sorted.

    The importance of a channel is the L1 norm of the weights that read it.
    """
    orders: dict[str, list[tuple[int, Tensor]]] = {}
    for slot, all_specs in supernet.slot_specs():
        specs = distinct_weights(all_specs)
        prefix = f"slots.{slot}.shared."
        shared = dict(supernet.slots[slot].get_submodule("shared").named_parameters())
        for channels in INNER_CHANNELS.get(specs[0].kind, ()):
            if not _is_elastic(channels, specs):
                continue
            for name, dimension, order in _sorted(channels, specs, shared):
                orders.setdefault(prefix + name, []).append((dimension, order))
    return orders


def reorder(tensors: Mapping[str, Tensor], orders: Orders) -> None:
    """Apply orders in place to weights, or to what has their shapes (momenta), by the names of the
    weights; names on one side only are passed over.
    """
    with torch.no_grad():
        for name in tensors.keys() & orders.keys():
            tensor = tensors[name]
            for dimension, order in orders[name]:
                tensor.copy_(tensor.index_select(dimension, order.to(tensor.device)))


def _is_elastic(channels: InnerChannels, specs: Sequence[LayerSpec]) -> bool:
    """Tell whether the specs of a slot take different numbers of channels that are its own."""
    readers = [spec for spec in specs if channels.read_by in parameter_shapes(spec)]
    sizes = {parameter_shapes(spec)[channels.read_by][1] for spec in readers}
    blocks = {spec[channels.block] for spec in readers} if channels.block else {1}
    is_private = all(channels.written_by in parameter_shapes(spec) for spec in readers)
    return is_private and len(sizes) > 1 and len(blocks) == 1


def _sorted(
    channels: InnerChannels, specs: Sequence[LayerSpec], shared: Mapping[str, Tensor]
) -> list[tuple[str, int, Tensor]]:
    """Return (name, dimension, order) of every shared weight of a slot that holds the channels."""
    block = specs[0][channels.block] if channels.block else 1
    tiles = max(spec[channels.tiles] for spec in specs) if channels.tiles else 1
    norms = shared[channels.read_by].detach().abs().transpose(0, 1).flatten(1).sum(1)
    importance = norms.view(tiles, -1, block).sum((0, 2))
    order = torch.argsort(importance, descending=True, stable=True)
    return [
        (name, dimension, positions(order, shared[name].shape[dimension], block))
        for name, dimension in channels.places(shared)
    ]
