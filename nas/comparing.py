"""How alike two devices are: can one net serve both?"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from hardware_profiles.artifact import write_atomic
from hardware_profiles.profile import Profile
from hardware_profiles.store import profile_path
from nas.fitted_latency import fit_latency
from nas.known_devices import profile_space
from nas.known_targets import known_targets
from predictors.predictor import Vector, kendall
from search_spaces import InputError
from search_spaces.part import SpacePart

NUM_ARCHITECTURES = 2000


@dataclass(frozen=True)
class Comparison:
    """Two devices over architectures that spread over what both profiles cover."""

    names: tuple[str, str]
    space: str
    predicted_ms: tuple[Vector, Vector]  # n architectures on each
    measured_ms: tuple[Vector, Vector]  # those whole subnets that were measured on both

    def to_json(self) -> dict[str, Any]:
        """Return rank correlations, predicted and measured apart."""
        return {
            "devices": list(self.names),
            "space": self.space,
            "predicted": _ranks(*self.predicted_ms),
            "measured": _ranks(*self.measured_ms),
        }


def compare_devices(first: str, second: str) -> Comparison:
    """Compare two known profiles (names or files) of one space.

    Raises:
        InputError: an unknown profile, or profiles of different spaces or of parts that share
            nothing.
    """
    profiles = [Profile.load(profile_path(name)) for name in (first, second)]
    if profiles[0].space != profiles[1].space:
        raise InputError(
            f"{first} is a profile of {profiles[0].space}, {second} one of {profiles[1].space}; "
            "only profiles of one space compare"
        )
    space = profile_space(profiles[0])
    fitted = [fit_latency(space, one, known=known_targets(space, one)) for one in profiles]
    part = SpacePart(space, _shared_options(profiles[0], profiles[1]))
    sample = part.space.unique(
        part.space.sample_levels(NUM_ARCHITECTURES, np.random.default_rng(0))
    )
    population = part.embed(sample)
    predicted = [one.predictor.predict(population).mean for one in fitted]
    return Comparison(
        names=(first, second),
        space=space.name,
        predicted_ms=(predicted[0], predicted[1]),
        measured_ms=_measured_on_both(profiles[0], profiles[1]),
    )


def _shared_options(first: Profile, second: Profile) -> dict[str, tuple[Any, ...]]:
    shared = dict(first.options)
    for name, options in second.options.items():
        shared[name] = tuple(o for o in options if o in shared.get(name, options))
    return shared


def _measured_on_both(first: Profile, second: Profile) -> tuple[Vector, Vector]:
    known = {tuple(sorted(s.values.items())): s.latency_ms for s in second.subnets}
    pairs = [
        (s.latency_ms, known[key])
        for s in first.subnets
        if (key := tuple(sorted(s.values.items()))) in known
    ]
    both = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _ranks(first: Vector, second: Vector) -> dict[str, Any]:
    ranked = len(first) > 2 and np.ptp(first) > 0 and np.ptp(second) > 0
    return {
        "n": len(first),
        "spearman": float(spearmanr(first, second).statistic) if ranked else None,
        "kendall": kendall(first, second) if ranked else None,
    }


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Draw latency on one device against latency on the other, predicted and measured apart.

    Raises:
        InputError: a suffix that is no kind of picture.
    """
    from matplotlib.figure import Figure

    kind = path.suffix.lstrip(".").lower()
    figure = Figure(figsize=(10, 4.3), layout="constrained")
    if kind not in figure.canvas.get_supported_filetypes():
        raise InputError(f"expected a picture such as {path.stem}.svg or .png, got {path}")
    pairs = (("predicted", comparison.predicted_ms), ("measured", comparison.measured_ms))
    for panel, (word, (first, second)) in zip(figure.subplots(1, 2), pairs, strict=True):
        panel.plot(first, second, ls="none", marker="o", markersize=3, alpha=0.5)
        panel.set_title(f"{word.capitalize()}: {len(first)} architectures")
        panel.set_xlabel(f"{comparison.names[0]}, {word} (ms)")
        panel.set_ylabel(f"{comparison.names[1]}, {word} (ms)")
        panel.grid(alpha=0.2)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind)
    write_atomic(path, buffer.getvalue())
