"""Searchers: one a file, all of them by name."""

from nas.searching.searchers.evolution import constrained_evolution, regularised_evolution
from nas.searching.searchers.local_search import LocalSearcher
from nas.searching.searchers.nsga2 import NSGA2Searcher
from nas.searching.searchers.random import RandomSearcher
from nas.searching.searchers.searcher import (
    Costs,
    Known,
    Searcher,
    SearcherBuilder,
    SearcherSettings,
    Violations,
)

SEARCHERS: dict[str, SearcherBuilder] = {
    "random": RandomSearcher,
    "local-search": LocalSearcher,
    "regularised-evolution": regularised_evolution,
    "constrained-evolution": constrained_evolution,
    "nsga2": NSGA2Searcher,
}
"""Name -> builder(space, rng, settings)."""

__all__ = [
    "SEARCHERS",
    "Costs",
    "Known",
    "Searcher",
    "SearcherBuilder",
    "SearcherSettings",
    "Violations",
]
