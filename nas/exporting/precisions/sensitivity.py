"""Finds the layers whose quantisation costs accuracy, and leaves them in float."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from nas.exporting.precisions.distance import Batches, answers, distance
from nas.exporting.precisions.evaluations import Evaluations

NUM_PROBES = 2  # batches by which layers are ordered before any is evaluated

Quantise = Callable[[Collection[str]], bytes]
"""Returns the model with some layers kept in float."""


def keep_sensitive(
    layers: Sequence[str],
    quantise: Quantise,
    probes: Batches,
    measured: Evaluations,
    *,
    start: tuple[bytes, float, float],
    max_drop: float,
) -> tuple[tuple[str, ...], bytes, float]:
    """Keep layers in float, greedily by the loss each causes when it alone is quantised.

    Layers are ordered by how far outputs on samples move when each alone is quantised, which costs
    no evaluation; as many of the first as half of the evaluations left allow are then evaluated.
    Growing sets of the worst are kept in float until the accuracy drop is within `max_drop`: one
    more each time, or more where evaluations do not suffice for that.

    Args:
        layers: names, all quantised at the start.
        probes: batches of inputs by name.
        start: the model with all layers quantised, accuracies of the fp32 model and of it.

    Returns:
        Names kept in float, in the order of the graph; the model; its accuracy. The most accurate
        found, where none is within the limit or evaluations ran out.
    """
    model, before, accuracy = start
    order = _ordered(layers, quantise, probes, measured, before)
    kept, best = tuple[str, ...](), (accuracy, model)
    for count in _sizes(len(order), measured.left):
        chosen = set(order[:count])
        model = quantise(chosen)
        accuracy = measured(model, f"{count} of {len(layers)} layers in float")
        if accuracy > best[0]:
            kept, best = tuple(name for name in layers if name in chosen), (accuracy, model)
        if before - accuracy <= max_drop:
            break
    return kept, best[1], best[0]


def _ordered(
    layers: Sequence[str],
    quantise: Quantise,
    probes: Batches,
    measured: Evaluations,
    before: float,
) -> list[str]:
    """Return layers, the costliest first: those evaluated by loss, then the others by movement."""
    probes = probes[:NUM_PROBES]
    exact = answers(quantise(layers), probes)
    alone = {name: quantise([one for one in layers if one != name]) for name in layers}
    moved = {name: distance(answers(model, probes), exact) for name, model in alone.items()}
    order = sorted(layers, key=lambda name: -moved[name])
    evaluated = order[: measured.left // 2]
    loss = {name: before - measured(alone[name], f"{name} alone in int8") for name in evaluated}
    return sorted(evaluated, key=lambda name: (-loss[name], -moved[name])) + order[len(evaluated) :]


def _sizes(num_layers: int, evaluations: int) -> list[int]:
    """Sizes of the sets to try: 1, 2, 3 ... all, or as many, further apart."""
    if evaluations <= 0:
        return []
    if evaluations >= num_layers:
        return list(range(1, num_layers + 1))
    return sorted({round(float(size)) for size in np.geomspace(1, num_layers, evaluations)})
