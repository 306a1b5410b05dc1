"""Functions of the user's own, named `python:package.module:function` in a recipe."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from search_spaces import InputError

PREFIX = "python:"


def python_function(name: str) -> Callable[..., Any]:
    """Import the function that `python:package.module:function` names.

    Its module is found on the import path or in the current folder; importing it runs its code.

    Raises:
        InputError: no such module or function, or something there that cannot be called.
    """
    module_name, _, function_name = name.removeprefix(PREFIX).partition(":")
    sys.path.insert(0, "")  # a module beside the user counts, as under `python -m`
    try:
        function = getattr(import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError, TypeError, SyntaxError) as error:
        raise InputError(
            f"{name}: expected python:package.module:function that can be imported: {error}"
        ) from None
    finally:
        sys.path.remove("")
    if not callable(function):
        raise InputError(f"{name}: expected a function, got {type(function).__name__}")
    return function  # type: ignore[no-any-return]


def call(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a user's function.

    Raises:
        InputError: the function raised; its error is the cause.
    """
    try:
        return function(*arguments)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(f"{name}: the function raised {type(error).__name__}: {first}") from error
