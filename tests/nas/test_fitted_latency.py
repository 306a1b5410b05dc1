"""The latency predictor of a profile: which method, its error, what it learns later, transfer."""

import numpy as np
import pytest

import nas
from hardware_profiles.profile import Profile
from nas.fitted_latency import fit_latency
from nas.fitted_predictors import PredictorFile
from nas.known_targets import known_targets
from nas.reporting.predictor_facts import latency_facts
from nas.run_directory import open_run
from predictors.latency import LATENCY_PREDICTORS
from predictors.latency.layer_table import layer_table
from predictors.predictor import error_report
from search_spaces import InputError
from tests.nas.known_profiles import ELSEWHERE, by_costs, keep, made_up, on

NEW = on(ELSEWHERE, device="New board")


def bent(space, population):
    """The latency of a device that is like the known one, but for a smooth change."""
    return 0.004 + 1.7 * by_costs(space, population) ** 0.9


@pytest.fixture(scope="module")
def whole(space):
    """A profile with layers, calibration and held-out subnets."""
    return made_up(space)


@pytest.fixture(scope="module")
def bare(space):
    """Ten measured subnets of a device that bends the latencies, no layers, none held out."""
    return made_up(space, target=NEW, latency=bent, calibration=10, held_out=0, max_specs=0)


@pytest.fixture(scope="module")
def board(space, whole):
    """The known device as what `known_targets` makes of it."""
    predictor = fit_latency(space, whole, "calibrated-table").predictor
    return {"board": lambda population: predictor.predict(population).mean}


# --- the stated error -----------------------------------------------------------------------------


def test_the_error_is_that_on_held_out_subnets(space, whole):
    fitted = fit_latency(space, whole)
    population, latencies = whole.population(space, "held_out")
    assert fitted.report.n == len(latencies) == 8
    np.testing.assert_array_equal(fitted.measured, latencies)
    guess = fitted.predictor.predict(population).mean
    np.testing.assert_array_equal(fitted.held_out_prediction, guess)
    expected = error_report(guess, np.array(latencies))
    for name in ("mape", "within_5", "within_10", "spearman", "kendall", "rmse"):
        assert getattr(fitted.report, name) == getattr(expected, name)
    assert fitted.report.noise_floor == whole.noise


def test_held_out_subnets_are_never_fitted(space, whole):
    """Made ten times slower, they change the error and nothing of the predictor."""
    slower = [
        s.model_copy(update={"latency_ms": 10 * s.latency_ms}) if s.role == "held_out" else s
        for s in whole.subnets
    ]
    other = fit_latency(space, whole.model_copy(update={"subnets": tuple(slower)}))
    fitted = fit_latency(space, whole)
    unseen = space.sample(50, np.random.default_rng(0))
    np.testing.assert_array_equal(
        other.predictor.predict(unseen).mean, fitted.predictor.predict(unseen).mean
    )
    assert other.report.mape == pytest.approx(0.9, abs=0.02)
    assert fitted.report.mape < 0.05


@pytest.mark.parametrize("name", ["regression", "transfer", "auto"])
def test_without_held_out_subnets_each_is_predicted_from_the_others(space, bare, board, name):
    fitted = fit_latency(space, bare, name, board)
    population, latencies = bare.population(space, "calibration")
    assert fitted.report.n == len(latencies) == 10
    for left_out in (0, 7):
        rest = np.arange(10) != left_out
        alone = LATENCY_PREDICTORS[fitted.method](space, None, list(board.values()))
        alone.fit(population[rest], np.array(latencies)[rest])
        expected = alone.predict(population[left_out : left_out + 1]).mean[0]
        assert fitted.held_out_prediction[left_out] == pytest.approx(expected, rel=1e-9)
    seen = fitted.predictor.predict(population).mean
    assert not np.allclose(seen, fitted.held_out_prediction), "that would be the fitted error"


def test_baselines_stand_beside_it(space, whole, bare):
    fitted = fit_latency(space, whole)
    assert set(fitted.report.baselines) == {
        "constant",
        "macs",
        "num_params",
        "uncorrected layer sum",
    }
    assert fitted.report.mape < fitted.report.baselines["constant"].mape / 5
    assert fitted.report.baselines["constant"].spearman is None
    without_layers = fit_latency(space, bare).report.baselines
    assert set(without_layers) == {"constant", "macs", "num_params"}


def test_layers_that_were_not_measured_are_guessed_and_the_error_of_that_is_stated(space, whole):
    assert fit_latency(space, whole).layer_fill is None
    some = fit_latency(space, made_up(space, max_specs=60))
    assert some.layer_fill is not None
    assert some.layer_fill.n == 60
    assert 0 < some.layer_fill.mape < 0.5


# --- the method -----------------------------------------------------------------------------------


def test_with_layers_a_table_is_chosen_and_why_is_said(space, whole):
    fitted = fit_latency(space, whole)
    assert fitted.method == "calibrated-table"
    assert fitted.reason.startswith("calibrated-table: cross-validated error")


@pytest.mark.parametrize("name", ["table", "calibrated-table", "regression"])
def test_a_method_that_is_asked_for_is_used(space, whole, name):
    fitted = fit_latency(space, whole, name)
    assert (fitted.method, fitted.reason) == (name, "")


def test_what_a_method_lacks_is_named(space, whole, bare):
    with pytest.raises(InputError, match="no layer"):
        fit_latency(space, bare, "calibrated-table")
    with pytest.raises(InputError, match="known profile"):
        fit_latency(space, whole, "transfer")
    with pytest.raises(InputError, match="'regression'"):
        fit_latency(space, whole, "regresion")


def test_too_little_measured_is_refused(space, whole):
    with pytest.raises(InputError, match="3 or more"):
        fit_latency(space, whole.model_copy(update={"subnets": whole.subnets[:2]}))


# --- learning on ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [True, False])
def test_more_subnets_are_learnt_by_the_chosen_method(space, whole, bare, board, layers):
    profile, known = (whole, {}) if layers else (bare, board)
    fitted = fit_latency(space, profile, "auto", known)
    extra = space.sample_distinct(4, np.random.default_rng(5))
    slow = 3 * fitted.predictor.predict(extra).mean
    again = fitted.refitted((extra, slow))
    population, latencies = profile.population(space, "calibration")
    table = layer_table(space, profile).latency_ms if layers else None
    expected = LATENCY_PREDICTORS[fitted.method](space, table, list(known.values()))
    expected.fit(np.concatenate([population, extra]), np.concatenate([latencies, slow]))
    unseen = space.sample(20, np.random.default_rng(6))
    np.testing.assert_array_equal(again.predict(unseen).mean, expected.predict(unseen).mean)
    assert (again.predict(extra).mean > fitted.predictor.predict(extra).mean).all()


# --- known targets --------------------------------------------------------------------------------


def test_transfer_from_a_known_device_with_layers(space, whole, bare, known):
    keep(known, "board", whole)
    others = known_targets(space, bare)
    assert set(others) == {"board"}
    fitted = fit_latency(space, bare, known=others)
    assert fitted.method == "transfer"
    assert fitted.reason.startswith("transfer: cross-validated error")
    assert fitted.known == ("board",)
    unseen = space.sample(300, np.random.default_rng(1))
    errors = np.abs(fitted.predictor.predict(unseen).mean / bent(space, unseen) - 1)
    alone = fit_latency(space, bare).predictor.predict(unseen).mean
    assert errors.mean() < 0.03
    assert errors.mean() < np.abs(alone / bent(space, unseen) - 1).mean()


def test_a_run_of_a_profile_without_layers_transfers_and_its_report_says_the_same(copied, known):
    run = open_run(copied)
    board = made_up(run.space)
    keep(known, "board", board)
    own = Profile.load(run.profile_path).target
    few = made_up(run.space, target=own, latency=bent, calibration=10, held_out=6, max_specs=0)
    few.save(run.profile_path)
    _, fitted = nas.fit_predictors(run)
    assert fitted.method == "transfer"
    file = PredictorFile.load(run.predictors_path / "latency.json")
    assert file.predictor == "transfer"
    assert file.error == fitted.report
    facts = latency_facts(run, few)
    assert facts is not None
    assert not facts.restated
    np.testing.assert_array_equal(facts.predicted, fitted.held_out_prediction)


def test_without_a_known_device_regression_is_left(space, bare, known):
    assert known_targets(space, bare) == {}
    fitted = fit_latency(space, bare, known=known_targets(space, bare))
    assert fitted.method == "regression"
    assert fitted.known == ()


def test_a_device_that_tells_nothing_does_not_pass(space, bare):
    """Its latencies fall where those of the new device rise and fall at random."""

    def unlike(population):
        return np.random.default_rng(population.sum(axis=1)[:1].astype(int)).random(len(population))

    fitted = fit_latency(space, bare, known={"unlike": unlike})
    assert fitted.method == "regression"
    assert "transfer" in fitted.reason


def test_known_targets_are_those_with_layers_of_this_space_on_other_targets(
    space, whole, bare, known
):
    keep(known, "board", whole)
    keep(known, "same-target", made_up(space, target=NEW))
    keep(known, "no-layers", bare)
    keep(known, "other-space", whole, space="mobilenet-cifar@1")
    keep(known, "too-few", whole.model_copy(update={"layers": whole.layers[:1]}))
    (known / "damaged.json").write_text("{")
    assert set(known_targets(space, bare)) == {"board"}
    assert set(known_targets(space)) == {"board", "same-target"}
    assert known_targets(space, whole) == {}, "its own layers tell more"


def test_a_known_target_tells_any_population(space, whole, known):
    keep(known, "board", whole)
    unseen = space.sample(200, np.random.default_rng(2))
    guess = known_targets(space)["board"](unseen)
    assert guess.shape == (200,)
    assert np.abs(guess / by_costs(space, unseen) - 1).mean() < 0.05
