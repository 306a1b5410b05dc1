"""Out of memory, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from search_spaces import InputError


@contextmanager
def memory_for(what: str, way_out: str) -> Iterator[None]:
    """Say what to lower where memory runs out.

    Raises:
        InputError: it did.
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and "alloc" not in str(error):
            raise
        raise InputError(f"out of memory {what}; {way_out}") from None
