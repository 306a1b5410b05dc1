"""Static int8 (QDQ): the calibration method with the best measured accuracy, and what costs too
much of it kept in float.
"""

from collections.abc import Collection, Mapping

from nas.exporting.parity import Arrays
from nas.exporting.precisions.calibration import METHODS, tensor_ranges
from nas.exporting.precisions.conversion import (
    Converted,
    Settings,
    batches,
    check_samples,
    load_float_model,
)
from nas.exporting.precisions.distance import Batches, answers, distance
from nas.exporting.precisions.evaluations import Evaluations
from nas.exporting.precisions.prepared import simplified
from nas.exporting.precisions.quantised_nodes import (
    quantised_nodes,
    stem_convolutions,
    weighted_nodes,
)
from nas.exporting.precisions.quantiser import quantised
from nas.exporting.precisions.schemes import SCHEMES, scheme_here
from nas.exporting.precisions.sensitivity import keep_sensitive
from search_spaces import InputError
from search_spaces.errors import unknown_name


def to_int8(model: bytes, samples: Arrays, settings: Settings) -> Converted:
    """Quantise a serialised fp32 model.

    Weights are S8, symmetric, per output channel; types of activations, and whether the first
    convolution is quantised at all, follow the scheme.
    The method is the one of the best accuracy; among those within half of `max_drop` of it, which a
    validation set hardly tells apart, the one whose outputs lie closest to fp32's.

    Evaluated are the fp32 model, one int8 model for each method, and, where the best of them loses
    more than `max_drop`, layers alone and growing sets of layers kept in float.

    Args:
        samples: of every input, n x ..., as the network sees them; no test data.

    Raises:
        InputError: nothing to evaluate by; unknown scheme or method; unfit samples; a model that is
            no fp32 one or has no layer to quantise; too few evaluations allowed to try all methods.
    """
    loaded = load_float_model(model)
    _check(settings)
    check_samples(loaded, samples)
    name = settings.scheme or scheme_here()
    scheme = SCHEMES[name]
    ready = simplified(loaded, hard_as_relu=settings.hard_activations == "relu")
    stem = tuple(stem_convolutions(ready.graph)) if scheme.float_stem else ()
    layers = [name for name in weighted_nodes(ready.graph) if name not in stem]
    if not layers:
        raise InputError("this model has no convolution or product with weights to quantise")
    probes = batches(ready, samples)

    measured = Evaluations(settings)
    before = measured(model, "fp32")
    hard = settings.hard_activations == "quantised"
    ranges = {method: tensor_ranges(ready, samples, method) for method in settings.methods}

    def quantise(method: str, kept: Collection[str] = ()) -> bytes:
        nodes = quantised_nodes(ready.graph, {*stem, *kept}, hard)
        return quantised(ready, ranges[method], scheme, nodes)

    whole = {method: quantise(method) for method in settings.methods}
    accuracies = {method: measured(one, method) for method, one in whole.items()}
    best, enough = max(accuracies.values()), before - settings.max_drop
    least = best - settings.max_drop / 2
    if best >= enough:  # no tie is worth losing that
        least = max(least, enough)
    near = {name: whole[name] for name in settings.methods if accuracies[name] >= least}
    method = _closest(near, bytes(ready.SerializeToString()), probes)
    found, after, kept = whole[method], accuracies[method], tuple[str, ...]()
    if before - after > settings.max_drop:
        kept, found, after = keep_sensitive(
            layers,
            lambda kept: quantise(method, kept),
            probes,
            measured,
            start=(found, before, after),
            max_drop=settings.max_drop,
        )
    notes = []
    if before - after > settings.max_drop:
        notes.append(
            f"{100 * (before - after):.2f} points of accuracy are lost after {measured.done} "
            f"evaluations; at most {100 * settings.max_drop:.2f} were asked for"
        )
    if set(kept) == set(layers):
        notes.append("no layer could stay in int8: this file computes in fp32")
    if settings.hard_activations == "relu":
        notes.append("h-swish and h-sigmoid became ReLU: another network, for measuring only")
    return Converted(
        "int8",
        found,
        kept_float=(*stem, *kept),
        notes=tuple(notes),
        method=method,
        scheme=name,
        accuracy_before=before,
        accuracy_after=after,
        num_evaluations=measured.done,
    )


def _closest(models: Mapping[str, bytes], exact: bytes, probes: Batches) -> str:
    """Name the model whose outputs lie closest to those of another; the first of equals."""
    expected = answers(exact, probes)
    return min(models, key=lambda name: distance(answers(models[name], probes), expected))


def _check(settings: Settings) -> None:
    if settings.evaluate is None:
        raise InputError("int8 is chosen by measured accuracy: expected `evaluate`, got none")
    if settings.scheme is not None and settings.scheme not in SCHEMES:
        raise unknown_name("scheme", settings.scheme, SCHEMES)
    if not settings.methods:
        raise InputError(f"expected calibration methods, some of {', '.join(METHODS)}, got none")
    for method in settings.methods:
        if method not in METHODS:
            raise unknown_name("calibration method", method, METHODS)
    if settings.hard_activations not in ("float", "quantised", "relu"):
        known = ("float", "quantised", "relu")
        raise unknown_name("treatment of hard activations", settings.hard_activations, known)
    least = 1 + len(set(settings.methods))
    if settings.max_evaluations < least:
        raise InputError(
            f"expected at least {least} evaluations, of fp32 and of every method, "
            f"got {settings.max_evaluations}"
        )
