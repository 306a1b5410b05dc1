import copy

import numpy as np
import pytest

from predictors.predictor import Prediction
from search_spaces import InputError, SearchSpace

NUM_FITTED = 60
# Chunks change the last bits of sums and nothing else; no other difference is allowed
CHUNK_TOLERANCE = 1e-9


class PredictorContract:
    """What every predictor promises.

    A subclass has the fixtures `space` and `predictor` (new, not fitted). One whose quantity does
    not follow the costs overrides `quantity`.
    """

    def quantity(self, space: SearchSpace, population: np.ndarray) -> np.ndarray:
        """What is to be learned: n positive values."""
        costs = space.layers.costs(population)
        return 0.5 + costs.macs / 1e6 + costs.num_params / 1e5

    @pytest.fixture
    def population(self, space) -> np.ndarray:
        """Architectures to fit to."""
        return space.sample_distinct(NUM_FITTED, np.random.default_rng(0))

    @pytest.fixture
    def targets(self, space, population) -> np.ndarray:
        """Their values, measured with 2 % noise."""
        noise = np.random.default_rng(1).normal(1, 0.02, len(population))
        return self.quantity(space, population) * noise

    @pytest.fixture
    def fitted(self, predictor, population, targets):
        """The predictor, ready to predict."""
        predictor.fit(population, targets)
        return predictor

    @pytest.fixture
    def unseen(self, space) -> np.ndarray:
        """Other architectures."""
        return space.sample(500, np.random.default_rng(2))

    def assert_equal(self, first: Prediction, second: Prediction) -> None:
        """Check that two predictions are the same, bit by bit."""
        np.testing.assert_array_equal(first.mean, second.mean)
        np.testing.assert_array_equal(first.std, second.std)
        np.testing.assert_array_equal(first.upper(0.9), second.upper(0.9))

    # --- shape and value --------------------------------------------------------------------------

    @pytest.mark.parametrize("n", [0, 1, 2, 500])
    def test_one_finite_mean_and_spread_per_architecture(self, fitted, unseen, n):
        prediction = fitted.predict(unseen[:n])
        assert prediction.mean.shape == prediction.std.shape == (n,)
        assert prediction.mean.dtype == prediction.std.dtype == np.float64
        assert np.isfinite(prediction.mean).all()
        assert np.isfinite(prediction.std).all()
        assert (prediction.std > 0).all()
        assert np.isfinite(prediction.residuals).all()
        assert prediction.residuals.ndim == 1

    def test_closer_than_a_constant(self, space, fitted, unseen):
        truth = self.quantity(space, unseen)
        errors = fitted.predict(unseen).mean - truth
        assert np.sqrt(np.mean(errors**2)) < 0.5 * truth.std()

    def test_one_call_equals_many(self, space, fitted):
        population = space.sample(10_000, np.random.default_rng(3))
        whole = fitted.predict(population)
        pieces = [fitted.predict(piece) for piece in np.array_split(population, 13)]
        for name in ("mean", "std"):
            joined = np.concatenate([getattr(piece, name) for piece in pieces])
            np.testing.assert_allclose(joined, getattr(whole, name), rtol=CHUNK_TOLERANCE)

    def test_rows_do_not_depend_on_each_other(self, fitted, unseen):
        order = np.random.default_rng(4).permutation(len(unseen))
        straight, shuffled = fitted.predict(unseen), fitted.predict(unseen[order])
        np.testing.assert_allclose(shuffled.mean, straight.mean[order], rtol=CHUNK_TOLERANCE)
        np.testing.assert_allclose(shuffled.std, straight.std[order], rtol=CHUNK_TOLERANCE)

    # --- state ------------------------------------------------------------------------------------

    def test_same_fit_gives_the_same_prediction(self, predictor, population, targets, unseen):
        other = copy.deepcopy(predictor)
        predictor.fit(population, targets)
        other.fit(population, targets)
        self.assert_equal(predictor.predict(unseen), other.predict(unseen))
        self.assert_equal(predictor.predict(unseen), predictor.predict(unseen))

    def test_a_new_fit_forgets_the_one_before(self, predictor, population, targets, unseen):
        fresh = copy.deepcopy(predictor)
        predictor.fit(population, targets)
        for fitted in (predictor, fresh):
            fitted.fit(population[:20], 3 * targets[:20])
        self.assert_equal(predictor.predict(unseen), fresh.predict(unseen))

    def test_inputs_stay_as_they_are_and_are_not_held(self, predictor, population, targets, unseen):
        given = population.copy(), targets.copy()
        predictor.fit(*given)
        before = predictor.predict(unseen)
        np.testing.assert_array_equal(given[0], population)
        np.testing.assert_array_equal(given[1], targets)
        given[0][:] = 0
        given[1][:] = 1e6
        self.assert_equal(predictor.predict(unseen), before)

    def test_targets_may_be_a_list(self, predictor, population, targets, unseen):
        other = copy.deepcopy(predictor)
        predictor.fit(population, targets)
        other.fit(population, targets.tolist())
        self.assert_equal(predictor.predict(unseen), other.predict(unseen))

    # --- upper bound ------------------------------------------------------------------------------

    def test_upper_bound_rises_with_coverage(self, fitted, unseen):
        prediction = fitted.predict(unseen)
        bounds = [prediction.upper(coverage) for coverage in np.linspace(0.01, 0.99, 50)]
        assert all(bound.shape == (len(unseen),) for bound in bounds)
        assert (np.diff(bounds, axis=0) >= 0).all()
        assert (bounds[-1] > bounds[0]).all()

    @pytest.mark.parametrize("coverage", [0.9, 0.99, 0.9999])
    def test_upper_bound_of_high_coverage_lies_above_the_mean(self, fitted, unseen, coverage):
        prediction = fitted.predict(unseen)
        assert (prediction.upper(coverage) >= prediction.mean).all()

    @pytest.mark.parametrize("coverage", [0.0, 1.0, -0.5, 90.0, float("nan")])
    def test_coverage_outside_of_its_range_is_refused(self, fitted, unseen, coverage):
        with pytest.raises(InputError, match="coverage between 0 and 1"):
            fitted.predict(unseen[:1]).upper(coverage)

    # --- bad input --------------------------------------------------------------------------------

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
    def test_targets_that_are_not_finite_are_refused(self, predictor, population, targets, value):
        targets[7] = value
        with pytest.raises(InputError):
            predictor.fit(population, targets)

    @pytest.mark.parametrize("n", [NUM_FITTED - 1, NUM_FITTED + 1])
    def test_targets_of_another_number_are_refused(self, predictor, population, targets, n):
        with pytest.raises(InputError):
            predictor.fit(population, np.resize(targets, n))
