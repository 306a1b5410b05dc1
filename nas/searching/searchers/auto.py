"""The searcher that suits a space, the evaluations allowed and the number of objectives."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nas.searching.searchers.proposed import ENUMERABLE
from nas.searching.searchers.searcher import (
    Costs,
    Searcher,
    SearcherBuilder,
    SearcherSettings,
    Violations,
)
from search_spaces import Population, SearchSpace

# A Bayesian searcher takes a fraction of a second an answer, which grows with the evaluations: too
# long where predictors answer, nothing where networks are measured
MOST_BAYESIAN = 1000


class AutoSearcher:
    """Chooses one of the searchers, and says why.

    Args:
        searchers: to choose from, by name.
    """

    def __init__(
        self,
        space: SearchSpace,
        rng: np.random.Generator,
        settings: SearcherSettings,
        searchers: Mapping[str, SearcherBuilder],
    ) -> None:
        self.choice = choose_searcher(space, settings)
        self._searcher: Searcher = searchers[self.choice.name](space, rng, settings)

    def ask(self) -> Population:
        """Return what the chosen searcher proposes."""
        return self._searcher.ask()

    def tell(self, population: Population, costs: Costs, violations: Violations) -> None:
        """Tell the chosen searcher."""
        self._searcher.tell(population, costs, violations)

    @property
    def notes(self) -> tuple[str, ...]:
        """Why it was chosen, and what it has to say itself."""
        return (f"searcher {self.choice.name}: {self.choice.reason}", *self._searcher.notes)


@dataclass(frozen=True)
class Choice:
    """A searcher and why."""

    name: str
    reason: str


def choose_searcher(space: SearchSpace, settings: SearcherSettings) -> Choice:
    """Choose by the size of the space, the evaluations, what is measured and the objectives."""
    if settings.storage is not None:
        return Choice("optuna-tpe", "the study is shared, which only searchers of optuna can")
    allowed = settings.evaluations
    if (networks := _num_networks(space)) <= allowed:
        return Choice("random", f"all {networks:,} networks can be evaluated")
    of_networks = f"{allowed:,} evaluations in a space of {_size(networks)}"
    if not settings.measured:
        of_networks += ", all of them predicted"
    elif allowed <= MOST_BAYESIAN:
        return Choice("bayesian", f"{of_networks}: every one should be the most useful")
    if settings.num_objectives > 1:
        return Choice("nsga2", f"{of_networks} and {settings.num_objectives} objectives")
    return Choice("regularised-evolution", f"{of_networks} and one objective")


def _num_networks(space: SearchSpace) -> int:
    """Count distinct networks; of a large space, its architectures."""
    if space.num_architectures > ENUMERABLE:
        return space.num_architectures
    return len(space.unique(space.all_architectures()))


def _size(count: int) -> str:
    return f"{count:,}" if count < 10**6 else f"{float(count):.1g}"
