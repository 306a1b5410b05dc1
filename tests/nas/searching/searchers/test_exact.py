import re

import numpy as np
import pytest

from nas.searching.searchers import SEARCHERS, Known, Searcher, SearcherSettings
from nas.searching.searchers.exact import ExactSearcher, exact_start
from search_spaces import Dimension, SearchSpace
from tests.contracts.searcher_contract import SearcherContract, costs_of, rows, synthetic_space


class TestExact(SearcherContract):
    name = "exact"
    population = 12
    generations = 10
    many_generations = 12

    def searcher(self, space: SearchSpace, seed: int = 0, **settings) -> Searcher:
        return super().searcher(space, seed, **{"evaluations": 120, **settings})

    @pytest.mark.slow
    def test_what_was_told_is_never_proposed_again(self):
        super().test_what_was_told_is_never_proposed_again()

    @pytest.mark.slow
    def test_more_dominated_area_than_random_search(self):
        super().test_more_dominated_area_than_random_search()


def additive_costs(space: SearchSpace, population: np.ndarray) -> np.ndarray:
    """Two sums over the options, n x 2."""
    weights = np.random.default_rng(7).random((int(space.num_options.sum()), 2))
    return space.features(population) @ weights


def enumerable_space() -> SearchSpace:
    """1,080 architectures, with a chain of conditions."""
    return SearchSpace(
        "enumerable@1",
        [
            Dimension("a", (0, 1, 2)),
            Dimension("b", (0, 1, 2, 3)),
            Dimension("c", (0, 1, 2), ("a", frozenset({1, 2}))),
            Dimension("d", (0, 1), ("c", frozenset({2}))),
            *(Dimension(f"e{i}", (0, 1, 2)) for i in range(3)),
        ],
    )


def run(searcher: ExactSearcher, space: SearchSpace, generations: int) -> list[np.ndarray]:
    asked = []
    for _ in range(generations):
        asked.append(searcher.ask())
        costs = additive_costs(space, asked[-1])
        searcher.tell(asked[-1], costs, np.zeros(len(costs)))
    return asked


def build(space: SearchSpace, **settings: object) -> ExactSearcher:
    given = SearcherSettings(**{"population": 20, "evaluations": 200, **settings})
    searcher = SEARCHERS["exact"](space, np.random.default_rng(0), given)
    assert isinstance(searcher, ExactSearcher)
    return searcher


def test_the_best_network_of_an_additive_objective_is_the_first_solution():
    space = enumerable_space()
    everything = space.all_architectures()
    costs = additive_costs(space, everything)[:, :1]
    sample = space.sample_distinct(60, np.random.default_rng(1))
    best = costs.min()
    sample = sample[additive_costs(space, sample)[:, 0] > best]
    found = exact_start(
        space,
        sample,
        additive_costs(space, sample)[:, :1],
        np.zeros(len(sample)),
        3,
        np.random.default_rng(0),
    )
    known = {tuple(row) for row in sample.tolist()}
    others = [i for i in np.argsort(costs[:, 0]) if tuple(everything[i].tolist()) not in known]
    assert rows(found) == [tuple(everything[i].tolist()) for i in others[:3]]


def test_solutions_of_two_additive_objectives_are_non_dominated():
    space = enumerable_space()
    sample = space.sample_distinct(60, np.random.default_rng(1))
    within = np.zeros(len(sample))
    found = exact_start(
        space, sample, additive_costs(space, sample), within, 1, np.random.default_rng(0)
    )
    costs, everything = (additive_costs(space, p) for p in (found, space.all_architectures()))
    assert len(found) == 1
    assert not (everything < costs[0] - 1e-6).all(axis=1).any()


def test_a_sample_comes_first_and_then_better_networks():
    space = synthetic_space()
    asked = run(build(space, population=10, evaluations=150), space, 7)
    sampled, solved = np.concatenate(asked[:5]), np.concatenate(asked[5:])
    least = [additive_costs(space, p).sum(axis=1).min() for p in (sampled, solved)]
    assert least[1] < least[0] - 0.5


def test_what_is_known_to_exceed_a_limit_is_not_asked():
    space, limit = synthetic_space(), 3.0

    def known(population: np.ndarray) -> Known:
        costs = additive_costs(space, population)
        costs[:, 0] = np.nan
        return Known(costs, np.maximum(costs[:, 1] / limit - 1, 0))

    asked = np.concatenate(run(build(space, known=known, population=10, evaluations=60), space, 4))
    assert len(asked) > 30
    assert (additive_costs(space, asked)[:, 1] <= limit).all()


def test_notes_say_what_the_certificate_is_for():
    space = synthetic_space()
    searcher = build(space)
    assert "too few" in searcher.notes[0]
    for _ in range(5):
        population = searcher.ask()
        searcher.tell(population, costs_of(space, population), np.zeros(len(population)))
    (note,) = searcher.notes
    assert "optimal (gap 0) for an additive model of the options, not for the networks" in note
    ranks = [
        float(rank) for rank in re.findall(r"(?:the model|gaussian-process) (\S+?)(?:,|$)", note)
    ]
    assert len(ranks) == 2
    assert min(ranks) > 0.3


def test_seeds_for_another_searcher():
    space = synthetic_space()
    sample = space.sample_distinct(100, np.random.default_rng(0))
    costs, within = costs_of(space, sample), np.zeros(len(sample))
    start = exact_start(space, sample, costs, within, 8, np.random.default_rng(0))
    settings = SearcherSettings(population=12, start=start)
    asked = rows(SEARCHERS["nsga2"](space, np.random.default_rng(0), settings).ask())
    assert set(rows(start)) <= set(asked)
    assert len(start) == 8
