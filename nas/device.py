"""The device a search is for: its profile, and what measures on it where it is this machine."""

from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.artifact import file_hash
from hardware_profiles.profile import Profile
from hardware_profiles.runtimes import build_runtime
from hardware_profiles.runtimes.runtime import Runtime, RuntimeSettings
from hardware_profiles.store import profile_path
from hardware_profiles.target import Target
from nas.progress import say
from nas.run_directory import Run
from search_spaces import INPUT_SIZES, InputError, MissingExtraError, SearchSpace


@dataclass(frozen=True)
class Device:
    """A profile of the run's space. Without a runtime the device is elsewhere: nothing can be
    measured on it from here.
    """

    profile: Profile
    profile_sha256: str
    runtime: Runtime | None

    @property
    def target(self) -> Target:
        """What measurements hold for: this machine's where it is here, else the profile's."""
        return self.runtime.target if self.runtime else self.profile.target


def run_device(run: Run, name: str | None = None) -> Device:
    """Return the device of a run's own profile, or of a known profile by name or file.

    Raises:
        InputError: no such profile, a damaged one, one of another space; a run's own profile that
            was measured elsewhere.
    """
    if name is None and not run.profile_path.exists():
        raise InputError(
            f"{run.path} has no profile; make it with `nas profile measure {run.path}`"
        )
    path = run.profile_path if name is None else profile_path(name)
    profile = Profile.load(path)
    profile.check_space(run.space)
    _check_input_sizes(path, profile, run)
    for words in other_settings(profile, run.space):
        say(f"            {words}")
    runtime = local_runtime(profile.target)
    if name is None and runtime is None:
        raise InputError(
            f"{path} was measured on {profile.target}, which is not this machine; measure here "
            f"with `nas profile measure {run.path}`, or keep it and search with --device"
        )
    return Device(profile, file_hash(path), runtime)


def _check_input_sizes(path: Path, profile: Profile, run: Run) -> None:
    """Refuse a profile of longer or shorter inputs, whose every layer costs something else.

    Raises:
        InputError: both sizes are named.
    """
    for name in INPUT_SIZES:
        measured, wanted = profile.space_settings.get(name), run.space.settings.get(name)
        if measured != wanted:
            raise InputError(
                f"{path}: measured with {name} {measured}, this run has {wanted}; make one for it "
                f"with `nas profile measure {run.path}` or `nas profile kit {run.path}`"
            )


def other_settings(profile: Profile, space: SearchSpace) -> list[str]:
    """Say in which way a profile is of another member of the space's family, or of a part."""
    words = [
        f"the profile has {name} {profile.space_settings[name]}, this run {value}: "
        "the layers that differ are predicted"
        for name, value in space.settings.items()
        if profile.space_settings.get(name, value) != value
    ]
    words += [
        f"the profile covers {name} {', '.join(map(str, options))} only: the search keeps to it"
        for name, options in profile.options.items()
    ]
    if profile.noise is None and profile.subnets:
        words.append("the profile's noise is unknown: most subnets were timed in one pass only")
    if profile.missing:
        count = ", ".join(f"{n} {role.replace('_', ' ')}" for role, n in profile.missing.items())
        words.append(f"the profile is partial: {count} networks were not measured")
    return words


def local_runtime(target: Target) -> Runtime | None:
    """Return what measures on a target, if this machine is it; a newer runtime is warned of."""
    settings = RuntimeSettings(
        threads=target.threads,
        batch_size=target.batch_size,
        precision=target.precision,
        provider=target.provider if target.runtime == "onnxruntime" else "",
        cores=target.core_numbers,
    )
    try:
        runtime = build_runtime(target.runtime, settings)
    except (InputError, MissingExtraError):
        return None  # it cannot be, without the runtime or its device
    differences = runtime.target.differences(target)
    if differences == ["runtime_version"]:
        say(
            f"            warning: the profile was measured with {target.runtime} "
            f"{target.runtime_version}, this machine has {runtime.target.runtime_version}; "
            "latencies may differ: measure anew with `nas profile measure`"
        )
        return runtime
    return None if differences else runtime
