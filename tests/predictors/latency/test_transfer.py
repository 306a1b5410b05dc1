import numpy as np
import pytest
from scipy.stats import spearmanr

from predictors.latency import transfer
from predictors.latency.transfer import Transfer, known_latencies
from predictors.predictor import error_report
from search_spaces import InputError, build_space
from tests.contracts.predictor_contract import PredictorContract


@pytest.fixture(scope="module")
def space():
    return build_space("nasbench201")


def device(seed):
    """A device whose operations cost what they cost; ms of any population."""
    weights = np.random.default_rng(seed).uniform(0.1, 1.0, (6, 5)) * np.array([0, 1, 2, 4, 8])
    return lambda population: 1 + weights[np.arange(6), population].sum(axis=1)


def mixed(devices, shares):
    return lambda population: sum(
        share * one(population) for share, one in zip(shares, devices, strict=True)
    )


KNOWN = [device(seed) for seed in range(6)]


def fitted(space, population, latency, known=KNOWN):
    predictor = Transfer(space, known)
    predictor.fit(population, latency)
    return predictor


def cells_near_the_first(space, n, measured):
    """Cells of more than half the latency of the least of the first: below, guesses are bent."""
    population = space.sample_distinct(2 * n, np.random.default_rng(0))
    latency = KNOWN[0](population)
    return population[latency > latency[:measured].min() / 2][:n]


class TestTransfer(PredictorContract):
    @pytest.fixture
    def space(self, space):
        return space

    @pytest.fixture
    def predictor(self, space):
        return Transfer(space, KNOWN)

    def quantity(self, space, population):
        return mixed(KNOWN, [0.5, 0, 2, 0, 0.3, 0])(population)


class TestTransferFromOne(PredictorContract):
    @pytest.fixture
    def space(self, space):
        return space

    @pytest.fixture
    def predictor(self, space):
        return Transfer(space, KNOWN[:1])

    def quantity(self, space, population):
        return 0.3 * KNOWN[0](population) + 2


class TestTransferInASpaceOfLayers(PredictorContract):
    @pytest.fixture
    def space(self):
        return build_space("mobilenet-digits")

    @pytest.fixture
    def predictor(self, space):
        def macs(population):
            return space.layers.costs(population).macs / 1e6

        def parameters(population):
            return 3 + space.layers.costs(population).num_params / 1e5

        return Transfer(space, [macs, parameters])


def test_a_device_like_a_known_one_takes_three_subnets(space):
    population = space.sample_distinct(303, np.random.default_rng(0))
    latency = 3 * KNOWN[2](population) + 1
    guess = fitted(space, population[:3], latency[:3]).predict(population[3:]).mean
    assert spearmanr(guess, latency[3:]).statistic > 0.9
    ten = fitted(space, population[:10], latency[:10]).predict(population[10:]).mean
    assert error_report(ten, latency[10:]).mape < 0.02


def test_a_mixture_of_known_devices_takes_a_few_more(space):
    population = space.sample_distinct(320, np.random.default_rng(0))
    latency = mixed(KNOWN, [1, 0, 0.5, 0, 0, 2])(population)
    guess = fitted(space, population[:20], latency[:20]).predict(population[20:]).mean
    assert error_report(guess, latency[20:]).mape < 0.02


def test_better_than_a_line_from_the_best_known_device(space):
    population = space.sample_distinct(310, np.random.default_rng(0))
    latency = mixed(KNOWN, [1, 1, 1, 0, 0, 0])(population)
    guess = fitted(space, population[:10], latency[:10]).predict(population[10:]).mean
    best = max(spearmanr(one(population[10:]), latency[10:]).statistic for one in KNOWN)
    assert spearmanr(guess, latency[10:]).statistic > best + 0.02


def slow_average(columns, y):
    """The average of all models by textbook formulas, with explicit inverses: (line, noise, ll)."""
    k = columns.shape[1] - 1
    rows = []
    for favoured in range(k + 1):
        prior = np.full(k + 1, 1 / k)
        if favoured:
            prior *= 0.1
            prior[favoured] += 0.9
        prior[0] = 100
        for noise in transfer.NOISES:
            covariance = columns @ np.diag(prior) @ columns.T + noise * np.eye(len(y))
            scale = y @ np.linalg.inv(covariance) @ y / (len(y) - 1)
            likelihood = -0.5 * (
                (len(y) - 1) * np.log(scale) + np.linalg.slogdet(covariance).logabsdet
            )
            weights = np.linalg.inv(np.linalg.inv(np.diag(prior)) + columns.T @ columns / noise)
            line = weights @ columns.T @ y / noise
            rows.append((likelihood, line, scale * weights, scale * noise))
    likelihood = np.array([row[0] for row in rows])
    shares = np.exp(0.5 * (likelihood - likelihood.max()))
    return shares / shares.sum(), rows


def columns_of(space, population):
    reference = known_latencies(KNOWN, space.sample(2000, np.random.default_rng(0)))
    known = known_latencies(KNOWN, population)
    standard = (known - reference.mean(axis=0)) / reference.std(axis=0)
    return np.hstack([np.ones((len(population), 1)), standard])


def test_mean_and_spread_are_those_of_the_average_of_all_models(space):
    population = space.sample_distinct(40, np.random.default_rng(0))
    latency = mixed(KNOWN, [1, 0, 0.5, 0, 0, 2])(population)
    latency *= np.random.default_rng(1).normal(1, 0.03, 40)
    centre, scale = latency[:12].mean(), latency[:12].std()
    shares, rows = slow_average(columns_of(space, population[:12]), (latency[:12] - centre) / scale)
    unseen = columns_of(space, population[12:])
    means = np.array([unseen @ line for _, line, _, _ in rows])
    variances = np.array(
        [noise + np.diag(unseen @ weights @ unseen.T) for _, _, weights, noise in rows]
    )
    mean = shares @ means
    variance = shares @ (variances + (means - mean) ** 2)
    prediction = fitted(space, population[:12], latency[:12]).predict(population[12:])
    np.testing.assert_allclose(prediction.mean, mean * scale + centre, rtol=1e-6)
    np.testing.assert_allclose(prediction.std, np.sqrt(variance) * scale, rtol=1e-4)


def test_residuals_are_those_of_refits_to_all_but_one(space):
    population = space.sample_distinct(9, np.random.default_rng(0))
    latency = mixed(KNOWN, [1, 0, 0.5, 0, 0, 2])(population)
    latency *= np.random.default_rng(1).normal(1, 0.1, 9)
    columns, y = columns_of(space, population), (latency - latency.mean()) / latency.std()
    expected = []
    for i in range(9):
        keep = np.arange(9) != i
        shares, rows = slow_average(columns[keep], y[keep])
        means = np.array([columns[i] @ line for _, line, _, _ in rows])
        spread = np.array([noise + columns[i] @ w @ columns[i] for _, _, w, noise in rows])
        mean = shares @ means
        expected.append((y[i] - mean) / np.sqrt(shares @ (spread + (means - mean) ** 2)))
    residuals = fitted(space, population, latency).predict(population).residuals
    np.testing.assert_allclose(residuals, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("coverage", [0.7, 0.9])
def test_upper_bound_holds_as_often_as_stated(space, coverage):
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(60):
        population = space.sample(320, rng)
        latency = mixed(KNOWN, rng.dirichlet(np.ones(6)))(population) * rng.normal(1, 0.05, 320)
        prediction = fitted(space, population[:20], latency[:20]).predict(population[20:])
        covered.append(np.mean(latency[20:] <= prediction.upper(coverage)))
    assert np.mean(covered) == pytest.approx(coverage, abs=0.04)


def test_known_latencies_are_standardised_over_the_reference(space):
    """A reference of the table's own cells: nothing else is asked of the known targets."""
    table = cells_near_the_first(space, 30, 6)
    held = {tuple(row) for row in table.tolist()}

    def known(population):
        assert {tuple(row) for row in population.tolist()} <= held
        return KNOWN[0](population)

    predictor = Transfer(space, [known], table)
    predictor.fit(table[:6], 2 * KNOWN[0](table[:6]))
    np.testing.assert_allclose(predictor.predict(table).mean, 2 * KNOWN[0](table), rtol=0.02)


def test_guesses_stay_positive_and_in_order(space):
    population = space.sample_distinct(300, np.random.default_rng(0))
    latency = 5 * KNOWN[0](population)
    latency -= latency.min() - 1e-3
    slow = np.argsort(latency)[-12:]
    predictor = fitted(
        space, population[slow], latency[slow] - latency[slow].min() + 0.01, KNOWN[:1]
    )
    mean = predictor.predict(population).mean
    assert (mean > 0).all()
    assert spearmanr(mean, latency).statistic > 0.999


def test_known_targets_that_all_say_the_same_do_no_harm(space):
    population = cells_near_the_first(space, 60, 5)
    latency = 2 * KNOWN[0](population)
    predictor = fitted(space, population[:5], latency[:5], [KNOWN[0]] * 4)
    np.testing.assert_allclose(predictor.predict(population).mean, latency, rtol=0.05)


def test_without_known_targets_it_says_what_is_missing(space):
    with pytest.raises(InputError, match="nas profile import"):
        Transfer(space, [])


@pytest.mark.parametrize("latency", [[1.0, 2.0], [1.0, 2.0, 0.0], [1.0, -2.0, 3.0]], ids=str)
def test_latencies_that_tell_nothing_are_refused(space, latency):
    with pytest.raises(InputError):
        fitted(space, space.sample(len(latency), np.random.default_rng(0)), latency)
