"""Another run as the judge of candidates in attentive training."""

import numpy as np
import pytest

import nas
from nas.artifacts import fitted_accuracy, predicting_judge
from nas.config import check_recipe
from nas.training.checkpoint import read_state
from nas.training.metrics import epoch_records
from search_spaces import InputError


def recipe(judge, space: str = "mobilenet-digits"):
    settings = {"strategy": "attentive", "judge": str(judge), "num_random": 1, "candidates": 2}
    training = {**settings, "epochs": 1, "batch_size": 256, "warm_up_epochs": 0}
    return check_recipe({"space": {"name": space}, "training": training})


def test_the_judge_predicts_what_the_run_measured(finished):
    run = finished.open()
    expected = predicting_judge(str(finished.path), run.space.name)
    population = run.space.sample(20, np.random.default_rng(0))
    found = expected(population)
    assert found.shape == (20,)
    np.testing.assert_array_equal(found, fitted_accuracy(run).predictor.predict(population).mean)


def test_a_run_judges_the_candidates_of_another(finished, tmp_path, monkeypatch):
    judged = []

    def recording(judge, space):
        expected = predicting_judge(judge, space)
        return lambda population: judged.append(len(population)) or expected(population)

    monkeypatch.setattr("nas.supernet_trainer.predicting_judge", recording)
    run = nas.create_run(tmp_path / "run", recipe(finished.path))
    assert read_state(nas.train(run))["epoch"] == 1
    assert judged == [2] * (run.data.num_samples["train"] // 256)  # once a step
    (record,) = epoch_records(run.metrics.read())
    assert set(record["losses"]) == {"largest", "random", "smallest"}


def test_a_judge_of_another_space_is_refused(finished, tmp_path):
    with pytest.raises(InputError, match=r"training\.judge.*resnet-digits@1.*mobilenet-digits@1"):
        nas.create_run(tmp_path / "run", recipe(finished.path, space="resnet-digits"))
    assert not (tmp_path / "run").exists()


def test_a_judge_that_measured_nothing_yet_is_refused(tmp_path):
    empty = nas.create_run(tmp_path / "empty", check_recipe({}))
    with pytest.raises(InputError, match=r"training\.judge.*measured subnets.*train first"):
        nas.create_run(tmp_path / "run", recipe(empty.path))


def test_a_judge_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"not a run"):
        nas.create_run(tmp_path / "run", recipe(tmp_path / "nowhere"))
