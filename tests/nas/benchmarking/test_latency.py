import csv
import json

import numpy as np
import pytest
import typer
from scipy.stats import spearmanr
from typer.testing import CliRunner

from nas.benchmarking import latency as benchmark
from nas.benchmarking.latency import (
    METHODS,
    KnownTargets,
    LatencyBenchmark,
    family,
    headline,
    run_benchmark,
)
from nas.benchmarking.rows import rows_table, write_rows
from nas.benchmarking.tables import read_table
from nas.cli_bench import bench_app
from predictors.predictor import Prediction
from search_spaces import InputError, build_space
from search_spaces.nasbench201 import cell_connected, cell_macs, cell_text

NUM_CELLS = 400


@pytest.fixture(scope="module")
def space():
    return build_space("nasbench201")


@pytest.fixture(scope="module")
def path(space, tmp_path_factory):
    """A small table: two families alike, one that has nothing to do with them."""
    rng = np.random.default_rng(0)
    cells = np.unique(space.sample(NUM_CELLS, rng), axis=0)
    work = rng.uniform(0.5, 1.5, (6, 5)) * np.array([0, 1, 2, 3, 8])
    other = rng.uniform(0.5, 1.5, (6, 5)) * np.array([0, 1, 2, 3, 8])

    def on(first, second):
        costs = first * work + second * other
        return 1 + costs[np.arange(6), cells].sum(axis=1)

    columns = {
        "big_1": on(1, 0.2) * rng.normal(1, 0.02, len(cells)),
        "big_32": on(2, 0.4) * rng.normal(1, 0.02, len(cells)),
        "small_1": on(0.4, 0.5) * rng.normal(1, 0.02, len(cells)),
        "odd": np.round(rng.uniform(1, 9, len(cells)), 3),
    }
    path = tmp_path_factory.mktemp("tables") / "cells.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", *(f"latency_ms_{name}" for name in columns)])
        for i, cell in enumerate(cells):
            row = [values[i] for values in columns.values()]
            writer.writerow([cell_text(space.decode(cell)), *row])
    return path


@pytest.fixture(scope="module")
def table(path, space):
    return read_table(path, space)


def rows_of(table, **settings):
    defaults = {"samples": (10,), "draws": 3, "choices": ("chosen",)}
    result = run_benchmark(table, LatencyBenchmark(**(defaults | settings)))
    return [row for _, _, rows in result for row in rows]


@pytest.fixture(scope="module")
def rows(table):
    return rows_of(table, choices=("chosen", "random"), samples=(4, 10))


def test_every_target_count_choice_and_method_has_a_row(rows):
    seen = {(row.target, row.samples, row.choice, row.method) for row in rows}
    assert len(seen) == len(rows) == 4 * 2 * 2 * len(METHODS)


def test_alike_targets_are_predicted_and_an_odd_one_is_not(rows):
    spearman = {
        row.target: row.spearman
        for row in rows
        if (row.method, row.samples, row.choice) == ("transfer", 10, "chosen")
    }
    assert min(spearman["big_1"], spearman["small_1"]) > 0.9
    assert abs(spearman["odd"]) < 0.4


def test_auto_says_where_nothing_works(rows):
    auto = [row for row in rows if row.method == "auto" and row.samples == 10]
    assert all(sum(row.auto_chose.values()) == row.draws for row in auto)
    failed = {row.target for row in auto if row.auto_did_not_pass}
    assert failed == {"odd"}


def test_a_constant_has_no_rank(rows):
    for row in rows:
        assert (row.spearman is None) == (row.method == "constant")
        assert (row.kendall is None) == (row.method == "constant")


def test_the_same_seed_gives_the_same_rows(table):
    first, again, other = (
        rows_of(table, targets=("big_1",), methods=("transfer",), seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_families_end_at_the_underscore():
    assert family("1080ti_256") == family("1080ti_1") == "1080ti"
    assert family("titanx_1") != family("titanxp_1")


class Spy:
    """Stands in for a method and notes what it is given."""

    def __init__(self, known, seen):
        self.known, self.seen = known, seen

    def fit(self, population, targets):
        self.seen.append({"fitted": population, "targets": targets, "known": len(self.known)})

    def predict(self, population):
        self.seen[-1]["known_ms"] = [known(population) for known in self.known]
        mean = np.random.default_rng(0).uniform(1, 2, len(population))
        return Prediction(mean, np.ones(len(population)))


@pytest.fixture
def seen(monkeypatch):
    seen = []
    monkeypatch.setitem(METHODS, "transfer", lambda table, known: Spy(known, seen))
    return seen


def test_the_own_family_is_never_known(table, seen):
    rows_of(table, methods=("transfer",), targets=("big_1",), draws=1)
    rows_of(table, methods=("transfer",), targets=("odd",), draws=1)
    rows_of(table, methods=("transfer",), targets=("odd",), known=("big_32",), draws=1)
    assert [note["known"] for note in seen] == [2, 3, 1]
    for latencies in seen[0]["known_ms"]:
        assert abs(spearmanr(latencies, table.latency("big_1")).statistic) < 0.999
    assert spearmanr(seen[2]["known_ms"][0], table.latency("big_32")).statistic > 0.98


def test_no_class_is_measured_twice_or_tested(table, seen, monkeypatch):
    tested = []
    judge = benchmark._judge

    def watch(predictor, table, latency, test, connected):
        tested.append(test)
        return judge(predictor, table, latency, test, connected)

    monkeypatch.setattr(benchmark, "_judge", watch)
    rows_of(table, methods=("transfer",), choices=("chosen", "random"), samples=(50,))
    assert len(seen) == len(tested) == 4 * 2 * 3
    for note, test in zip(seen, tested, strict=True):
        measured = table.classes[table.rows_of(note["fitted"])]
        assert len(set(measured.tolist())) == 50
        assert not set(measured.tolist()) & set(table.classes[test].tolist())
        assert len(set(measured.tolist()) | set(table.classes[test].tolist())) == len(
            set(table.classes.tolist())
        )


def test_errors_in_percent_are_of_connected_cells(space, table, monkeypatch):
    """A guess that is right for connected cells and wild for the others."""
    connected = cell_connected(table.population)
    assert 0 < (~connected).sum() < 50

    class Guess:
        def fit(self, population, targets):
            pass

        def predict(self, population):
            mean = np.where(connected, table.latency("small_1"), 1e6)
            return Prediction(mean, np.ones(len(mean)))

    monkeypatch.setitem(METHODS, "regression", lambda table, known: Guess())
    (row,) = rows_of(table, methods=("regression",), targets=("small_1",))
    assert row.mape == 0
    assert row.within_10 == 1
    assert row.spearman < 0.99


def test_known_targets_are_smooth(table):
    """Nearer to what they would be without noise than what was measured; here: to both columns'
    common part.
    """
    smooth = KnownTargets(table).latency("big_1")(table.population)
    other = table.latency("big_32")
    raw = table.latency("big_1")
    assert spearmanr(smooth, other).statistic > spearmanr(raw, other).statistic


def test_macs_of_either_kind_of_space(table):
    np.testing.assert_array_equal(
        benchmark._macs(table)(table.population)[:, 0], cell_macs(table.population)
    )


def test_the_ceiling_is_what_many_measurements_reach(table):
    ceilings = {
        row.target: row.ceiling for row in rows_of(table, methods=("constant",), ceiling=True)
    }
    assert ceilings["small_1"] > 0.95
    assert abs(ceilings["odd"]) < 0.4
    assert rows_of(table, methods=("constant",))[0].ceiling is None


def test_the_headline_is_auto_at_ten_chosen_samples(rows):
    mean, samples, choice = headline(rows)
    of = [
        row.spearman
        for row in rows
        if (row.method, row.samples, row.choice) == ("auto", 10, "chosen")
    ]
    assert (samples, choice) == (10, "chosen")
    assert mean == pytest.approx(np.mean(of))
    assert headline([row for row in rows if row.samples == 4])[1:] == (4, "chosen")
    assert headline([row for row in rows if row.method != "auto"]) == (None, None, None)


def test_rows_are_written_and_shown(rows, tmp_path):
    write_rows(tmp_path / "rows.csv", rows)
    with (tmp_path / "rows.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(rows)
    assert [float(r["mape"]) for r in read] == [row.mape for row in rows]
    by_target, means = rows_table(rows)
    assert by_target.row_count == len(rows)
    assert means.row_count == 2 * 2 * len(METHODS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"targets": ("big_3",)}, "did you mean 'big_32'"),
        ({"known": ("smal_1",)}, "did you mean 'small_1'"),
        ({"methods": ("tranfer",)}, "did you mean 'transfer'"),
        ({"samples": (2,)}, "sample counts from 3"),
        ({"samples": (100_000,)}, "sample counts from 3"),
        ({"samples": ()}, "sample counts from 3"),
        ({"targets": ("odd",), "known": ("odd",)}, "odd: expected"),
    ],
)
def test_settings_that_make_no_sense_are_refused(table, settings, words):
    with pytest.raises(InputError, match=words):
        rows_of(table, **settings)


# --- command line ---------------------------------------------------------------------------------


@pytest.fixture
def bench():
    app = typer.Typer()
    app.add_typer(bench_app, name="bench")

    def call(*words):
        return CliRunner().invoke(app, ["bench", "latency", *map(str, words)])

    return call


def test_json_holds_rows_and_the_headline(bench, path, tmp_path):
    result = bench(
        "--table", path, "--targets", "big_1,small_1", "--samples", "5,10", "--draws", 2,
        "--methods", "MACs,auto", "--choose", "chosen", "--out", tmp_path / "rows.csv", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert len(answer["rows"]) == 2 * 2 * 2
    assert {"target", "samples", "method", "spearman", "kendall", "mape", "within_10"} <= set(
        answer["rows"][0]
    )
    auto = [r["spearman"] for r in answer["rows"] if (r["method"], r["samples"]) == ("auto", 10)]
    assert answer["mean_spearman"] == pytest.approx(np.mean(auto))
    assert answer["mean_spearman_of"] == {"method": "auto", "samples": 10, "choice": "chosen"}
    assert (tmp_path / "rows.csv").exists()


def test_tables_on_screen_are_in_percent(bench, path):
    result = bench("--table", path, "--targets", "odd", "--samples", "5", "--draws", 1)
    assert result.exit_code == 0, result.output
    assert "%" in result.stdout
    assert "mean Spearman of auto, 5 chosen samples" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples", "ten"], "expected numbers like 3,5,10"),
        (["--space", "nasbench20"], "did you mean 'nasbench201'"),
        (["--targets", "big"], "unknown target"),
        (["--space", "mobilenet-v3"], "--space"),
    ],
)
def test_bad_input_is_explained(bench, path, words, message):
    result = bench("--table", path, *words)
    assert result.exit_code != 0
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


# --- published tables -----------------------------------------------------------------------------


def test_ten_chosen_cells_reach_a_published_rank(tables, space):
    """Two targets of the real table, from seven known columns; the records are in the benchmark."""
    table = read_table(tables / "nasbench201_cifar10.csv.gz", space)
    found = rows_of(
        table,
        targets=("titanx_1", "silver_4210r"),
        known=("1080ti_1", "1080ti_256", "2080ti_256", "gold_6226"),
        methods=("MACs", "best-known-line", "transfer", "auto"),
        draws=2,
    )
    mean = {
        method: np.mean([row.spearman for row in found if row.method == method])
        for method in ("MACs", "best-known-line", "transfer", "auto")
    }
    assert mean["transfer"] > 0.975
    assert mean["auto"] > 0.975
    assert mean["transfer"] > mean["best-known-line"] > mean["MACs"] + 0.05
