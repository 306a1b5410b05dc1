"""Functions that a user names as `python:package.module:function`."""

import inspect
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
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
    except (Exception, SystemExit) as error:  # whatever its module does on import
        raise InputError(
            f"{text}: expected python:package.module:function that can be imported: "
            f"{in_one_line(error)}"
        ) from error
    finally:
        if "" in sys.path:
            sys.path.remove("")
    if not callable(function):
        raise InputError(f"{text}: expected a function, got {type(function).__name__}")
    named: Callable[..., Any] = function
    return named


def source_sha256(text: str) -> str | None:
    """Hash the file that the named function was written in; None where it has none (C, say).

    Raises:
        InputError: as `python_function`.
    """
    try:
        path = inspect.getsourcefile(inspect.unwrap(python_function(text)))
        return sha256(Path(path).read_bytes()).hexdigest() if path else None
    except (TypeError, OSError):
        return None


def call(name: str, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Call a user's function.

    Args:
        name: as in the recipe, for the message.

    Raises:
        InputError: the function raised; its error is the cause.
    """
    try:
        return function(*arguments, **settings)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{name}: the function raised {in_one_line(error)}") from error


def in_one_line(error: BaseException) -> str:
    """Return the type of an error and the first line of what it says."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
