"""What the sections of a recipe have in common."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from search_spaces import InputError
from search_spaces.python_name import PREFIX, is_python_name

PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Option = TypeVar("Option")


class Section(BaseModel):
    """Base of every section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


def function_name(name: str) -> str:
    """Check the form of a `python:` name; whether it is there is seen where it is used."""
    if is_python_name(name) and not all(name.removeprefix(PREFIX).partition(":")):
        raise InputError(f"expected python:package.module:function, got {name!r}")
    return name


def chosen(option: Option | None) -> Option:
    """Return an option of what was chosen, which is never None."""
    assert option is not None
    return option
