import numpy as np
import pytest

from predictors.predictor import (
    ErrorReport,
    Prediction,
    baseline_guesses,
    error_report,
    kendall,
)
from search_spaces import InputError

# --- upper bound ----------------------------------------------------------------------------------

RESIDUALS = [0.5, -1.0, 3.0, 0.0, 1.0, -0.5, 2.0, -2.0, 1.5]  # 9 of them


@pytest.mark.parametrize(
    ("coverage", "factor"),
    [(0.1, -2.0), (0.2, -1.0), (0.5, 0.5), (0.55, 1.0), (0.8, 2.0), (0.9, 3.0)],
)
def test_upper_bound_takes_a_residual_by_rank(coverage, factor):
    """The k-th smallest of n, k = ceil((n + 1) coverage)."""
    prediction = Prediction(np.array([10.0, 1.0]), np.array([2.0, 0.5]), np.array(RESIDUALS))
    np.testing.assert_allclose(prediction.upper(coverage), [10 + 2 * factor, 1 + 0.5 * factor])


@pytest.mark.parametrize(
    ("coverage", "factor"),
    [(0.91, 3.0), (0.99, 3.0), (0.99999, 4.2648908)],  # quantiles of the normal distribution
)
def test_upper_bound_beyond_the_ranks(coverage, factor):
    """The greatest residual or the normal quantile, whichever is higher."""
    prediction = Prediction(np.zeros(1), np.ones(1), np.array(RESIDUALS))
    np.testing.assert_allclose(prediction.upper(coverage), [factor], rtol=1e-6)


@pytest.mark.parametrize(
    ("coverage", "factor"), [(0.5, 0.0), (0.9, 1.2815516), (0.1, -1.2815516), (0.975, 1.9599640)]
)
def test_upper_bound_without_residuals_is_normal(coverage, factor):
    prediction = Prediction(np.array([5.0]), np.array([2.0]))
    np.testing.assert_allclose(prediction.upper(coverage), [5 + 2 * factor], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [9, 19, 60])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_upper_bound_covers_what_it_states_on_average(n, coverage):
    """Over many draws of residuals, whatever their distribution (here: a heavy tail)."""
    rng = np.random.default_rng(0)
    residuals, truth = rng.lognormal(0, 1.5, (4000, n)), rng.lognormal(0, 1.5, 4000)
    covered = [
        value <= Prediction(np.zeros(1), np.ones(1), row).upper(coverage)[0]
        for row, value in zip(residuals, truth, strict=True)
    ]
    expected = np.ceil((n + 1) * coverage) / (n + 1)  # exact for continuous distributions
    assert np.mean(covered) == pytest.approx(expected, abs=0.025)  # 3 standard errors


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 1.1, float("nan")])
def test_coverage_is_checked(coverage):
    with pytest.raises(InputError, match="expected a coverage between 0 and 1, got"):
        Prediction(np.zeros(1), np.ones(1)).upper(coverage)


# --- error report ---------------------------------------------------------------------------------

MEASURED = np.array([1.0, 2.0, 4.0, 5.0])
PREDICTED = np.array([1.04, 2.16, 2.0, 5.0])  # 4, 8, 50 and 0 % away; one pair of six swapped


def test_error_report_by_hand():
    report = error_report(PREDICTED, MEASURED)
    assert report.n == 4
    assert report.rmse == pytest.approx(((0.04**2 + 0.16**2 + 2**2) / 4) ** 0.5)
    assert report.mape == pytest.approx((0.04 + 0.08 + 0.5) / 4)
    assert report.within_5 == 0.5
    assert report.within_10 == 0.75
    assert report.kendall == pytest.approx((5 - 1) / 6)
    assert report.spearman == pytest.approx(1 - 6 * (1 + 1) / (4 * 15))  # ranks 1 3 2 4
    assert (report.noise_floor, report.ceiling, report.baselines) == (None, None, {})


def test_errors_are_relative_to_the_measured_value():
    assert error_report(np.array([1.0]), np.array([2.0])).mape == 0.5
    assert error_report(np.array([2.0]), np.array([1.0])).mape == 1.0


def test_perfect_and_reversed():
    perfect, reverse = (error_report(guess, MEASURED) for guess in (MEASURED, 6 - MEASURED))
    assert (perfect.rmse, perfect.mape, perfect.within_5, perfect.within_10) == (0, 0, 1, 1)
    assert (perfect.kendall, perfect.spearman) == (pytest.approx(1), pytest.approx(1))
    assert (reverse.kendall, reverse.spearman) == (pytest.approx(-1), pytest.approx(-1))


@pytest.mark.parametrize(
    ("predicted", "measured"),
    [(np.full(4, 3.0), MEASURED), (PREDICTED, np.full(4, 3.0)), (np.ones(1), np.ones(1))],
    ids=["constant guess", "constant truth", "one subnet"],
)
def test_no_ranks_where_nothing_differs(predicted, measured):
    report = error_report(predicted, measured)
    assert report.kendall is None
    assert report.spearman is None
    assert np.isfinite([report.rmse, report.mape]).all()


def test_ties_are_counted_as_tau_b():
    # 5 of 6 pairs concordant, one tied in the first only: 5 / sqrt(5 * 6)
    assert kendall(np.array([1.0, 2.0, 2.0, 3.0]), np.arange(4.0)) == pytest.approx(5 / 30**0.5)


def test_report_carries_its_context_through_json():
    baselines = {"constant": error_report(np.full(4, 3.0), MEASURED)}
    report = error_report(PREDICTED, MEASURED, noise_floor=0.02, ceiling=0.9, baselines=baselines)
    assert (report.noise_floor, report.ceiling) == (0.02, 0.9)
    back = ErrorReport.model_validate_json(report.model_dump_json())
    assert back == report
    assert back.baselines["constant"].kendall is None


# --- baselines ------------------------------------------------------------------------------------


def test_baselines_by_hand():
    macs, num_params = np.array([1.0, 10.0, 100.0]), np.array([5.0, 3.0, 4.0])
    guesses = baseline_guesses(
        {"macs": macs, "num_params": num_params},
        3 * macs**0.5,
        {"macs": np.array([4.0, 25.0]), "num_params": np.array([4.0, 4.0])},
    )
    reports = {name: error_report(one, np.array([6.0, 15.0])) for name, one in guesses.items()}
    assert list(reports) == ["constant", "macs", "num_params"]
    constant = 3 * 10**0.5  # the median
    assert reports["constant"].mape == pytest.approx(
        ((constant - 6) / 6 + (15 - constant) / 15) / 2
    )
    assert reports["constant"].kendall is None
    assert reports["macs"].mape == pytest.approx(0, abs=1e-9)
    assert reports["macs"].kendall == pytest.approx(1)
    assert reports["num_params"].mape > 0.2
    assert reports["num_params"].n == 2


def test_line_is_fitted_to_logarithms():
    rng = np.random.default_rng(0)
    x, fresh = rng.uniform(1, 1000, 40), rng.uniform(1, 1000, 30)
    y = np.exp(0.7 * np.log(x) - 1 + rng.normal(0, 0.3, 40))
    truth = np.exp(0.7 * np.log(fresh) - 1)
    columns = np.stack([np.log(x), np.ones(40)], axis=1)
    slope, intercept = np.linalg.solve(columns.T @ columns, columns.T @ np.log(y))
    guess = np.exp(slope * np.log(fresh) + intercept)
    found = error_report(baseline_guesses({"macs": x}, y, {"macs": fresh})["macs"], truth)
    assert found.mape == pytest.approx(np.mean(np.abs(guess - truth) / truth))
