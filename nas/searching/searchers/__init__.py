"""Searchers: one a file, all of them by name."""

import numpy as np

from nas.searching.searchers.auto import AutoSearcher
from nas.searching.searchers.bayesian import BayesianSearcher
from nas.searching.searchers.evolution import constrained_evolution, regularised_evolution
from nas.searching.searchers.exact import ExactSearcher
from nas.searching.searchers.linas import LinasSearcher
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
from search_spaces import SearchSpace


def _optuna(method: str) -> SearcherBuilder:
    """Return the builder of a searcher that imports optuna only where it is used."""

    def build(space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings) -> Searcher:
        from nas.searching.searchers.optuna_search import OptunaSearcher

        return OptunaSearcher(space, rng, settings, method)

    return build


def _auto(space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings) -> Searcher:
    return AutoSearcher(space, rng, settings, SEARCHERS)


SEARCHERS: dict[str, SearcherBuilder] = {
    "auto": _auto,
    "random": RandomSearcher,
    "local-search": LocalSearcher,
    "regularised-evolution": regularised_evolution,
    "constrained-evolution": constrained_evolution,
    "nsga2": NSGA2Searcher,
    "exact": ExactSearcher,
    "bayesian": BayesianSearcher,
    "linas": LinasSearcher,
    "optuna-gp": _optuna("gp"),
    "optuna-nsga2": _optuna("nsga2"),
    "optuna-tpe": _optuna("tpe"),
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
