"""New architectures that keep the limits which are known before anything is evaluated."""

import numpy as np

from nas.searching.searchers.proposed import Proposed
from nas.searching.searchers.searcher import SearcherSettings
from search_spaces import Population

MAX_ROUNDS = 20  # of drawing
DRAWN = 4  # times as many as are wanted


def draw_feasible(
    proposed: Proposed, n: int, rng: np.random.Generator, settings: SearcherSettings
) -> Population:
    """Draw `n` new architectures at random that keep the known limits.

    Uniform options hardly reach the ends of a cost's range, so that every second round spreads from
    the smallest architecture to the largest. Where so few are found, those that exceed the limits
    least make up the number; where hardly any new ones are left, they are fewer.
    """
    found = proposed.draw(n, rng)
    if settings.known is None:
        return found
    violations = settings.known_violations(found)
    for number in range(MAX_ROUNDS):
        if (violations == 0).sum() >= n:
            break
        drawn = proposed.draw(DRAWN * n, rng, levels=number % 2 == 0)
        found = proposed.fresh(np.concatenate([found, drawn]))
        violations = settings.known_violations(found)
        best = np.argsort(violations, kind="stable")[:n]
        found, violations = found[best], violations[best]
    return found
