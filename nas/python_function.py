"""Calling functions of the user's own, named `python:package.module:function` in a recipe."""

from collections.abc import Callable
from typing import Any

from search_spaces import InputError


def call(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a user's function.

    Args:
        name: as in the recipe, for the message.

    Raises:
        InputError: the function raised; its error is the cause.
    """
    try:
        return function(*arguments)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(f"{name}: the function raised {type(error).__name__}: {first}") from error
