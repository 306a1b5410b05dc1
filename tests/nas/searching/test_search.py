import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.config import SearchConfig
from nas.searching.pareto import hypervolume, non_dominated
from nas.searching.problem import Limits, SearchProblem, descend
from nas.searching.search import search
from predictors.predictor import Prediction
from search_spaces import Dimension, InfeasibleError, InputError, SearchSpace, build_space
from search_spaces.part import SpacePart

CONFIG = SearchConfig(population=24, generations=8)


class ByCost:
    """A predictor that knows: a formula on the analytic costs."""

    def __init__(self, formula, spread=0.0):
        self.formula, self.spread, self.calls = formula, spread, 0

    def fit(self, population, targets):
        raise AssertionError("it knows already")

    def predict(self, population):
        self.calls += 1
        mean = self.formula(population)
        return Prediction(mean, np.abs(mean) * self.spread)


@pytest.fixture
def problem(space):
    """Loss falls with the parameters, milliseconds rise with the MACs."""
    costs = space.layers.costs

    def build(limits=Limits(), coverage=0.9, spread=0.1):  # noqa: B008
        loss = ByCost(lambda population: 1e5 / costs(population).num_params)
        latency = ByCost(lambda population: costs(population).macs / 1e6, spread)
        return SearchProblem(SpacePart(space, {}), loss, latency, limits, coverage)

    return build


# --- the problem ----------------------------------------------------------------------------------


def test_violations_are_the_sum_of_shares_beyond_the_limits(space, problem):
    population = space.sample(30, np.random.default_rng(0))
    costs = space.layers.costs(population)
    limits = Limits(
        latency_ms=float(np.median(costs.macs)) / 1e6,
        macs=float(np.quantile(costs.macs, 0.4)),
        params=float(np.median(costs.num_params)),
        activation_bytes=float(np.median(costs.activation_bytes)),
    )
    evaluation = problem(limits).evaluate(population)
    factor = 1 + 0.1 * 1.2815515655446004  # upper bound of 90 % of a normal distribution
    for i in range(30):
        expected = 0.0
        for limit, value in (
            (limits.latency_ms, costs.macs[i] / 1e6 * factor),
            (limits.macs, costs.macs[i]),
            (limits.params, costs.num_params[i]),
            (limits.activation_bytes, costs.activation_bytes[i]),
        ):
            expected += max(0.0, (value - limit) / limit)
        assert evaluation.violations[i] == pytest.approx(expected, abs=1e-12)
    assert 0 < (evaluation.violations == 0).sum() < 30
    np.testing.assert_allclose(evaluation.latency_ms, costs.macs / 1e6)
    np.testing.assert_allclose(evaluation.latency_upper_ms, costs.macs / 1e6 * factor)
    np.testing.assert_allclose(evaluation.loss, 1e5 / costs.num_params)
    expected = np.stack([evaluation.loss, evaluation.latency_ms], axis=1)
    np.testing.assert_array_equal(evaluation.objectives, expected)


def test_without_limits_nothing_is_violated(space, problem):
    population = space.sample(30, np.random.default_rng(0))
    assert not problem().evaluate(population).violations.any()
    assert Limits().keeps_analytic(space, population).all()


def test_analytic_limits_do_not_ask_for_latency(space, problem):
    population = space.sample(30, np.random.default_rng(0))
    costs = space.layers.costs(population)
    limits = Limits(latency_ms=1e-9, params=float(np.median(costs.num_params)))
    expected = costs.num_params <= limits.params
    assert limits.keeps_analytic(space, population).tolist() == expected.tolist()


def test_reachable_latencies_are_those_of_the_whole_space(problem, space):
    least, greatest = problem().reachable_latency_ms()
    population = space.sample_levels(5000, np.random.default_rng(0))
    bounds = problem().latency_upper_ms(population)
    assert least <= bounds.min()
    assert greatest >= bounds.max()
    ends = np.concatenate([space.smallest(), space.largest()])
    assert (least, greatest) == pytest.approx(tuple(problem().latency_upper_ms(ends)))


# --- descending -----------------------------------------------------------------------------------


def few() -> SearchSpace:
    return SearchSpace(
        "few@1",
        [
            Dimension("a", (1, 2, 3, 4)),
            Dimension("b", (1, 2, 3)),
            Dimension("c", (1, 2, 3, 4), ("a", frozenset({1, 3}))),
        ],
    )


def every(space: SearchSpace) -> np.ndarray:
    """All architectures of a small space."""
    grid = np.stack(np.meshgrid(*map(np.arange, space.num_options), indexing="ij"), axis=-1)
    whole = space.unique(
        space.canonicalize(grid.reshape(-1, space.num_dimensions).astype(np.int16))
    )
    assert len(whole) == space.num_architectures
    return whole


@given(st.lists(st.lists(st.integers(-9, 9), min_size=4, max_size=4), min_size=3, max_size=3))
def test_descent_finds_the_least_of_additive_values(weights):
    """Whatever the weights, where every dimension adds its own: no local minima."""
    space, table = few(), np.array(weights, dtype=float)
    table[2, :] -= table[2, 0]  # an inactive dimension stands at option 0 and adds nothing
    table[2] = np.abs(table[2])  # so that activating it never pays: a valley of one step only

    def value(population):
        return sum(table[i, population[:, i]] for i in range(3))

    expected = value(every(space)).min()
    assert descend(space, value, space.smallest()) == expected
    assert descend(space, value, space.largest()) == expected


def test_descent_stops_where_nothing_is_better():
    space = few()
    assert descend(space, lambda p: np.zeros(len(p)), space.largest()) == 0.0
    one = SearchSpace("one@1", [Dimension("a", (1,))])
    assert descend(one, lambda p: np.ones(len(p)), one.smallest()) == 1.0


# --- infeasible limits ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["latency_ms", "macs", "params", "activation_bytes"])
def test_impossible_limits_name_the_least_reachable_value(space, problem, name):
    smallest = space.layers.costs(space.smallest())
    least = {
        "latency_ms": float(problem().latency_upper_ms(space.smallest())[0]),
        "macs": float(smallest.macs[0]),
        "params": float(smallest.num_params[0]),
        "activation_bytes": float(smallest.activation_bytes[0]),
    }[name]
    problem(Limits(**{name: least * 1.0001})).check_feasible()
    with pytest.raises(InfeasibleError) as error:
        problem(Limits(**{name: least * 0.99})).check_feasible()
    assert f"{least:.4g}" in str(error.value)
    assert f"{least * 0.99:.4g}" in str(error.value)


def test_an_infeasible_budget_costs_no_search(problem):
    impossible = problem(Limits(latency_ms=1e-6))
    reports = []
    with pytest.raises(InfeasibleError):
        search(impossible, CONFIG, np.random.default_rng(0), reports.append)
    assert reports == []
    assert impossible._loss.calls == 0
    assert impossible._latency.calls < 200


def test_limits_that_contradict_each_other_are_infeasible(space):
    """Each alone can be kept: on this device large networks are the fast ones."""
    costs = space.layers.costs
    pool = costs(space.sample(2000, np.random.default_rng(0))).macs
    limits = Limits(latency_ms=1e6 / np.quantile(pool, 0.8), macs=np.quantile(pool, 0.2))
    problem = SearchProblem(
        SpacePart(space, {}),
        ByCost(lambda population: 1e5 / costs(population).num_params),
        ByCost(lambda population: 1e6 / costs(population).macs),
        limits,
        0.9,
    )
    problem.check_feasible()
    with pytest.raises(InfeasibleError, match="together"):
        search(problem, CONFIG, np.random.default_rng(0))


def test_an_unknown_searcher_names_the_nearest(problem):
    with pytest.raises(InputError, match="'nsga2'"):
        search(problem(), CONFIG.model_copy(update={"searcher": "nsga3"}), np.random.default_rng(0))


# --- searching ------------------------------------------------------------------------------------


def test_limits_are_kept_and_the_best_comes_first(space, problem):
    pool = space.layers.costs(space.sample(2000, np.random.default_rng(0)))
    limits = Limits(
        latency_ms=float(np.quantile(pool.macs, 0.5)) / 1e6,
        macs=float(np.quantile(pool.macs, 0.4)),
        params=float(np.quantile(pool.num_params, 0.6)),
        activation_bytes=float(np.quantile(pool.activation_bytes, 0.6)),
    )
    outcome = search(problem(limits), CONFIG, np.random.default_rng(0))
    costs = space.layers.costs(outcome.population)
    assert len(costs.macs) > 10
    assert (costs.macs <= limits.macs).all()
    assert (costs.num_params <= limits.params).all()
    assert (costs.activation_bytes <= limits.activation_bytes).all()
    assert (outcome.evaluation.latency_upper_ms <= limits.latency_ms).all()
    assert not outcome.evaluation.violations.any()
    assert (np.diff(outcome.evaluation.loss) >= 0).all()
    assert len({tuple(row) for row in outcome.population.tolist()}) == len(outcome.population)
    assert outcome.num_evaluations >= len(outcome.population)
    again = problem(limits).evaluate(outcome.population)
    np.testing.assert_allclose(again.loss, outcome.evaluation.loss)


def test_searching_follows_the_seed(problem):
    first, again, other = (
        search(problem(), CONFIG, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.population, again.population)
    assert not np.array_equal(first.population[:50], other.population[:50])


def test_every_generation_is_reported(problem):
    reports = []
    outcome = search(problem(), CONFIG, np.random.default_rng(0), reports.append)
    assert reports == list(range(1, CONFIG.generations + 1))
    assert outcome.num_evaluations <= CONFIG.generations * CONFIG.population


def test_a_small_space_is_searched_to_its_end():
    space = few()
    problem = SearchProblem(
        SpacePart(space, {}),
        ByCost(lambda p: 1.0 + p.sum(axis=1)),
        ByCost(lambda p: 10.0 - p.sum(axis=1)),
        Limits(),
        0.9,
    )
    config = SearchConfig(population=64, generations=500)
    outcome = search(problem, config, np.random.default_rng(0))
    assert outcome.num_evaluations == space.num_architectures


# --- fronts ---------------------------------------------------------------------------------------


def slow_front(points: np.ndarray) -> list[int]:
    """Rows that no other row is at least as good as everywhere and better somewhere."""
    return [
        i
        for i, point in enumerate(points)
        if not any((other <= point).all() and (other < point).any() for other in points)
    ]


pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25).map(
    lambda rows: np.array(rows, dtype=float)
)


@given(pairs)
def test_non_dominated_rows_are_those_of_the_definition(points):
    assert non_dominated(points).tolist() == slow_front(points)


@given(pairs)
def test_hypervolume_is_the_share_of_dominated_cells(points):
    """On whole numbers the dominated area is a count of unit cells."""
    width, height = 6, 5
    cells = sum(
        any(x <= column and y <= row for x, y in points)
        for column in range(width)
        for row in range(height)
    )
    expected = cells / (width * height)
    assert hypervolume(points, (width, height)) == pytest.approx(expected)


def test_outcomes_know_their_front_and_area(problem):
    outcome = search(problem(), CONFIG, np.random.default_rng(0))
    objectives = outcome.evaluation.objectives
    assert outcome.front().tolist() == slow_front(objectives)
    reference = tuple(objectives.max(axis=0) * 1.1)
    assert 0 < outcome.hypervolume(reference) < 1
    assert outcome.hypervolume(reference) == pytest.approx(hypervolume(objectives, reference))


def test_a_reference_of_zero_loss_is_no_division_by_zero():
    """Where every sampled subnet is perfect the error has nowhere to go."""
    area = hypervolume(np.array([[0.0, 0.5]]), (0.0, 1.0))
    assert np.isfinite(area)


def test_spaces_of_the_catalogue_fit_the_default_searcher():
    space = build_space("mobilenet-v3")
    costs = space.layers.costs
    problem = SearchProblem(
        SpacePart(space, {}),
        ByCost(lambda p: 1e6 / costs(p).num_params),
        ByCost(lambda p: costs(p).macs / 1e8),
        Limits(macs=300e6),
        0.8,
    )
    outcome = search(problem, CONFIG, np.random.default_rng(0))
    assert (costs(outcome.population).macs <= 300e6).all()
