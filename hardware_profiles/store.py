"""Profiles by name: those that come with the tool, and the user's own."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from platformdirs import user_data_path

from hardware_profiles.profile import Profile
from hardware_profiles.target import Target
from search_spaces import InputError, unknown_name

BUILT_IN = Path(__file__).parent / "builtin"
PROVIDER = "ExecutionProvider"
MAX_NAME = 80  # characters; file systems take about 250 bytes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def user_profiles() -> Path:
    """Folder of the user's profiles: `NAS_PROFILES`, or the system's place for data."""
    given = os.environ.get("NAS_PROFILES")
    return Path(given) if given else user_data_path("supernet-engine") / "profiles"


def profile_paths() -> dict[str, Path]:
    """Return the file of every known profile by name; a user's replaces a built-in one."""
    found = {}
    for folder in (BUILT_IN, user_profiles()):
        for path in sorted(folder.glob("*.json")):
            found[path.stem] = path
    return dict(sorted(found.items()))


def profile_path(name: str) -> Path:
    """Return the file of a profile: a known name, or a file itself.

    Raises:
        InputError: an unknown name (the nearest known one is named).
    """
    if Path(name).is_file():
        return Path(name)
    paths = profile_paths()
    if name not in paths:
        raise unknown_name("profile", name, paths)
    return paths[name]


def known_path(name: str, target: Target, space: str) -> Path:
    """Return where a profile is kept among the user's under a name.

    Raises:
        InputError: no fit name for a file, or one that is taken by another target or space.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"expected a name of letters, digits, dots, dashes and underscores, got {name!r}"
        )
    path = user_profiles() / f"{name}.json"
    if path.exists():
        known = Profile.load(path)
        newer = known.target.differences(target) in ([], ["runtime_version"])
        if known.space != space or not newer:
            raise InputError(
                f"{name} is a profile of {known.space} on {known.target}; choose another --name"
            )
    return path


def profiles_of(space: str) -> Iterator[tuple[str, Profile]]:
    """Load every known profile of a space; damaged files are passed over."""
    for name, path in profile_paths().items():
        try:
            profile = Profile.load(path)
        except InputError:
            continue
        if profile.space == space:
            yield name, profile


def default_name(target: Target, space: str) -> str:
    """Make a name of what a profile is of: device, runtime, setting, space."""
    words = [
        re.sub(r"\(.*?\)|processor|cpu|@.*", "", target.device, flags=re.IGNORECASE),
        target.runtime if target.runtime != "onnxruntime" else "",
        re.sub("^CPU$", "", target.provider[: -len(PROVIDER)])
        if target.provider.endswith(PROVIDER)
        else "",
        "" if target.precision == "fp32" else target.precision,
        f"b{target.batch_size}" if target.batch_size > 1 else "",
        f"{target.threads}t" if not target.host else "",
        space.partition("@")[0],
    ]
    return (
        re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(words)).strip("-.").lower()[:MAX_NAME] or "device"
    )
