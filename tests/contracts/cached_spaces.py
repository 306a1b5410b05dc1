"""The spaces of the catalogue, each built once: they are immutable, and large ones take a while."""

from functools import cache

from search_spaces import build_space

cached_space = cache(build_space)
