"""Zero-cost proxies of a finished run, from the command line and in a recipe."""

import csv
import shutil

import numpy as np
import pytest

import nas
from nas.append_log import AppendLog
from nas.artifacts import fitted_accuracy
from nas.run_directory import open_run
from predictors.accuracy import ACCURACY_PREDICTORS
from predictors.zero_cost import ZERO_COST
from search_spaces import InputError


def test_the_command_ranks_proxies_beside_parameters_and_macs(copied, nas_command, tmp_path):
    asked = ("proxies", copied, "--samples", 5, "--proxies", "naswot,synflow")
    answer = nas_command(*asked, "--json", "--out", tmp_path / "scores.csv")
    assert answer.code == 0, answer.stderr
    ranks = answer.json["ranks"]
    assert [rank["proxy"] for rank in ranks] == ["parameters", "macs", "naswot", "synflow"]
    assert all(rank["n"] == 5 and -1 <= rank["kendall"] <= 1 for rank in ranks)
    assert answer.json["quality"] in ("accuracy", "-cross-entropy")
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    run = open_run(copied)
    samples = {record["architecture_id"]: record for record in run.accuracy_samples.read()}
    assert len(rows) == 5
    for row in rows:
        architecture = run.space.architecture(samples[row["architecture_id"]]["values"])
        costs = run.space.layers.costs(run.space.encode(architecture)).row(0)
        assert float(row["parameters"]) == costs["num_params"]
        assert float(row["macs"]) == costs["macs"]
    logged = AppendLog(copied / "zero_cost.jsonl").read()
    assert len(logged) == 5 * 4
    again = nas_command(*asked)
    assert again.code == 0
    assert "Kendall" in again.stdout
    assert "naswot" in again.stdout
    assert AppendLog(copied / "zero_cost.jsonl").read() == logged


def test_trained_weights_are_scored_apart(copied):
    first = nas.proxies(copied, ["snip"], samples=3)
    trained = nas.proxies(copied, ["snip"], samples=3, trained=True)
    assert [rank.proxy for rank in trained.ranks] == ["parameters", "macs", "snip"]
    pairs = np.array(first.scores) == np.array(trained.scores)
    assert pairs[:, :2].all()
    assert not pairs[:, 2].any()


def test_bad_requests_are_refused(copied, nas_command, tmp_path):
    answer = nas_command("proxies", copied, "--proxies", "naswot,sinflow")
    answer.assert_refused("zero-cost proxy", "'sinflow'", "synflow")
    assert not (copied / "zero_cost.jsonl").exists()
    nas_command("proxies", tmp_path / "nothing").assert_refused("is not a run")
    (copied / "accuracy_samples.jsonl").unlink()
    nas_command("proxies", copied).assert_refused("accuracy_samples.jsonl", "no samples")


def test_a_recipe_that_names_proxies_gives_them_to_the_accuracy_predictor(copied, monkeypatch):
    run = open_run(copied)
    config = run.recipe.accuracy.model_copy(update={"proxies": ("naswot", "synflow")})
    run.recipe = run.recipe.model_copy(update={"accuracy": config})
    given = []

    def recording(space, seed, features):
        given.append(features)
        return ACCURACY_PREDICTORS["gaussian-process"](space, seed, features)

    monkeypatch.setitem(ACCURACY_PREDICTORS, "recording", recording)
    config = config.model_copy(update={"predictor": "recording"})
    run.recipe = run.recipe.model_copy(update={"accuracy": config})
    fitted = fitted_accuracy(run)
    assert given
    assert np.isfinite(fitted.held_out_prediction).all()
    population = run.space.encode_all(
        run.space.architecture(record["values"]) for record in run.accuracy_samples.read()
    )
    columns = given[-1](population)
    assert columns.shape == (len(population), 2)
    assert np.isfinite(columns).all()
    assert len(run.proxy_scores.read()) == 2 * len(population)


def test_a_recipe_with_an_unknown_proxy_is_refused_before_anything_is_written(tmp_path):
    recipe = nas.load_recipe(None, ['accuracy.proxies=["sinflow"]'])
    with pytest.raises(InputError, match="zero-cost proxy 'sinflow'"):
        nas.create_run(tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_without_names_all_proxies_are_scored(finished, tmp_path):
    path = shutil.copytree(finished.path, tmp_path / "run")
    report = nas.proxies(path, samples=3)
    assert {rank.proxy for rank in report.ranks} == set(ZERO_COST)
    assert np.isfinite(report.scores).all()
