"""Real texts that are on every machine: docstrings of installed libraries, read, not imported."""

import ast
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from zlib import crc32

from search_spaces import InputError

LIBRARIES = ("matplotlib", "numpy", "scipy", "sklearn", "sympy", "torch")
PER_LIBRARY = 1500
LEAST_WORDS, LEAST_LETTERS = 6, 0.7
SKIPPED_FOLDERS = {"test", "tests", "testing", "_vendor", "externals"}
MARKS = (">>>", "..", "---", "===", "-", "*", ":", "|", "$", "@")  # of what is no sentence


def docstrings() -> tuple[list[str], list[int], tuple[str, ...]]:
    """Return paragraphs of docstrings, the library each is of (a number), and the libraries.

    Up to 1,500 of every library, each paragraph once; the order follows from the files alone.

    Raises:
        InputError: fewer than two of the libraries are installed as source.
    """
    texts: list[str] = []
    labels: list[int] = []
    names: list[str] = []
    seen: set[str] = set()
    for library in LIBRARIES:
        found = _paragraphs(library, seen)
        if found:
            labels += [len(names)] * len(found)
            texts += found
            names.append(library)
    if len(names) < 2:
        raise InputError(
            f"docstrings: expected two or more of {', '.join(LIBRARIES)} installed with their "
            f"source, got {', '.join(names) or 'none'}"
        )
    return texts, labels, tuple(names)


def _paragraphs(library: str, seen: set[str]) -> list[str]:
    """Return up to 1,500 paragraphs that are not in `seen`, and put them there."""
    found: list[str] = []
    for path in _files(library):
        for text in _docstrings_of(path):
            for paragraph in text.split("\n\n"):
                words = paragraph.split()
                cleaned = " ".join(words)
                if _is_prose(cleaned, len(words)) and cleaned not in seen:
                    seen.add(cleaned)
                    found.append(cleaned)
                    if len(found) == PER_LIBRARY:
                        return found
    return found


def _files(library: str) -> list[Path]:
    """Return the source files of a library in an order that mixes its parts, always the same."""
    spec = find_spec(library)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        root = Path(folder)
        names = [path.relative_to(root) for path in root.rglob("*.py")]
        kept = [name for name in names if not SKIPPED_FOLDERS & set(name.parts)]
        kept.sort(key=lambda name: (crc32(name.as_posix().encode()), name))
        return [root / name for name in kept]
    return []


def _docstrings_of(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of their syntax
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield text


def _is_prose(text: str, num_words: int) -> bool:
    letters = sum(character.isalpha() or character == " " for character in text)
    return (
        num_words >= LEAST_WORDS
        and not text.startswith(MARKS)
        and "---" not in text
        and letters >= LEAST_LETTERS * len(text)
    )
