"""Which channels a smaller network takes first: those that matter most."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from search_spaces.elastic.selecting_layer import SelectingLayer
from search_spaces.layer_modules.program import weight_name
from search_spaces.layer_program import Axis, Chosen, read_program, term_size

if TYPE_CHECKING:
    from search_spaces.conversion.elasticize import Elastic


def sort_by_importance(elastic: "Elastic", gradients: Mapping[str, Tensor] | None = None) -> None:
    """Put the channels of a supernet in the order of their importance.

    Weights stay where they are: only the orders in which narrow networks take them change, so the
    largest network does not.

    Args:
        gradients: of a loss, by the names of the supernet's parameters: a channel then counts by
            what the loss would lose with it, to first order (|sum of weight x gradient|,
            arXiv:1906.10771); without, by the L1 norm of its weights (arXiv:1608.08710).
    """
    scores: dict[str, Tensor] = {}
    places: dict[str, list[tuple[SelectingLayer, int]]] = {}
    for slot in elastic.plan.slots:
        layer = cast(SelectingLayer, elastic.supernet.slots[slot.name])
        program = read_program(slot.program)
        most = [max(choice.sizes) for choice in slot.sizes]
        for number, name in enumerate(slot.orders):
            places.setdefault(name, []).append((layer, number))
        for position, step in enumerate(program.steps):
            for key, axes in step.weights.items():
                own = weight_name(position, step, key)
                weight = layer.weight(own).detach()
                gradient = None
                if gradients is not None:
                    gradient = gradients.get(f"slots.{slot.name}.shared.{own}")
                for dimension, axis in enumerate(axes):
                    for number, score in _scores(weight, gradient, dimension, axis, most):
                        name = slot.orders[number]
                        scores[name] = scores.get(name, torch.zeros_like(score)) + score
    for name, score in scores.items():
        order = torch.argsort(score, descending=True, stable=True)
        for layer, number in places[name]:
            layer.set_order(number, order)


def _scores(
    weight: Tensor, gradient: Tensor | None, dimension: int, axis: Axis, most: list[int]
) -> list[tuple[int, Tensor]]:
    """Return (order, score of every channel) of all channels that lie along a dimension."""
    values = weight if gradient is None else weight * gradient
    values = values.movedim(dimension, 0).reshape(weight.shape[dimension], -1)
    found, start = [], 0
    for term in axis:
        length = term_size(term, most)
        part = values[start : start + length]
        start += length
        sizes = [term_size((factor,), most) for factor in term]
        for i, factor in enumerate(term):
            if isinstance(factor, Chosen) and factor.order is not None:
                channels = part.reshape(*sizes, -1).movedim(i, 0).flatten(1)
                score = channels.abs().sum(1) if gradient is None else channels.sum(1).abs()
                found.append((factor.order, score))
    return found
