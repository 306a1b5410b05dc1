import numpy as np
import pytest

from nas.searching.loop import LoopSettings, Progress, search_loop
from nas.searching.pareto import hypervolume, non_dominated
from nas.searching.problem import Evaluation, Limit, SearchProblem
from nas.searching.quantity import Estimate, Quantity, measured
from nas.searching.searchers import SEARCHERS, SearcherSettings
from search_spaces import Dimension, InfeasibleError, InputError, SearchSpace
from search_spaces.part import SpacePart

SPACE = SearchSpace("few@1", [Dimension(f"d{i}", (0, 1, 2, 3)) for i in range(4)])


def of(formula, name="x") -> Quantity:
    def estimate(population):
        values = formula(population.astype(float))
        return Estimate(values, values)

    return Quantity(name, "", estimate)


def up(population):
    return population.sum(axis=1)


def down(population):
    return 12 - population.sum(axis=1)


def searcher(population=16, num_objectives=2):
    settings = SearcherSettings(num_objectives=num_objectives, population=population)
    return SEARCHERS["nsga2"](SPACE, np.random.default_rng(0), settings)


def problem(*objectives: Quantity, limits=()) -> SearchProblem:
    return SearchProblem(SpacePart(SPACE, {}), objectives, limits)


TWO = problem(of(up, "up"), of(down, "down"))


# --- what ends it ---------------------------------------------------------------------------------


def test_no_more_evaluations_than_allowed():
    outcome = search_loop(TWO, searcher(), LoopSettings(evaluations=40))
    assert outcome.num_evaluations == 40, "the last generation is cut short"
    assert outcome.stopped == "evaluations"


def test_a_space_that_holds_fewer_ends_and_says_so():
    outcome = search_loop(TWO, searcher(), LoopSettings(evaluations=10_000))
    assert outcome.num_evaluations == SPACE.num_architectures == 256
    assert outcome.stopped == "exhausted"


def test_a_stalled_search_ends():
    flat = problem(of(lambda p: np.ones(len(p)), "one"), of(lambda p: np.ones(len(p)), "two"))
    outcome = search_loop(flat, searcher(), LoopSettings(evaluations=250, stall=32))
    assert outcome.stopped == "stalled"
    assert outcome.num_evaluations == 48, "16 that moved the front, then 32 that did not"


def test_time_ends_it_after_the_generation_that_is_under_way():
    outcome = search_loop(TWO, searcher(), LoopSettings(evaluations=250, seconds=1e-9))
    assert outcome.stopped == "time"
    assert outcome.num_evaluations == 16


# --- progress -------------------------------------------------------------------------------------


def test_callbacks_see_the_front_as_it_grows():
    seen = []

    def remember(progress):
        seen.append((progress.evaluations, progress.best, progress.hypervolume()))

    product = of(lambda p: (1 + p[:, 0]) * (4 - p[:, 1]) + p[:, 2], "first")
    mixed = problem(product, of(lambda p: 20 - p[:, 0] - p[:, 1] ** 2, "second"))
    outcome = search_loop(mixed, searcher(), LoopSettings(evaluations=200), callbacks=[remember])
    evaluations, best, area = zip(*seen, strict=True)
    assert evaluations == (*range(16, 200, 16), 200)
    assert list(best) == sorted(best, reverse=True)
    assert list(area) == sorted(area)
    assert area[-1] == pytest.approx(outcome.hypervolume(mixed.reference()))


def test_the_front_of_progress_is_the_front_of_everything():
    rng = np.random.default_rng(0)
    for width in (1, 2, 3):
        progress, every = Progress(np.ones(width)), []
        for _ in range(6):
            costs = rng.integers(0, 6, (20, width)) / 6
            violations = (rng.random(20) < 0.3).astype(float)
            progress.add(Evaluation(costs, violations))
            every.append(costs[violations == 0])
        all_costs = np.concatenate(every)
        expected = np.unique(all_costs[non_dominated(all_costs)], axis=0)
        np.testing.assert_array_equal(np.unique(progress.front, axis=0), expected)
        assert progress.hypervolume() == pytest.approx(hypervolume(all_costs, np.ones(width)))


# --- what fails -----------------------------------------------------------------------------------


def failing(share: float) -> Quantity:
    """NaN for about that share of the architectures."""

    def formula(population):
        fails = population @ np.array([1, 5, 7, 11]) % 20 < 20 * share
        return np.where(fails, np.nan, population.sum(axis=1))

    return of(formula, "fragile")


def test_failed_evaluations_are_counted_and_the_search_goes_on():
    outcome = search_loop(
        problem(failing(0.2), of(down)), searcher(), LoopSettings(evaluations=150)
    )
    assert 10 < outcome.num_failed < 60
    assert np.isfinite(outcome.costs).all()
    assert outcome.num_evaluations == 150
    assert len(outcome.population) == 150 - outcome.num_failed


def test_too_many_failures_end_it_with_an_error():
    with pytest.raises(InputError, match=r"of 16 evaluations failed, more than 50%"):
        search_loop(problem(failing(0.9), of(down)), searcher(), LoopSettings(evaluations=150))


def test_evaluations_that_all_fail_are_no_matter_of_limits():
    with pytest.raises(InputError, match="all 4 evaluations failed"):
        search_loop(problem(failing(2.0), of(down)), searcher(4), LoopSettings(evaluations=4))


@pytest.mark.parametrize("fails", [lambda p: p[:, 0] == 0, lambda p: p.sum(axis=1) == 12])
def test_a_limit_that_is_unknown_at_one_end_is_still_within_reach(fails):
    quantity = of(lambda p: np.where(fails(p), np.nan, p.sum(axis=1)), "patchy")
    problem(of(up), limits=[Limit(quantity, 5.0)]).check_feasible()
    with pytest.raises(InfeasibleError, match="the least one has"):
        problem(of(up), limits=[Limit(quantity, -1.0)]).check_feasible()


def test_a_limit_behind_a_ridge_is_within_reach():
    """From both ends every step leads up before it leads down."""
    ridge = of(lambda p: np.minimum(p.sum(axis=1), 12 - p.sum(axis=1)) + 3.0, "ridge")
    valley = of(lambda p: np.where(p.sum(axis=1) == 6, 0.0, ridge(p).value), "valley")
    problem(of(up), limits=[Limit(valley, 1.0)]).check_feasible()


def test_what_was_evaluated_before_belongs_to_the_outcome_and_is_not_counted():
    calls = []

    def measure(population):
        calls.append(population)
        return up(population.astype(float))[:, None]

    asked = problem(measured("quality"), of(down, "down"))
    before = SPACE.smallest()
    outcome = search_loop(asked, searcher(), LoopSettings(20), measure, earlier=before)
    assert outcome.num_evaluations == 20
    assert len(outcome.population) == 21
    assert outcome.population[0].tolist() == [0, 0, 0, 0]
    alone = search_loop(asked, searcher(), LoopSettings(0), measure, earlier=before)
    np.testing.assert_array_equal(alone.population, before)
    assert alone.num_evaluations == 0


def test_a_bound_that_is_unknown_keeps_no_limit():
    asked = problem(of(up), of(down), limits=[Limit(failing(0.5), 100.0)])
    outcome = search_loop(asked, searcher(), LoopSettings(evaluations=100))
    assert np.isfinite(failing(0.5)(outcome.population).value).all()
    assert len(outcome.population) < 100


def test_nothing_within_the_limits_is_an_error_with_the_closest():
    asked = problem(of(up), of(down), limits=[Limit(of(up), 5.0), Limit(of(down), 5.0)])
    with pytest.raises(InfeasibleError, match=r"together \(x up to 5, x up to 5\); the closest"):
        search_loop(asked, searcher(), LoopSettings(evaluations=100))


# --- measured objectives --------------------------------------------------------------------------


def test_what_is_measured_fills_its_column_and_the_rest_is_estimated():
    asked = problem(measured("quality"), of(down, "down"))
    assert asked.measured == ("quality",)
    known = asked.known(SPACE.largest())
    assert np.isnan(known.costs[0, 0])
    assert known.costs[0, 1] == 0
    calls = []

    def measure(population):
        calls.append(len(population))
        return up(population.astype(float))[:, None]

    outcome = search_loop(asked, searcher(), LoopSettings(evaluations=50), measure)
    assert sum(calls) == 50
    np.testing.assert_array_equal(outcome.costs[:, 0], up(outcome.population))
    np.testing.assert_array_equal(outcome.costs[:, 1], down(outcome.population))


def test_a_measured_quantity_cannot_be_limited_or_estimated():
    with pytest.raises(AssertionError, match="limit"):
        problem(of(up), limits=[Limit(measured("quality"), 1.0)])
    with pytest.raises(AssertionError, match="measured first"):
        problem(measured("quality")).evaluate(SPACE.smallest())
