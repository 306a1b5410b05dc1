import csv
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from nas.benchmarking.search import (
    SearchBenchmark,
    evaluated,
    run_search_benchmark,
)
from nas.benchmarking.table_objectives import table_objectives
from nas.benchmarking.tables import read_table
from nas.cli_bench import bench_app
from nas.searching.loop import LoopSettings
from nas.searching.searchers import SEARCHERS
from search_spaces import InputError, build_space
from search_spaces.nasbench_macro import layer_digits

SPACE = "nasbench-macro"
BEST = "21212121"


@pytest.fixture(scope="module")
def space():
    return build_space(SPACE)


@pytest.fixture(scope="module")
def path(space, tmp_path_factory):
    """All 6,561 architectures: the more choices agree with the best one's, the better."""
    population = space.all_architectures()
    best = space.encode(space.parse(BEST))
    rng = np.random.default_rng(0)
    accuracy = 80 + 2 * (population == best).sum(axis=1) + rng.uniform(0, 0.5, len(population))
    latency = 1 + population.sum(axis=1) + rng.uniform(0, 0.5, len(population))
    path = tmp_path_factory.mktemp("tables") / "macro.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "latency_ms_phone", "test_acc", "other_acc"])
        for row in zip(population, latency, accuracy, rng.permutation(accuracy), strict=True):
            writer.writerow([layer_digits(space.decode(row[0])), *row[1:]])
    return path


@pytest.fixture(scope="module")
def table(path, space):
    return read_table(path, space)


class Listed:
    """Asks what it was given, so many rows at a time."""

    notes = ()

    def __init__(self, population, size):
        self.population, self.size = population, size
        self.told = []

    def ask(self):
        asked, self.population = self.population[: self.size], self.population[self.size :]
        return asked

    def tell(self, population, costs, violations):
        self.told.append((population, costs, violations))


# --- the table as objectives ----------------------------------------------------------------------


def test_equal_networks_have_one_value(table, space):
    objectives = table_objectives(table, targets=["phone"])
    same = space.encode_all(space.parse(digits) for digits in ("01010221", "01001221"))
    costs = objectives.evaluate(same)
    assert (costs[0] == costs[1]).all()
    row = table.rows_of(same).min()  # the first of its class in the table
    assert costs[0].tolist() == [100 - table.accuracy()[row], table.latency("phone")[row]]
    assert len(objectives.of_networks) == 3969


def test_networks_are_the_classes_of_the_table(path, space, tmp_path):
    """Where a table names classes, they decide, not the space's own key."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["isomorphism_class"] = row["arch"][:2]
    named = tmp_path / "named.csv"
    with named.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    objectives = table_objectives(read_table(named, space))
    assert len(objectives.of_networks) == 9
    assert len(objectives.space.unique(space.all_architectures())) == 9
    assert len(np.unique(objectives.evaluate(space.all_architectures()))) == 9


def test_the_share_of_the_front_itself_is_one(table):
    objectives = table_objectives(table, targets=["phone"])
    reference = np.array([15.0, 20.0])
    assert objectives.hypervolume_share(objectives.of_networks, reference) == pytest.approx(1)
    worst = objectives.of_networks.max(axis=0, keepdims=True)
    assert objectives.hypervolume_share(worst, reference) == 0


def test_a_table_with_gaps_is_refused(path, space, tmp_path):
    short = tmp_path / "short.csv"
    short.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"expected all 6,561 architectures .* got 6,560"):
        table_objectives(read_table(short, space))


def test_a_table_without_accuracies_is_refused(path, space, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(path.read_text().replace("acc", "score"))
    with pytest.raises(InputError, match=r"expected a column with 'acc'.*--accuracy-column"):
        table_objectives(read_table(other, space))
    assert len(table_objectives(read_table(other, space), "test_score").costs)


# --- counting -------------------------------------------------------------------------------------


def test_evaluations_are_counted_one_by_one(table):
    objectives = table_objectives(table)
    population = objectives.space.unique(table.population)[:50]
    costs = objectives.evaluate(population)
    searcher = Listed(population, 8)
    np.testing.assert_array_equal(evaluated(searcher, objectives, LoopSettings(20)), costs[:20])
    np.testing.assert_array_equal(searcher.told[1][1], costs[8:16])
    np.testing.assert_array_equal(
        evaluated(Listed(population, 8), objectives, LoopSettings(99)), costs
    )
    least = float(costs[:30].min())
    ended = evaluated(Listed(population, 8), objectives, LoopSettings(99, enough=least))
    assert ended.min() <= least
    assert len(ended) <= 32


def test_an_architecture_asked_twice_counts_once(table):
    objectives = table_objectives(table)
    population = objectives.space.unique(table.population)[:20]
    twice = np.repeat(population, 2, axis=0)
    costs = evaluated(Listed(twice, 7), objectives, LoopSettings(99))
    np.testing.assert_array_equal(costs, objectives.evaluate(population))


def test_a_searcher_that_only_repeats_itself_ends(table):
    objectives = table_objectives(table)
    same = np.repeat(table.population[:1], 5000, axis=0)
    searcher = Listed(same, 1)
    assert len(evaluated(searcher, objectives, LoopSettings(20))) == 1
    assert len(searcher.population) > 0


@pytest.fixture
def scripted(monkeypatch, table):
    """A searcher that proposes the optimum as its third, or, at odd searches, not at all."""
    objectives = table_objectives(table)
    networks = objectives.space.unique(table.population)
    order = np.argsort(objectives.evaluate(networks)[:, 0], kind="stable")
    searches = iter(range(99))

    def build(space, rng, settings):
        third = order[0] if next(searches) % 2 == 0 else order[-1]
        return Listed(networks[[order[100], order[3], third, *order[200:230]]], 1)

    monkeypatch.setitem(SEARCHERS, "scripted", build)
    return networks[order]


@pytest.mark.parametrize(("seeds", "median", "mean"), [(1, 3, 3), (2, None, None), (3, 3, None)])
def test_evaluations_to_the_optimum(table, scripted, seeds, median, mean):
    settings = SearchBenchmark(searchers=("scripted",), seeds=seeds, evaluations=20)
    ((row, curve),) = run_search_benchmark(table, settings)
    best, top = row.evaluations_to_best, row.evaluations_to_top_permille
    assert (best.median, best.mean) == (median, mean)
    assert best.found == pytest.approx((seeds + 1) // 2 / seeds)
    assert top.median == top.mean == top.p90 == 2  # the fourth best of 3,969 is one of four
    assert not row.hypervolume_at
    if seeds == 1:
        errors = table_objectives(table).evaluate(scripted)[:, 0]
        at = dict(zip(curve.evaluations.tolist(), curve.quartiles[1], strict=True))
        assert at[1] == errors[100]
        assert at[2] == errors[3]
        assert at[20] == errors[0]


def test_hypervolume_after_so_many_evaluations(table, scripted):
    settings = SearchBenchmark(
        searchers=("scripted",), targets=("phone",), seeds=1, evaluations=30, hypervolume_at=(2, 30)
    )
    ((row, curve),) = run_search_benchmark(table, settings)
    objectives = table_objectives(table, targets=["phone"])
    reference = np.array([15.0, 1.1 * objectives.front[:, 1].max()])
    first = objectives.evaluate(scripted[[100, 3]])
    share = objectives.hypervolume_share(first, reference)
    assert row.hypervolume_at[2].median == pytest.approx(share)
    assert list(row.hypervolume_at) == [2, 30]
    assert row.evaluations_to_best is None
    assert (np.diff(curve.quartiles[1]) >= 0).all()


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench():
    app = typer.Typer()
    app.add_typer(bench_app, name="bench")

    def run(*words):
        return CliRunner().invoke(app, ["bench", "search", *map(str, words)])

    return run


def test_rows_as_json_and_csv(bench, path, tmp_path):
    out, plot = tmp_path / "rows.csv", tmp_path / "curve.png"
    result = bench(
        *("--table", path, "--space", SPACE, "--searchers", "random,nsga2", "--seeds", 3),
        *("--evaluations", 60, "--targets", "phone", "--json", "--out", out, "--plot", plot),
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [row["searcher"] for row in rows] == ["random", "nsga2"]
    assert list(rows[0]["hypervolume_at"]) == ["50"]
    with out.open() as file:
        written = list(csv.DictReader(file))
    assert (
        float(written[1]["hypervolume_at.50.median"]) == rows[1]["hypervolume_at"]["50"]["median"]
    )
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_scores_reach_the_searchers(bench, path, space, monkeypatch, tmp_path):
    seen = []

    def build(built, rng, settings):
        seen.append(settings.features(built.all_architectures()))
        return Listed(built.all_architectures(), 20)

    monkeypatch.setitem(SEARCHERS, "scripted", build)
    digits = [layer_digits(space.decode(genome)) for genome in space.all_architectures()]
    scores = tmp_path / "scores.csv"
    lines = [f"{text},{sum(map(int, text))}\n" for text in digits]
    scores.write_text("arch,zen\n" + "".join(lines))
    words = ("--table", path, "--space", SPACE, "--searchers", "scripted", "--seeds", 1)
    result = bench(*words, "--evaluations", 20, "--scores", scores)
    assert result.exit_code == 0, result.output
    assert seen[0].shape == (6561, 1)
    assert seen[0][0] == seen[0].min() < seen[0][-1] == seen[0].max()
    scores.write_text("arch,zen\n" + "".join(lines[:100]))
    result = bench(*words, "--scores", scores)
    assert isinstance(result.exception, InputError)


def test_the_same_seed_gives_the_same_rows(bench, path):
    words = ("--table", path, "--space", SPACE, "--searchers", "random", "--seeds", 3, "--json")
    first, again, other = (
        json.loads(bench(*words, "--evaluations", 4000, "--seed", seed).stdout)["rows"][0]
        for seed in (1, 1, 2)
    )
    assert first["evaluations_to_best"] == again["evaluations_to_best"]
    assert first["evaluations_to_best"] != other["evaluations_to_best"]
    assert first["evaluations_to_best"]["found"] == 1


def test_what_was_not_found_is_beyond_the_limit(bench, path, tmp_path):
    words = ("--table", path, "--space", SPACE, "--searchers", "random", "--seeds", 2)
    result = bench(*words, "--evaluations", 2)
    assert result.exit_code == 0, result.output
    assert ">2" in result.stdout
    out = tmp_path / "rows.csv"
    bench(
        *words[:-4], "--searchers", "random,nsga2", "--seeds", 2, "--evaluations", 400, "--out", out
    )
    with out.open() as file:
        assert [row["searcher"] for row in csv.DictReader(file)] == ["random", "nsga2"]
    assert "n/a" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--searchers", "randon"], "did you mean 'random'"),
        (["--accuracy-column", "tst_acc"], "did you mean 'test_acc'"),
        (["--targets", "fone"], "did you mean 'phone'"),
        (["--space", "nasbench201"], "--space"),
    ],
)
def test_bad_input_is_explained(bench, path, words, message):
    result = bench("--table", path, "--space", SPACE, *words)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


# --- published tables -----------------------------------------------------------------------------


def test_networks_of_nasbench201_are_those_of_the_literature(tables):
    """6,466 networks, two of which are best after 200 epochs: random search needs 2,156 of them."""
    table = read_table(tables / "nasbench201_cifar10.csv.gz", build_space("nasbench201"))
    objectives = table_objectives(table, "cifar10_test_acc_200ep")
    errors = objectives.of_networks[:, 0]
    assert len(errors) == 6466
    assert (errors == errors.min()).sum() == 2
    settings = SearchBenchmark(searchers=("random",), seeds=60, evaluations=6466)
    ((row, _),) = run_search_benchmark(table, settings)
    assert row.evaluations_to_best.mean == pytest.approx((6466 + 1) / 3, rel=0.25)
