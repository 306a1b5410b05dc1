"""Known profiles of a space as functions that tell the latency of any of its architectures."""

from collections.abc import Callable

from hardware_profiles.profile import Profile
from hardware_profiles.store import profiles_of
from nas.fitted_latency import fit_latency
from predictors.latency.transfer import KnownLatency
from predictors.predictor import Vector
from search_spaces import INPUT_SIZES, InputError, Population, SearchSpace


def known_targets(space: SearchSpace, profile: Profile | None = None) -> dict[str, KnownLatency]:
    """Return known targets by profile name: those whose layers were measured, of the same part.

    None where `profile` has measured layers itself, which tell more than other devices do.
    """
    if profile is not None and profile.layers:
        return {}
    known: dict[str, KnownLatency] = {}
    for name, other in profiles_of(space.name):
        if not other.layers or not _covers(other, profile):
            continue
        if any(other.space_settings.get(size) != space.settings.get(size) for size in INPUT_SIZES):
            continue
        if profile is not None and other.target.id == profile.target.id:
            continue
        try:
            known[name] = _mean_latency(space, other)
        except InputError:  # too partial to tell
            continue
    return known


def _covers(known: Profile, profile: Profile | None) -> bool:
    """Tell whether a known profile was measured wherever `profile` (or, without, the space) is."""
    wanted = profile.options if profile is not None else {}
    return all(
        name in wanted and set(wanted[name]) <= set(options)
        for name, options in known.options.items()
    )


def _mean_latency(space: SearchSpace, profile: Profile) -> Callable[[Population], Vector]:
    predictor = fit_latency(space, profile, "calibrated-table").predictor
    return lambda population: predictor.predict(population).mean
