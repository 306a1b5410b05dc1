"""Files the tool writes: JSON with a stated kind and format, checked when read, never
half-written.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from search_spaces import InputError

FORMAT = 1


@cache
def tool_version() -> str:
    """Return the installed version of this project."""
    try:
        return version("supernet-engine")
    except PackageNotFoundError:
        return "unknown"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file in errors: those of a full disk name none, others a temporary one.

    Raises:
        OSError: as it came, but for the name.
    """
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary name, fsync, rename.

    Raises:
        OSError: it cannot be written; the file is named.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return sha256(path.read_bytes()).hexdigest()


def content_hash(value: object) -> str:
    """SHA-256 of plain data, whatever the order of its keys."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def describe(error: ValidationError) -> str:
    """Say in one line what the first problem of a validated model is."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":  # one of ours, which says what came
        return f"{place}: {first['ctx']['error']}" if place else str(first["ctx"]["error"])
    if not place:
        return first["msg"]
    got = "" if isinstance(first["input"], dict) else f", got {str(first['input'])[:60]!r}"
    return f"{place}: {first['msg']}{got}"


class Frozen(BaseModel):
    """Base of everything that is written to files: unknown keys and numbers like NaN are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Artifact(Frozen):
    """Base of every JSON file, which says what it is and which version wrote it."""

    format: int = FORMAT
    kind: str
    tool_version: str = Field(default_factory=tool_version)

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        write_atomic(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the contents of the file."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check the file.

        Raises:
            InputError: absent, truncated, of another kind, of an unknown format, or with bad
                values.
        """
        data = read_json(path)
        expected = cls.model_fields["kind"].default
        if not isinstance(data, dict) or data.get("kind") != expected:
            found = data.get("kind") if isinstance(data, dict) else type(data).__name__
            raise InputError(f"{path}: expected a file of kind {expected!r}, got {found!r}")
        known = cls.model_fields["format"].default
        if data.get("format") != known:
            raise InputError(
                f"{path}: format {data.get('format')} written by version "
                f"{data.get('tool_version')}; this is {tool_version()}, which reads format {known}"
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError(f"{path}: {describe(error)}") from None


def read_json(path: Path) -> object:
    """Read a JSON file.

    Raises:
        InputError: absent, or not JSON (truncated, say).
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(
            f"{path}: damaged, not readable as JSON ({error}); bring back a copy or make it again"
        ) from None
