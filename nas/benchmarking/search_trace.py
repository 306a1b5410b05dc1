"""One search of a published table, evaluation by evaluation."""

import numpy as np

from nas.benchmarking.table_objectives import TableObjectives
from nas.searching.searchers import Costs, Searcher

MAX_STALE = 1000  # answers in a row without a new network, before a search counts as ended


def evaluated(
    searcher: Searcher,
    objectives: TableObjectives,
    evaluations: int,
    stop_at: float | None = None,
) -> Costs:
    """Ask, look up and tell; return the costs of the distinct networks, n x m, in order.

    Args:
        searcher: new; it proposes at least one architecture.
        evaluations: distinct networks at most.
        stop_at: end once the first cost is as low as this.
    """
    costs_seen: list[Costs] = []
    is_seen = np.zeros(len(objectives.of_networks), dtype=np.bool_)
    count = stale = 0
    while count < evaluations and stale < MAX_STALE:
        population = searcher.ask()
        if not len(population):
            break
        costs, networks = objectives.evaluate(population), objectives.networks(population)
        searcher.tell(population, costs, np.zeros(len(population)))
        first = np.sort(np.unique(networks, return_index=True)[1])
        new = first[~is_seen[networks[first]]]
        is_seen[networks] = True
        costs_seen.append(costs[new])
        count += len(new)
        stale = 0 if len(new) else stale + 1
        if stop_at is not None and costs[:, 0].min() <= stop_at:
            break
    return np.concatenate(costs_seen)[:evaluations]
