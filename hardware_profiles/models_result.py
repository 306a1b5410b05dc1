"""What a device brings back of a few model files: measured there, checked here."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from hardware_profiles.artifact import FORMAT, Frozen, describe, read_json, tool_version
from hardware_profiles.kit import ResultItem
from hardware_profiles.plan import check_distinct
from hardware_profiles.profile_device import checksum
from hardware_profiles.target import Target
from search_spaces import InputError


class MeasuredModel(ResultItem):
    """What the device says of one file; its id is the file's name there."""

    file_sha256: str


class ModelsResult(Frozen):
    """`result.json` of `profile_device.py --models ... --out result.json`."""

    format: Literal[1]
    kind: Literal["models-result"]
    target: Target
    created: str
    items: Annotated[tuple[MeasuredModel, ...], Field(min_length=1)]
    sha256: str

    @model_validator(mode="after")
    def _distinct(self) -> "ModelsResult":
        check_distinct(item.id for item in self.items)
        return self


def read_models_result(path: Path) -> ModelsResult:
    """Read and check what a device brought back.

    Raises:
        InputError: damaged or edited, of another kind or format, or values that cannot be.
    """
    data = read_json(path)
    if not isinstance(data, dict) or data.get("kind") != "models-result":
        kit = isinstance(data, dict) and data.get("kind") == "kit-result"
        hint = "; this one is a kit's: nas profile import takes it" if kit else ""
        raise InputError(
            f"{path}: expected the result.json of profile_device.py --models FILE --out "
            f"result.json{hint}"
        )
    if data.get("format") != FORMAT:
        raise InputError(
            f"{path}: format {data.get('format')}; this is {tool_version()}, which reads format "
            f"{FORMAT}; measure with the profile_device.py of the folder"
        )
    if data.get("sha256") != checksum(data):
        raise InputError(
            f"{path}: its checksum is wrong: it was changed after it was measured; copy it again"
        )
    try:
        return ModelsResult.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error)}") from None
