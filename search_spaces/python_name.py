"""Functions that a user names as `python:package.module:function`."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from search_spaces.errors import InputError

PREFIX = "python:"


def is_python_name(text: str) -> bool:
    """Tell whether a text names a function of the user's."""
    return text.startswith(PREFIX)


def python_function(text: str) -> Callable[..., Any]:
    """Import the function that `python:package.module:function` names; its module's code runs.

    Raises:
        InputError: another form, or nothing that can be imported and called.
    """
    module_name, _, function_name = text.removeprefix(PREFIX).partition(":")
    sys.path.insert(0, "")  # a module beside the user counts, as under `python -m`
    try:
        function = getattr(import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError, TypeError, SyntaxError) as error:
        raise InputError(
            f"{text}: expected python:package.module:function that can be imported: {error}"
        ) from None
    finally:
        sys.path.remove("")
    if not callable(function):
        raise InputError(f"{text}: expected a function, got {type(function).__name__}")
    named: Callable[..., Any] = function
    return named
