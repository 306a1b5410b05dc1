"""Profiles made here, of a run's space or one of the catalogue; and kits for devices elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hardware_profiles.artifact import file_hash
from hardware_profiles.kit import read_result, result_profile, write_kit
from hardware_profiles.measure_plan import measure_plan
from hardware_profiles.plan import Plan, make_plan, parse_options
from hardware_profiles.profile import Profile
from hardware_profiles.runtimes import build_runtime
from hardware_profiles.runtimes.runtime import Runtime, RuntimeSettings
from hardware_profiles.store import default_name, known_path
from nas.config import ProfileConfig, profile_config
from nas.known_networks import keep_network, profiled_space
from nas.known_targets import known_targets
from nas.progress import progress_bar, say
from nas.run_directory import open_run
from nas.run_file import is_run
from predictors.latency.choose_samples import choose_samples, sample_features
from search_spaces import Architecture, InputError, SearchSpace, build_space
from search_spaces.part import SpacePart

LEAST_SUBNETS = 3  # of a profile, for a predictor to be fitted
NOTABLE_DRIFT = 0.1  # of the machine's speed
POOL_PER_SUBNET = 100


def measure_profile(
    space: SearchSpace, config: ProfileConfig, path: Path, seed: int = 0
) -> Profile:
    """Measure a space on this machine into a file.

    The raw windows lie beside it; a profile that was interrupted goes on with them.

    Raises:
        InputError: a runtime that is not here, a setting it refuses, a machine that is too noisy.
        MissingExtraError: the runtime's library is not installed.
    """
    return _measure(space, config, _runtime(config), path, seed)


def measure_known_profile(
    space: str,
    settings: Mapping[str, Any],
    options: Sequence[str],
    *,
    name: str | None = None,
    out: Path | None = None,
    seed: int = 0,
) -> tuple[Profile, Path]:
    """Measure a space of the catalogue on this machine, without a run.

    Args:
        settings: of `ProfileConfig`, but options, which are texts: "resolution=128,160".
        name: among the known profiles; made from device and space without.
        out: a file instead.

    Raises:
        InputError: an unknown space, bad settings, a name that is taken, or as `measure_profile`.
        MissingExtraError: the runtime's library is not installed.
    """
    built = build_space(space)
    config = profile_config({**settings, "options": parse_options(built, options)})
    runtime = _runtime(config)
    name = name or default_name(runtime.target, built.name)
    path = out or known_path(name, runtime.target, built.name)
    profile = _measure(built, config, runtime, path, seed)
    keep_network(space)
    return profile, path


def make_kit(
    space_or_run: str,
    settings: Mapping[str, Any],
    options: Sequence[str],
    path: Path,
    seed: int = 0,
) -> None:
    """Write a kit that profiles a space, or a run's as its data has it, on a device elsewhere.

    Raises:
        InputError: an unknown space or option, or a kit that would be too large.
    """
    built = named_space(space_or_run)
    config = profile_config({**settings, "options": parse_options(built, options)})
    plan = profile_plan(built, config, seed)
    with progress_bar("kit", len(plan.items)) as advance:
        write_kit(built, plan, path, advance)
    keep_network(space_or_run)


def import_profile(
    result: Path,
    name: str | None = None,
    kit: Path | None = None,
    space_or_run: str | None = None,
    accept_noise: bool = False,
    replace: bool = False,
) -> tuple[Profile, Path]:
    """Check the result of a kit and keep it among the known profiles.

    Args:
        space_or_run: whose kit it was; the catalogue's space that the kit names without.

    Raises:
        InputError: see `hardware_profiles.kit.read_result`; a space that is unknown here.
    """
    read = read_result(result, kit, accept_noise)
    if space_or_run is not None:
        space = named_space(space_or_run)
    else:
        space = profiled_space(read.kit.space, read.kit.space_settings)
    profile = result_profile(read, space, result)
    path = known_path(name or default_name(profile.target, space.name), profile.target, space.name)
    if path.exists() and not replace:
        _check_no_less(profile, Profile.load(path), path.stem)
    profile.save(path)
    if space_or_run is not None:
        keep_network(space_or_run)
    return profile, path


def named_space(space_or_run: str) -> SearchSpace:
    """Return a space of the catalogue or of the user's own, or a run's as its data has it.

    Raises:
        InputError: neither is known by that name.
    """
    path = Path(space_or_run)
    return open_run(path).space if is_run(path) else build_space(space_or_run)


def _check_no_less(profile: Profile, known: Profile, name: str) -> None:
    """Refuse to replace a profile by one of another part, or one that holds less.

    Raises:
        InputError: what would be lost.
    """
    sizes = [(len(one.layers), len(one.subnets)) for one in (known, profile)]
    made_here = "windows" in known.made_from and "kit" in profile.made_from
    if made_here or known.options != profile.options or sizes[0] > sizes[1]:
        raise InputError(
            f"{name} is known with {sizes[0][0]} layers and {sizes[0][1]} subnets; this has "
            f"{sizes[1][0]} and {sizes[1][1]}, and is of another part or another measurement: "
            "choose another --name, or give --replace"
        )


def _runtime(config: ProfileConfig) -> Runtime:
    return build_runtime(
        config.runtime,
        RuntimeSettings(
            threads=config.threads,
            batch_size=config.batch_size,
            precision=config.precision,
            provider=config.provider,
            cores=config.cores,
        ),
    )


def _measure(
    space: SearchSpace, config: ProfileConfig, runtime: Runtime, path: Path, seed: int
) -> Profile:
    windows = path.with_name(f"{path.name.removesuffix('.json')}.windows.jsonl")
    if _finished(path, windows):
        windows.unlink()  # of the profile that is made anew
    elif windows.exists():
        say(f"            going on with {windows}")
    with progress_bar("profile", 1) as advance:
        profile = measure_plan(
            space,
            profile_plan(space, config, seed),
            runtime,
            windows,
            passes=config.passes,
            seconds=None if config.minutes is None else config.minutes * 60,
            accept_noise=config.accept_noise,
            progress=lambda done, total: advance(done, total=total),
        )
    if len(profile.subnets) < LEAST_SUBNETS:
        raise InputError(
            f"{len(profile.subnets)} whole subnets were measured in that time, too few to be of "
            "use; give it more --minutes: the same command goes on"
        )
    if profile.drift is not None and profile.drift > NOTABLE_DRIFT:
        say(f"            warning: the machine's speed drifted by {profile.drift:.0%} meanwhile")
    if not profile.complete:
        left = ", ".join(f"{n} {role.replace('_', ' ')}" for role, n in profile.missing.items())
        say(f"            time is up: missing {left or 'passes'}; the same command goes on")
    profile.save(path)
    return profile


def profile_plan(space: SearchSpace, config: ProfileConfig, seed: int = 0) -> Plan:
    """Plan what a profile measures."""
    if not space.slots:
        raise InputError(f"{space.name} has no layers: nothing of it can be measured")
    return make_plan(
        space,
        num_calibration=config.num_calibration,
        num_held_out=config.num_held_out,
        max_specs=config.max_specs,
        options=config.options,
        calibration=_chosen_subnets(space, config, seed) if config.max_specs == 0 else (),
        seed=seed,
    )


def _chosen_subnets(space: SearchSpace, config: ProfileConfig, seed: int) -> list[Architecture]:
    """Choose the subnets that tell most about the others, given what known devices say of them."""
    rng = np.random.default_rng(seed)
    part = SpacePart(space, config.options)
    pool = part.space.sample_levels(POOL_PER_SUBNET * config.num_calibration, rng)
    embedded = part.embed(part.space.unique(pool))
    known = list(known_targets(space).values())
    count = min(config.num_calibration, len(embedded))
    rows = choose_samples(sample_features(space, embedded, known), count, rng)
    return [space.decode(genome) for genome in embedded[rows]]


def _finished(path: Path, windows: Path) -> bool:
    """Tell whether the profile at `path` was made from these windows."""
    if not (path.exists() and windows.exists()):
        return False
    try:
        profile = Profile.load(path)
        return profile.complete and profile.made_from.get("windows") == file_hash(windows)
    except InputError:  # damaged: what was measured serves again
        return False
