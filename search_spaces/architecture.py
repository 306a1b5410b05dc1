"""One canonical choice, as an immutable value: what files and people see."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

Value = int | float | str | bool


@dataclass(frozen=True)
class Architecture:
    """One architecture: the options of its active dimensions, in the order of the space.

    Built by `SearchSpace.architecture` or `SearchSpace.decode`, which check it; two equal choices
    are equal values.
    """

    space: str  # versioned name, "mobilenet-digits@1"
    choices: tuple[tuple[str, Value], ...]

    @cached_property
    def id(self) -> str:
        """Short name (10 hexadecimal digits), stable across machines and versions of the tool."""
        text = json.dumps([self.space, self.choices], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def values(self) -> Mapping[str, Value]:
        """Option by dimension name, active dimensions only."""
        return dict(self.choices)

    def to_json(self) -> dict[str, object]:
        """Return plain data; `SearchSpace.architecture(data["values"])` reads it back."""
        return {"space": self.space, "id": self.id, "values": dict(self.choices)}

    def __str__(self) -> str:
        return self.id
