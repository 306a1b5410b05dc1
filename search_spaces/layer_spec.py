"""One block of a subnet as plain data: the unit of cost and of profiling."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search_spaces.errors import InputError, unknown_name
from search_spaces.layer_kind import TensorSpec
from search_spaces.layer_kinds import LAYER_KINDS

FieldValue = int | str
BYTES_PER_ELEMENT = 4  # memory is stated for fp32


@dataclass(frozen=True)
class LayerSpec:
    """Hyper-parameters and input size of one block.

    Fields are ints (sizes) or words (the activation), sorted by name, so that equal layers are
    equal values.
    """

    kind: str
    fields: tuple[tuple[str, FieldValue], ...]

    @classmethod
    def of(cls, kind: str, fields: Mapping[str, FieldValue]) -> "LayerSpec":
        """Build a spec and check that it has exactly the fields of its kind.

        Raises:
            InputError: an unknown kind, a field too many or missing, a size that is not a positive
                integer.
        """
        if kind not in LAYER_KINDS:
            raise unknown_name("layer kind", kind, LAYER_KINDS)
        expected = LAYER_KINDS[kind].fields
        if set(fields) != set(expected):
            raise InputError(f"{kind}: expected fields {sorted(expected)}, got {sorted(fields)}")
        for name, value in fields.items():
            least = 0 if name in LAYER_KINDS[kind].may_be_zero else 1
            right_type = isinstance(value, expected[name]) and not isinstance(value, bool)
            if not right_type or (isinstance(value, int) and value < least):
                noun = "a word" if expected[name] is str else f"an integer >= {least}"
                raise InputError(f"{kind}: expected {name} as {noun}, got {value!r}")
        return cls(kind, tuple(sorted(fields.items())))

    @cached_property
    def values(self) -> dict[str, Any]:
        """Field values by name."""
        return dict(self.fields)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors it reads, in order."""
        return LAYER_KINDS[self.kind].inputs(self.values)
