"""Append-only JSON lines that survive being killed in the middle of one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hardware_profiles.artifact import describe, writing
from search_spaces import InputError

Record = TypeVar("Record", bound=BaseModel)


class AppendLog:
    """One JSON object a line; each `append` reaches the disk before it returns.

    A torn last line (the writer was killed) is dropped when reading and cut off before the next
    append. A broken line anywhere else is an error: the file was edited or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record.

        Raises:
            OSError: it cannot be written; the file is named.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._cut_torn_line()
        with writing(self.path), self.path.open("ab") as file:
            file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """Return all whole records, oldest first; none where the file is absent.

        Raises:
            InputError: a line before the last is not a JSON object.
        """
        if not self.path.exists():
            return []
        records = []
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                raise InputError(
                    f"{self.path}: line {number} is damaged ({error}); remove that line"
                ) from None
            records.append(record)
        return records

    def read_as(self, model: type[Record]) -> list[Record]:
        """Return all whole records, checked.

        Raises:
            InputError: a damaged line, or one that is no such record; file and field are named.
        """
        try:
            return [model.model_validate(record) for record in self.read()]
        except ValidationError as error:
            raise InputError(f"{self.path}: {describe(error)}; remove that line") from None

    def keep_first(self, count: int) -> None:
        """Drop all but the first `count` records."""
        lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        if len(lines) > count:
            with self.path.open("r+b") as file:
                file.truncate(sum(len(line) + 1 for line in lines[:count]))

    def _cut_torn_line(self) -> None:
        if not self.path.exists() or not self.path.stat().st_size:
            return
        with self.path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # only then is the whole file looked at
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
