"""What every operation of torch does to axes, and the step of a program that it becomes.

A rule gets the reader and the operation's arguments, and returns the value it gives; what it cannot
express it leaves (None) to `Reader.other`.
"""

from search_spaces.conversion.rules.joining import JOINING_RULES
from search_spaces.conversion.rules.layout import LAYOUT_RULES
from search_spaces.conversion.rules.plain import PLAIN_RULES
from search_spaces.conversion.rules.weighted import WEIGHTED_RULES, Rule

RULES: dict[str, Rule] = {**WEIGHTED_RULES, **PLAIN_RULES, **JOINING_RULES, **LAYOUT_RULES}
"""By the operation's name in torch."""
