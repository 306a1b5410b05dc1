"""`run.json`: what made a run, and how far it is. Read without PyTorch, which takes seconds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hardware_profiles.artifact import Artifact, Frozen
from nas.config import Recipe, check_recipe
from search_spaces import InputError


class StageState(Frozen):
    """How a stage stands."""

    state: Literal["running", "done"]
    seconds: float


class RunFile(Artifact):
    """`run.json`: what made this run, and how far it is."""

    kind: Literal["run"] = "run"
    format: int = 2
    space: str
    recipe: Mapping[str, Any]
    seed: int
    versions: Mapping[str, str]
    host: str
    git: str | None
    data_sha256: str
    modality: str  # of the data: image, tokens or sequence
    settings: Mapping[str, int]  # of the space's builder, which follow from the data
    num_samples: Mapping[str, int]  # by split
    functions: Mapping[str, str] = {}  # SHA-256 of the source of the user's, by python: name
    stages: Mapping[str, StageState] = {}


def is_run(path: Path) -> bool:
    """Tell whether a path is a run directory."""
    return (path / "run.json").is_file()


def read_run_file(path: Path) -> tuple[Recipe, RunFile]:
    """Read what made the run of a directory.

    Raises:
        InputError: no run there, or its file is damaged.
    """
    if not is_run(path):
        raise InputError(f"{path} is not a run (no run.json in it); make one with `nas run`")
    file = RunFile.load(path / "run.json")
    try:
        return check_recipe(file.recipe), file
    except InputError as error:
        made_by = file.tool_version
        raise InputError(f"{path / 'run.json'} (written by version {made_by}): {error}") from None
