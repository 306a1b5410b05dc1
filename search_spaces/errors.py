"""Errors a user can cause, and one way to say "unknown name"."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input: the message says what was expected, what came and the way out (exit code 2)."""


class InfeasibleError(InputError):
    """No architecture can satisfy the limits; the message states what is reachable (exit code
    2).
    """


class ParityError(RuntimeError):
    """A file or a subnet answers differently from what it was made from (exit code 1)."""


class UnfinishedError(RuntimeError):
    """Work was ended when its time was over; the same command goes on with it (exit code 4)."""


class MissingExtraError(ImportError):
    """An optional library is absent; the message names the extra that brings it (exit code 3)."""


def unknown_name(noun: str, name: object, known: Iterable[object]) -> InputError:
    """Build the error for a name that is not one of `known`, naming the nearest valid one."""
    names = [str(item) for item in known]
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return InputError(f"unknown {noun} {str(name)!r}; {hint}")
