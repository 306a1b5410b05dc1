"""The text form in which cells are published: a Python expression, read without running it."""

import ast
import re
from typing import Any, TypeGuard

from search_spaces.errors import InputError

MOST_NODES = 99  # of a range


def genotype_parts(text: str) -> dict[str, Any]:
    """Read `NAME = Genotype(keyword=literal, ...)`, the name being optional; ranges are literals.

    Raises:
        InputError: anything else.
    """
    expression = re.sub(r"^\s*\w+\s*=(?!=)", "", text).strip()
    try:
        call = ast.parse(expression, mode="eval").body
    except (SyntaxError, MemoryError):
        call = None
    if _is_call(call, "Genotype") and not call.args:
        return {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}
    raise InputError("expected Genotype(normal=[('sep_conv_3x3', 0), ...], ...)")


def _literal(node: ast.expr) -> Any:
    if _is_call(node, "range") and not node.keywords and len(node.args) == 2:
        start, stop = (ast.literal_eval(argument) for argument in node.args)
        if 0 <= start <= stop <= MOST_NODES:
            return list(range(start, stop))
    return ast.literal_eval(node)


def _is_call(node: object, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
