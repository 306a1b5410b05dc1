import numpy as np
import pytest

from predictors.latency import LATENCY_PREDICTORS
from predictors.latency.auto import Auto, _preferred
from predictors.latency.regression import LatencyRegression
from predictors.latency.transfer import Transfer
from predictors.predictor import Prediction
from search_spaces import InputError, build_space
from tests.contracts.predictor_contract import PredictorContract


@pytest.fixture(scope="module")
def space():
    return build_space("nasbench201")


def additive(seed):
    weights = np.random.default_rng(seed).uniform(0.1, 1.0, (6, 5)) * np.array([0, 1, 2, 4, 8])
    return lambda population: 1 + weights[np.arange(6), population].sum(axis=1)


def unrelated(population):
    """Latencies that have nothing to do with anything: a hash of the genome."""
    codes = population.astype(np.int64) @ np.array([7919, 104729, 1299709, 15485863, 179424673, 3])
    return 1 + (codes * 2654435761 % 1000) / 1000


class Fixed:
    """Guesses a given function of the population, and remembers what it was fitted to."""

    fits = 0

    def __init__(self, guess):
        self.guess = guess

    def fit(self, population, targets):
        type(self).fits += 1

    def predict(self, population):
        mean = self.guess(population)
        return Prediction(mean, np.full(len(mean), 0.1))


class NeedsMore:
    def fit(self, population, targets):
        raise InputError("expected 1000 subnets")


class TestAuto(PredictorContract):
    @pytest.fixture
    def space(self, space):
        return space

    @pytest.fixture
    def predictor(self, space):
        return LATENCY_PREDICTORS["auto"](space, None, [additive(0), additive(1)])

    def quantity(self, space, population):
        return additive(0)(population) + 0.5 * additive(1)(population)


def measured(space, truth, n, noise=0.02, seed=0):
    rng = np.random.default_rng(seed)
    population = space.sample_distinct(n, rng)
    return population, truth(population) * rng.normal(1, noise, n)


def choice_of(space, known, truth, n=12):
    auto = LATENCY_PREDICTORS["auto"](space, None, known)
    auto.fit(*measured(space, truth, n))
    return auto.choice


def test_transfer_is_chosen_where_the_known_are_alike(space):
    known = [additive(seed) for seed in range(4)]
    choice = choice_of(space, known, lambda p: 2 * known[1](p) + known[3](p))
    assert choice.name == "transfer"
    assert choice.passed
    assert choice.errors["transfer"] < 0.3 < choice.errors["regression"]
    assert choice.ranks["transfer"] > 0.9


def test_it_falls_back_with_a_message_where_transfer_fails(space):
    choice = choice_of(space, [unrelated], additive(0), n=40)
    assert choice.name == "regression"
    assert choice.passed
    assert (
        "transfer does not pass" in choice.reason or "transfer not clearly better" in choice.reason
    )
    assert choice.errors["regression"] < 0.7 < choice.errors["transfer"]


def test_it_says_so_where_nothing_beats_a_constant(space):
    choice = choice_of(space, [additive(1)], unrelated, n=30)
    assert not choice.passed
    assert "no candidate beats a constant" in choice.reason


def test_the_right_order_alone_does_not_pass(space):
    truth = additive(0)
    auto = Auto({"three times": lambda: Fixed(lambda p: 3 * truth(p))})
    auto.fit(*measured(space, truth, 20))
    assert not auto.choice.passed
    assert auto.choice.ranks["three times"] > 0.9


def test_reversed_order_does_not_pass(space):
    """Latencies so skewed that their mean beats their median, even with a slope the wrong way."""

    def truth(population):
        return np.exp(additive(0)(population) / 5)

    population, latency = measured(space, truth, 40)
    auto = Auto({"backwards": lambda: Fixed(lambda p: latency.mean() - 1e-4 * truth(p))})
    auto.fit(population, latency)
    assert auto.choice.errors["backwards"] < 1
    assert auto.choice.ranks["backwards"] < -0.9
    assert not auto.choice.passed


def test_the_guess_is_that_of_the_chosen_one_fitted_to_all(space):
    known = [additive(seed) for seed in range(4)]
    population, latency = measured(space, known[0], 15)
    auto = LATENCY_PREDICTORS["auto"](space, None, known)
    alone = Transfer(space, known)
    for predictor in (auto, alone):
        predictor.fit(population, latency)
    unseen = space.sample(50, np.random.default_rng(9))
    first, second = auto.predict(unseen), alone.predict(unseen)
    assert auto.choice.name == "transfer"
    np.testing.assert_array_equal(first.upper(0.9), second.upper(0.9))


def test_the_preferred_one_is_kept_unless_clearly_worse(space):
    truth = additive(0)
    population, latency = measured(space, truth, 20, noise=0.05)
    slightly_off = Fixed(lambda p: truth(p) * 1.002)
    clearly_off = Fixed(lambda p: truth(p) * 1.2)
    for preferred, expected in ((slightly_off, "preferred"), (clearly_off, "right")):
        auto = Auto({"preferred": lambda p=preferred: p, "right": lambda: Fixed(truth)})
        auto.fit(population, latency)
        assert auto.choice.name == expected


def test_errors_are_those_of_subnets_left_out(space):
    """A candidate that knows what it was fitted to, and nothing else, gains nothing by it."""

    class Memory:
        def fit(self, population, targets):
            self.known = dict(zip(map(tuple, population.tolist()), targets, strict=True))
            self.constant = float(np.median(targets))

        def predict(self, population):
            mean = [self.known.get(tuple(row), self.constant) for row in population.tolist()]
            return Prediction(np.array(mean), np.ones(len(mean)))

    auto = Auto({"memory": Memory})
    auto.fit(*measured(space, additive(0), 20))
    assert auto.choice.errors["memory"] == pytest.approx(1)
    assert not auto.choice.passed


def test_candidates_that_cannot_be_built_or_fitted_are_named(space):
    def absent():
        raise InputError("no layer was measured")

    auto = Auto(
        {"table": absent, "greedy": NeedsMore, "regression": lambda: LatencyRegression(space)}
    )
    auto.fit(*measured(space, additive(0), 12))
    assert auto.choice.name == "regression"
    assert dict(auto.choice.failures) == {
        "table": "no layer was measured",
        "greedy": "expected 1000 subnets",
    }
    assert "table left out (no layer was measured)" in auto.choice.reason


def test_no_candidate_at_all_is_an_error(space):
    with pytest.raises(InputError, match="at least one candidate"):
        Auto({})
    with pytest.raises(InputError, match="greedy: expected 1000 subnets"):
        Auto({"greedy": NeedsMore}).fit(*measured(space, additive(0), 12))


def test_very_few_subnets_take_the_preferred_one(space):
    auto = LATENCY_PREDICTORS["auto"](space, None, [additive(1)])
    auto.fit(*measured(space, additive(0), 4))
    assert auto.choice.name == "transfer"
    assert "too few to compare" in auto.choice.reason


def test_few_subnets_take_the_preferred_one_that_passes(space):
    auto = LATENCY_PREDICTORS["auto"](space, None, [additive(1)])
    auto.fit(*measured(space, additive(0), 7))
    assert auto.choice.name == "transfer"
    assert auto.choice.errors["regression"] < auto.choice.errors["transfer"] < 1
    opposite = Fixed(lambda population: 1 / additive(0)(population))
    population, latencies = measured(space, additive(0), 7)
    auto = Auto({"opposite": lambda: opposite, "right": lambda: Fixed(additive(0))})
    auto.fit(population, latencies)
    assert auto.choice.name == "right"


def test_cross_validation_is_cheap(space):
    Fixed.fits = 0
    Auto({"fixed": lambda: Fixed(additive(0))}).fit(*measured(space, additive(0), 60))
    assert Fixed.fits == 11  # ten folds and all


# --- the catalogue --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LATENCY_PREDICTORS)
def test_every_method_can_be_built_where_all_it_needs_is_there(name):
    space = build_space("mobilenet-digits")
    table_ms = np.sqrt(space.layers.spec_costs[:, 0]) / 1e3

    def known(population):
        return space.layers.costs(population).macs / 1e6

    population = space.sample_distinct(20, np.random.default_rng(0))
    predictor = LATENCY_PREDICTORS[name](space, table_ms, [known])
    latency = space.layers.sum(population, table_ms)
    predictor.fit(population, latency)
    prediction = predictor.predict(population)
    assert np.isfinite(prediction.upper(0.9)).all()
    assert np.corrcoef(prediction.mean, latency)[0, 1] > 0.7


@pytest.mark.parametrize("name", ["table", "calibrated-table"])
def test_tables_need_layers(space, name):
    with pytest.raises(InputError, match=r"no layer of nasbench201@1 was measured"):
        LATENCY_PREDICTORS[name](space, None, [])


def test_auto_compares_all_that_is_available():
    space = build_space("mobilenet-digits")
    table_ms = np.concatenate(
        [[0.0], np.random.default_rng(0).uniform(0.1, 1, len(space.layers.specs))]
    )
    population = space.sample_distinct(30, np.random.default_rng(0))
    latency = 0.8 * space.layers.sum(population, table_ms) + 0.5
    auto = LATENCY_PREDICTORS["auto"](space, table_ms, [])
    auto.fit(population, latency)
    assert set(auto.choice.errors) == {"calibrated-table", "table", "regression"}
    assert auto.choice.name == "calibrated-table"


def test_many_times_the_error_is_clear_however_few_were_measured():
    few = {"table": np.array([9.0, 0.1, 0.1, 0.1, 9.0]), "regression": np.full(5, 0.01)}
    excess = few["table"] - few["regression"]
    assert excess.mean() <= 2 * excess.std(ddof=1) / np.sqrt(5)  # by chance, for all these tell
    assert _preferred(few) == "regression"
    assert _preferred({**few, "regression": np.full(5, 0.5)}) == "table"
