import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.config import SearchConfig
from nas.searching.pareto import hypervolume, non_dominated
from nas.searching.problem import Limit, SearchProblem, descend
from nas.searching.quantity import analytic, predicted
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


def made_of(space, loss, latency, coverage=0.9, **limits) -> SearchProblem:
    """Minimise predicted loss and milliseconds under limits by quantity."""
    quantities = analytic(space) | {
        "loss": predicted("loss", "", loss, coverage),
        "latency_ms": predicted("latency_ms", "ms", latency, coverage),
    }
    objectives = [quantities["loss"], quantities["latency_ms"]]
    held = [Limit(quantities[name], most) for name, most in limits.items()]
    return SearchProblem(SpacePart(space, {}), objectives, held, (1.0, 1.0))


@pytest.fixture
def problem(space):
    """Loss falls with the parameters, milliseconds rise with the MACs."""
    costs = space.layers.costs

    def build(spread=0.1, **limits):
        loss = ByCost(lambda population: 1e5 / costs(population).num_params)
        latency = ByCost(lambda population: costs(population).macs / 1e6, spread)
        return made_of(space, loss, latency, **limits)

    return build


# --- the problem ----------------------------------------------------------------------------------


def test_violations_are_the_sum_of_shares_beyond_the_limits(space, problem):
    population = space.sample(30, np.random.default_rng(0))
    costs = space.layers.costs(population)
    limits = {
        "latency_ms": float(np.median(costs.macs)) / 1e6,
        "macs": float(np.quantile(costs.macs, 0.4)),
        "params": float(np.median(costs.num_params)),
        "activation_bytes": float(np.median(costs.activation_bytes)),
    }
    evaluation = problem(**limits).evaluate(population)
    factor = 1 + 0.1 * 1.2815515655446004  # upper bound of 90 % of a normal distribution
    for i in range(30):
        expected = 0.0
        for name, value in (
            ("latency_ms", costs.macs[i] / 1e6 * factor),
            ("macs", costs.macs[i]),
            ("params", costs.num_params[i]),
            ("activation_bytes", costs.activation_bytes[i]),
        ):
            expected += max(0.0, (value - limits[name]) / limits[name])
        assert evaluation.violations[i] == pytest.approx(expected, abs=1e-12)
    assert 0 < (evaluation.violations == 0).sum() < 30
    expected = np.stack([1e5 / costs.num_params, costs.macs / 1e6], axis=1)
    np.testing.assert_allclose(evaluation.costs, expected)


def test_without_limits_nothing_is_violated(space, problem):
    population = space.sample(30, np.random.default_rng(0))
    assert not problem().evaluate(population).violations.any()


def test_reachable_values_are_those_of_the_whole_space(problem, space):
    asked = problem()
    latency = asked.quantities()["latency_ms"]
    least, greatest = asked.range_of(latency)
    population = space.sample_levels(5000, np.random.default_rng(0))
    bounds = latency(population).bound
    assert least <= bounds.min()
    assert greatest >= bounds.max()
    ends = np.concatenate([space.smallest(), space.largest()])
    assert (least, greatest) == pytest.approx(tuple(latency(ends).bound))


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
    for start in (space.smallest(), space.largest()):
        genome, least = descend(space, value, start)
        assert least == expected == value(genome)[0]


def test_descent_stops_where_nothing_is_better():
    space = few()
    assert descend(space, lambda p: np.zeros(len(p)), space.largest())[1] == 0.0
    one = SearchSpace("one@1", [Dimension("a", (1,))])
    assert descend(one, lambda p: np.ones(len(p)), one.smallest())[1] == 1.0


# --- infeasible limits ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["latency_ms", "macs", "params", "activation_bytes"])
def test_impossible_limits_name_the_least_reachable_value(space, problem, name):
    smallest = space.layers.costs(space.smallest())
    latency = problem().quantities()["latency_ms"]
    least = {
        "latency_ms": float(latency(space.smallest()).bound[0]),
        "macs": float(smallest.macs[0]),
        "params": float(smallest.num_params[0]),
        "activation_bytes": float(smallest.activation_bytes[0]),
    }[name]
    problem(**{name: least * 1.0001}).check_feasible()
    with pytest.raises(InfeasibleError) as error:
        problem(**{name: least * 0.99}).check_feasible()
    assert f"{least:.4g}" in str(error.value)
    assert f"{least * 0.99:.4g}" in str(error.value)


def test_an_infeasible_budget_costs_no_search(space):
    costs = space.layers.costs
    loss = ByCost(lambda population: 1e5 / costs(population).num_params)
    latency = ByCost(lambda population: costs(population).macs / 1e6)
    reports = []
    with pytest.raises(InfeasibleError):
        search(
            made_of(space, loss, latency, latency_ms=1e-6),
            CONFIG,
            np.random.default_rng(0),
            lambda done, note: reports.append(done),
        )
    assert reports == []
    assert loss.calls == 0
    assert latency.calls < 200


def test_limits_that_contradict_each_other_are_infeasible(space):
    """Each alone can be kept: on this device large networks are the fast ones."""
    costs = space.layers.costs
    pool = costs(space.sample(2000, np.random.default_rng(0))).macs
    problem = made_of(
        space,
        ByCost(lambda population: 1e5 / costs(population).num_params),
        ByCost(lambda population: 1e6 / costs(population).macs),
        latency_ms=1e6 / np.quantile(pool, 0.8),
        macs=np.quantile(pool, 0.2),
    )
    problem.check_feasible()
    assert problem.feasible_start() is None
    with pytest.raises(InfeasibleError, match=r"together \(latency_ms up to .*, macs up to"):
        search(problem, CONFIG, np.random.default_rng(0))


def test_an_unknown_searcher_names_the_nearest(problem):
    with pytest.raises(InputError, match="'nsga2'"):
        search(problem(), CONFIG.model_copy(update={"searcher": "nsga3"}), np.random.default_rng(0))


# --- searching ------------------------------------------------------------------------------------


def test_limits_are_kept_and_the_best_comes_first(space, problem):
    pool = space.layers.costs(space.sample(2000, np.random.default_rng(0)))
    limits = {
        "latency_ms": float(np.quantile(pool.macs, 0.5)) / 1e6,
        "macs": float(np.quantile(pool.macs, 0.4)),
        "params": float(np.quantile(pool.num_params, 0.6)),
        "activation_bytes": float(np.quantile(pool.activation_bytes, 0.6)),
    }
    asked = problem(**limits)
    outcome = search(asked, CONFIG, np.random.default_rng(0))
    costs = space.layers.costs(outcome.population)
    assert len(costs.macs) > 10
    assert (costs.macs <= limits["macs"]).all()
    assert (costs.num_params <= limits["params"]).all()
    assert (costs.activation_bytes <= limits["activation_bytes"]).all()
    latency = asked.quantities()["latency_ms"](outcome.population)
    assert (latency.bound <= limits["latency_ms"]).all()
    assert (np.diff(outcome.costs[:, 0]) >= 0).all()
    assert len({tuple(row) for row in outcome.population.tolist()}) == len(outcome.population)
    assert outcome.num_evaluations >= len(outcome.population)
    again = asked.evaluate(outcome.population)
    np.testing.assert_allclose(again.costs, outcome.costs)


def test_searching_follows_the_seed(problem):
    first, again, other = (
        search(problem(), CONFIG, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.population, again.population)
    assert not np.array_equal(first.population[:50], other.population[:50])


def test_every_generation_is_reported(problem):
    reports, notes = [], []

    def report(done, note):
        reports.append(done)
        notes.append(note)

    outcome = search(problem(), CONFIG, np.random.default_rng(0), report)
    assert len(reports) == CONFIG.generations
    assert reports == sorted(reports)
    assert reports[-1] == outcome.num_evaluations
    assert all(note.startswith("best loss ") and "hypervolume 0." in note for note in notes)
    assert outcome.num_evaluations <= CONFIG.generations * CONFIG.population


def test_a_small_space_is_searched_to_its_end():
    space = few()
    first = predicted("loss", "", ByCost(lambda p: 1.0 + p.sum(axis=1)), 0.9)
    second = predicted("latency_ms", "ms", ByCost(lambda p: 10.0 - p.sum(axis=1)), 0.9)
    problem = SearchProblem(SpacePart(space, {}), [first, second])
    config = SearchConfig(population=64, generations=500)
    outcome = search(problem, config, np.random.default_rng(0))
    assert outcome.num_evaluations == space.num_architectures
    assert outcome.stopped == "exhausted"


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
    objectives = outcome.costs
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
    problem = made_of(
        space,
        ByCost(lambda p: 1e6 / costs(p).num_params),
        ByCost(lambda p: costs(p).macs / 1e8),
        macs=300e6,
    )
    outcome = search(problem, CONFIG, np.random.default_rng(0))
    assert (costs(outcome.population).macs <= 300e6).all()
