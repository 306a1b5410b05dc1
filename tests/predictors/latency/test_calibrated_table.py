import numpy as np
import pytest

from predictors.latency.calibrated_table import CalibratedTable
from predictors.predictor import error_report
from search_spaces import InputError, build_space
from tests.contracts.predictor_contract import PredictorContract


@pytest.fixture(scope="module")
def space():
    return build_space("mobilenet-digits")


def random_layer_latency(space, seed=0):
    """A latency for every spec that its costs do not tell, 1 + specs."""
    rng = np.random.default_rng(seed)
    return np.concatenate([[0.0], rng.uniform(0.02, 0.3, len(space.layers.specs))])


def plain_sums(space, population, layer_latency_ms):
    """(sum of layers, number of layers, MACs) of every architecture, layer by layer."""
    position = {spec: 1 + i for i, spec in enumerate(space.layers.specs)}
    rows = []
    for genome in population:
        specs = [spec for _, spec in space.layers.layers(genome)]
        rows.append(
            (
                sum(layer_latency_ms[position[spec]] for spec in specs),
                len(specs),
                sum(space.layers.spec_costs[position[spec], 0] for spec in specs),
            )
        )
    return np.array(rows).T


def fitted(space, layer_latency_ms, population, latencies):
    predictor = CalibratedTable(space, layer_latency_ms)
    predictor.fit(population, latencies)
    return predictor


class TestCalibratedTableContract(PredictorContract):
    @pytest.fixture
    def space(self, space):
        return space

    @pytest.fixture
    def predictor(self, space):
        return CalibratedTable(space, random_layer_latency(space))


@pytest.mark.parametrize(
    "coefficients",
    [
        (1.0, 0.0, 0.0, 0.0),
        (0.8, 0.05, 3e-7, 0.1),
        (0.9, -0.03, 0.0, 0.2),  # fusion saves a little at every layer
        (0.0, 0.0, 1e-6, 0.5),  # the table says nothing
        (2.0, 0.0, 0.0, -0.1),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["mobilenet-digits", "mobilenet-cifar"])
def test_what_the_formula_can_say_is_recovered(name, coefficients):
    space = build_space(name)
    layer_latency_ms = random_layer_latency(space)
    population = space.sample_levels(24 + 300, np.random.default_rng(1))
    sums, num_layers, macs = plain_sums(space, population, layer_latency_ms)
    a, b, c, d = coefficients
    latency = a * sums + b * num_layers + c * macs + d
    assert (latency > 0).all()
    prediction = fitted(space, layer_latency_ms, population[:24], latency[:24]).predict(population)
    assert np.abs(prediction.mean / latency - 1).max() < 1e-2


def test_columns_that_say_the_same_do_no_harm(space):
    """Layer latencies proportional to MACs: infinitely many corrections fit alike."""
    layer_latency_ms = space.layers.spec_costs[:, 0] / 1e6
    population = space.sample_levels(24 + 300, np.random.default_rng(1))
    sums, num_layers, _ = plain_sums(space, population, layer_latency_ms)
    latency = 0.7 * sums + 0.02 * num_layers + 0.3
    prediction = fitted(space, layer_latency_ms, population[:24], latency[:24]).predict(population)
    assert np.abs(prediction.mean / latency - 1).max() < 1e-2


@pytest.mark.parametrize("num_fitted", [8, 12, 24])
def test_better_than_the_plain_sum_where_layers_alone_carry_an_overhead(space, num_fitted):
    """Alone in a graph every layer pays for the start of a run, in a subnet only one does."""
    rng = np.random.default_rng(3)
    work = np.concatenate([[0.0], 0.01 + space.layers.spec_costs[1:, 0] / 2e6])
    table = np.where(work > 0, work + 0.05, 0.0)
    population = space.sample_levels(num_fitted + 300, rng)
    latency = (plain_sums(space, population, work)[0] + 0.05) * rng.normal(1, 0.01, len(population))
    calibration, unseen = population[:num_fitted], population[num_fitted:]
    calibrated = fitted(space, table, calibration, latency[:num_fitted]).predict(unseen).mean
    plain = plain_sums(space, unseen, table)[0]
    after, before = (error_report(guess, latency[num_fitted:]) for guess in (calibrated, plain))
    assert before.mape > 0.5
    assert after.mape < 0.05
    assert after.kendall > before.kendall


def test_without_subnets_the_plain_sum_is_left(space):
    layer_latency_ms = random_layer_latency(space)
    population = space.sample(50, np.random.default_rng(0))
    sums, _, _ = plain_sums(space, population, layer_latency_ms)
    prediction = fitted(space, layer_latency_ms, population[:0], sums[:0]).predict(population)
    np.testing.assert_allclose(prediction.mean, sums)
    np.testing.assert_allclose(prediction.std, 0.1 * sums)
    assert len(prediction.residuals) == 0


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_subnets_scale_the_sum(space, n):
    layer_latency_ms = random_layer_latency(space)
    population = space.sample_distinct(n + 50, np.random.default_rng(0))
    sums, _, _ = plain_sums(space, population, layer_latency_ms)
    off = np.array([4.0, 5.0, 5.5, 8.0])[:n]
    predictor = fitted(space, layer_latency_ms, population[:n], off * sums[:n])
    prediction = predictor.predict(population[n:])
    np.testing.assert_allclose(prediction.mean, np.median(off) * sums[n:])
    assert len(prediction.residuals) == (n if n > 1 else 0)
    if n > 1:  # each predicted by the scale of the others
        others = [np.median(np.delete(off, i)) for i in range(n)]
        relative = off / others - 1
        spread = np.sqrt(np.mean(relative**2))
        np.testing.assert_allclose(prediction.std / prediction.mean, spread)
        np.testing.assert_allclose(prediction.residuals, relative / spread)


def test_five_subnets_are_enough_to_correct(space):
    layer_latency_ms = random_layer_latency(space)
    population = space.sample_distinct(60, np.random.default_rng(0))
    sums, _, _ = plain_sums(space, population, layer_latency_ms)
    prediction = fitted(space, layer_latency_ms, population[:5], 5 * sums[:5]).predict(population)
    np.testing.assert_allclose(prediction.mean, 5 * sums, rtol=0.05)
    assert len(prediction.residuals) == 5


def test_few_subnets_after_a_fit_to_many(space):
    layer_latency_ms = random_layer_latency(space)
    population = space.sample_distinct(40, np.random.default_rng(0))
    noise = np.random.default_rng(1).normal(1, 0.1, 40)
    latency = plain_sums(space, population, layer_latency_ms)[0] * noise
    predictor = fitted(space, layer_latency_ms, population, latency)
    predictor.fit(population[:4], latency[:4])
    again, fresh = (
        model.predict(population).upper(0.9)
        for model in (
            predictor,
            fitted(space, layer_latency_ms, population[:4], latency[:4]),
        )
    )
    np.testing.assert_array_equal(again, fresh)


@pytest.mark.parametrize("latency", [0.0, -1.0])
def test_latencies_that_are_not_positive_are_refused(space, latency):
    population = space.sample(8, np.random.default_rng(0))
    with pytest.raises(InputError, match="a positive latency for each of 8 subnets"):
        fitted(space, random_layer_latency(space), population, np.array([1.0] * 7 + [latency]))


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("noise", ["normal", "skewed"])
def test_upper_bound_holds_as_often_as_stated(space, noise, coverage):
    """Fits to 60 subnets, each tried on 2,000 fresh measurements.

    What is promised holds on average over calibration sets: one set of 60 alone scatters by
    sqrt(0.8 * 0.2 / 60), five points.
    """
    rng = np.random.default_rng(5)
    layer_latency_ms = random_layer_latency(space)

    def measured(n):
        population = space.sample_levels(n, rng)
        latency = space.layers.sum(population, 0.9 * layer_latency_ms) + 0.3
        disturbance = rng.normal(0, 0.03, n) if noise == "normal" else rng.lognormal(-4, 1.5, n)
        return population, latency * (1 + disturbance)

    covered = []
    for _ in range(20):
        predictor = fitted(space, layer_latency_ms, *measured(60))
        population, latency = measured(2000)
        covered.append(np.mean(latency <= predictor.predict(population).upper(coverage)))
    assert np.mean(covered) == pytest.approx(coverage, abs=0.05)


def test_spread_is_that_of_the_errors(space):
    """Relative spread: what leaving one out shows, for a noise of 5 %."""
    rng = np.random.default_rng(6)
    layer_latency_ms = random_layer_latency(space)
    population = space.sample_levels(200, rng)
    latency = space.layers.sum(population, layer_latency_ms) * rng.normal(1, 0.05, 200)
    prediction = fitted(space, layer_latency_ms, population, latency).predict(population)
    np.testing.assert_allclose(prediction.std / prediction.mean, 0.05, rtol=0.2)
    assert np.sqrt(np.mean(prediction.residuals**2)) == pytest.approx(1)


def test_residuals_are_those_of_subnets_left_out(space):
    """Against refits by scipy to all but one."""
    from scipy.optimize import least_squares

    rng = np.random.default_rng(7)
    layer_latency_ms = random_layer_latency(space)
    population = space.sample_distinct(12, rng)
    columns = np.array([*plain_sums(space, population, layer_latency_ms), np.ones(12)]).T
    columns /= columns.max(axis=0)
    latency = columns @ [1.0, 0.3, 0.4, 0.2] * rng.normal(1, 0.1, 12)
    residuals = fitted(space, layer_latency_ms, population, latency).predict(population).residuals
    left_out = []
    for i in range(12):
        keep = np.arange(12) != i

        def errors(x, keep=keep):
            return columns[keep] @ x / latency[keep] - 1

        guess = columns[i] @ least_squares(errors, np.ones(4)).x
        left_out.append((latency[i] - guess) / guess)
    relative = np.array(left_out)
    expected = relative / np.sqrt(np.mean(relative**2))
    np.testing.assert_allclose(residuals, expected, atol=0.1)  # the ridge pulls a little
