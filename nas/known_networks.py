"""Spaces of the user's own networks that known profiles are of, kept beside them."""

from collections.abc import Mapping
from pathlib import Path

from hardware_profiles.artifact import write_atomic
from hardware_profiles.store import user_profiles
from nas.run_directory import NETWORK_NAME
from nas.run_file import is_run
from search_spaces import SearchSpace, build_space
from search_spaces.catalogue import FILE_PREFIX, is_file_name
from search_spaces.conversion.space_file import SPACE_NAME, read_plan, read_space


def keep_network(space_or_run: str) -> None:
    """Keep the space of a network that was made elastic, so that profiles of it can be read
    wherever it lies later; nothing for other spaces.
    """
    folder = Path(space_or_run.removeprefix(FILE_PREFIX))
    if is_run(folder):
        folder = folder / NETWORK_NAME
    elif not is_file_name(space_or_run):
        return
    if folder.exists():
        content = (folder / SPACE_NAME).read_bytes()
        write_atomic(_kept(read_plan(folder).name) / SPACE_NAME, content)


def profiled_space(name: str, settings: Mapping[str, int]) -> SearchSpace:
    """Build the space that a profile or a kit names.

    Raises:
        InputError: it is neither in the catalogue nor a kept network's.
    """
    if _kept(name).exists():
        return read_space(_kept(name), settings)
    return build_space(name.partition("@")[0], **settings)


def _kept(name: str) -> Path:
    return user_profiles() / "networks" / Path(name).name
