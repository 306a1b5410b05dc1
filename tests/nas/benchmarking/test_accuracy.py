import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from nas.benchmarking.accuracy import AccuracyBenchmark, run_accuracy_benchmark
from nas.benchmarking.accuracy_rows import kendall_curves
from nas.benchmarking.scores import read_scores
from nas.benchmarking.tables import read_table
from nas.cli_bench import bench_app
from predictors.accuracy import ACCURACY_PREDICTORS
from predictors.predictor import Prediction
from search_spaces import InputError, build_space
from search_spaces.nasbench201 import cell_text

FAST = ("constant", "MACs", "ridge", "gaussian-process")


@pytest.fixture(scope="module")
def space():
    return build_space("nasbench201")


@pytest.fixture(scope="module")
def path(space, tmp_path_factory):
    """400 cells, some of them the same network, whose accuracy follows their operations."""
    population = space.sample(400, np.random.default_rng(0))
    population = np.unique(population, axis=0)
    gains = np.array([1.0, -2.0, 0.0, 2.0, 3.0])[population].sum(axis=1)
    keys = space.equivalence_key(population)[:, 0]
    accuracy = 80 + gains + np.random.default_rng(1).normal(0, 0.5, keys.max() + 1)[keys]
    path = tmp_path_factory.mktemp("tables") / "cells.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "isomorphism_class", "test_acc"])
        for i, (row, value) in enumerate(zip(population, accuracy, strict=True)):
            writer.writerow([cell_text(space.decode(row)), i, value])
    return path


@pytest.fixture(scope="module")
def scores_path(path, tmp_path_factory):
    """A score for all but 50 cells: the accuracy with noise."""
    with path.open() as file:
        rows = list(csv.DictReader(file))[50:]
    noise = np.random.default_rng(2).normal(0, 0.5, len(rows))
    values = [float(row["test_acc"]) for row in rows] + noise
    lines = [f"{row['arch']},{value}" for row, value in zip(rows, values, strict=True)]
    scores = tmp_path_factory.mktemp("scores") / "scores.csv"
    scores.write_text("\n".join(["arch,score", *lines]) + "\n")
    return scores


@pytest.fixture(scope="module")
def table(path, space):
    return read_table(path, space)


def benchmark(table, scores=None, **settings):
    given = {"predictors": FAST, "samples": (30, 60), "draws": 3} | settings
    return list(run_accuracy_benchmark(table, AccuracyBenchmark(**given), scores))


def test_rows_state_ranks_on_what_was_not_measured(table):
    rows = benchmark(table)
    assert [(row.samples, row.predictor) for row in rows] == [
        (samples, name) for samples in (30, 60) for name in FAST
    ]
    for row in rows:
        assert row.draws == 3
        assert 0 < row.tested <= len(table.class_representatives) - row.samples
        assert row.rmse.lower_quartile <= row.rmse.median <= row.rmse.upper_quartile
    kendall = {(row.samples, row.predictor): row.kendall for row in rows}
    assert kendall[60, "constant"] is None
    assert kendall[60, "ridge"].median > 0.7 > kendall[60, "MACs"].median
    sees = {row.predictor: row.encoding for row in rows}
    assert sees == {
        "constant": "constant",
        "MACs": "MACs",
        "ridge": "one-hot+paths+costs",
        "gaussian-process": "one-hot+paths+costs",
    }


def test_no_network_is_both_measured_and_tested(table, space, monkeypatch):
    """Not even under another class, where the space knows that the networks are equal."""
    measured, overlaps = [], []

    class Watching:
        encodings = ()

        def __init__(self, space, seed, features):
            pass

        def fit(self, population, targets):
            measured.append(space.equivalence_key(population)[:, 0])

        def predict(self, population):
            keys = space.equivalence_key(population)[:, 0]
            overlaps.append(np.isin(keys, measured[-1]).sum())
            guess = np.arange(len(population), dtype=np.float64)
            return Prediction(guess, np.ones(len(population)))

    monkeypatch.setitem(ACCURACY_PREDICTORS, "ridge", Watching)
    rows = benchmark(table, predictors=("ridge",), samples=(100,), draws=5)
    assert overlaps == [0] * 5
    assert rows[0].tested < len(table.class_representatives) - 100  # equal ones were left out


def test_scores_leave_out_what_they_lack_and_help(table, space, scores_path):
    scores = read_scores(scores_path, space)
    plain, helped = benchmark(table), benchmark(table, scores)
    assert helped[0].tested < plain[0].tested
    by_name = {row.predictor: row for row in helped if row.samples == 30}
    without = {row.predictor: row for row in plain if row.samples == 30}
    for name in ("ridge", "gaussian-process"):
        assert by_name[name].kendall.median > without[name].kendall.median + 0.03
        assert by_name[name].encoding.endswith("+features")


def test_the_same_seed_gives_the_same_rows(table):
    first, second = (benchmark(table, predictors=("auto",), samples=(20,), draws=1) for _ in "ab")
    assert [r.model_copy(update={"seconds": 0}) for r in first] == [
        r.model_copy(update={"seconds": 0}) for r in second
    ]
    assert sum(first[0].auto_chose.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"predictors": ("ridge", "rigde")}, "rigde"),
        ({"samples": (400,)}, "expected sample counts from 5 to"),
        ({"samples": ()}, "got none"),
        ({"accuracy_column": "acc"}, "column"),
    ],
)
def test_what_cannot_be_compared_is_refused(table, settings, words):
    with pytest.raises(InputError, match=words):
        benchmark(table, **settings)


def test_scores_that_hold_the_answer_are_refused(path, table, space):
    with pytest.raises(InputError, match="expected no accuracies, got test_acc"):
        benchmark(table, read_scores(path, space))


def test_command_writes_rows_and_a_plot(path, scores_path, tmp_path):
    out, plot = tmp_path / "rows.csv", tmp_path / "curves.png"
    words = ["accuracy", "--table", path, "--scores", scores_path, "--samples", "20,40"]
    words += ["--draws", 2, "--predictors", "constant,MACs,ridge", "--out", out, "--plot", plot]
    result = CliRunner().invoke(bench_app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert len(answer["rows"]) == 6
    assert answer["with_scores"] < answer["architectures"]
    with out.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["predictor"] for line in lines] == ["constant", "MACs", "ridge"] * 2
    expected = answer["rows"][2]["kendall"]["median"]
    assert float(lines[2]["kendall.median"]) == pytest.approx(expected)
    assert plot.read_bytes().startswith(b"\x89PNG")
    shown = CliRunner().invoke(bench_app, list(map(str, words)))
    assert shown.exit_code == 0
    assert "scores for" in shown.stdout


def test_curves_hold_what_has_a_rank(table):
    curves = kendall_curves(benchmark(table))
    assert set(curves) == {"MACs", "ridge", "gaussian-process"}
    samples, quartiles = curves["ridge"]
    assert samples.tolist() == [30, 60]
    assert quartiles.shape == (3, 2)
