import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nas.searching.searchers import SEARCHERS, Known, Searcher, SearcherSettings
from search_spaces import Dimension, InputError, SearchSpace
from tests.contracts.searcher_contract import (
    SearcherContract,
    costs_of,
    rows,
    small_space,
    synthetic_space,
)

NAMES = ("optuna-tpe", "optuna-gp", "optuna-nsga2")
ROOT = Path(__file__).parents[4]


class AnswersInBatches(SearcherContract):
    """With a batch as long as the others' population, so that a search is short."""

    one_at_a_time = True

    def searcher(self, space: SearchSpace, seed: int = 0, **settings) -> Searcher:
        return super().searcher(space, seed, **{"batch": self.population, **settings})


class TestOptunaTPE(AnswersInBatches, SearcherContract):
    name = "optuna-tpe"
    population = 12
    generations = 6
    many_generations = 8

    @pytest.mark.slow
    def test_more_dominated_area_than_random_search(self):
        self.generations = 15
        super().test_more_dominated_area_than_random_search()

    @pytest.mark.slow
    def test_feasible_architectures_are_preferred(self):
        self.generations = 15
        super().test_feasible_architectures_are_preferred()


class TestOptunaNSGA2(SearcherContract):
    name = "optuna-nsga2"
    many_generations = 20


@pytest.mark.slow  # every answer fits processes and takes a good part of a second
class TestOptunaGP(AnswersInBatches, SearcherContract):
    name = "optuna-gp"
    population = 2
    least_feasible = 0.3  # of the last six of thirty

    def test_more_dominated_area_than_random_search(self):
        """Of one objective instead: a few dozen evaluations cannot be told apart by area."""
        space = synthetic_space()
        searcher = self.searcher(space, num_objectives=1)
        least = np.inf
        for _ in range(self.generations):
            population = searcher.ask()
            costs = costs_of(space, population)[:, :1]
            searcher.tell(population, costs, np.zeros(len(population)))
            least = min(least, float(costs.min()))
        drawn = space.sample(10 * self.generations * self.population, np.random.default_rng(1))
        assert least < costs_of(space, drawn)[:, 0].min()


def build(
    name: str, space: SearchSpace | None = None, seed: int = 0, **settings: object
) -> Searcher:
    given = SearcherSettings(**{"population": 12, **settings})
    return SEARCHERS[name](space or synthetic_space(), np.random.default_rng(seed), given)


def step(searcher: Searcher, space: SearchSpace, limit: float = 9.0) -> np.ndarray:
    population = searcher.ask()
    costs = costs_of(space, population)
    searcher.tell(population, costs, np.maximum(costs[:, 1] / limit - 1, 0))
    return population


def words_space() -> SearchSpace:
    """Words, numbers, a single option and a condition on a word."""
    return SearchSpace(
        "words@1",
        [
            Dimension("operation", ("skip", "none", "conv")),
            Dimension("kernel", (3, 5, 7), ("operation", frozenset({2}))),
            Dimension("only", (1,)),
            Dimension("width", (0.5, 1.0)),
        ],
    )


def study_of(searcher: Searcher) -> optuna.Study:
    return searcher._study


# --- what is suggested ----------------------------------------------------------------------------


def test_a_process_proposes_beyond_its_random_start_and_nothing_twice():
    space = small_space()
    first, again = (
        [rows(step(searcher, space, 0.2))[0] for _ in range(13)]
        for searcher in (build("optuna-gp", space), build("optuna-gp", space))
    )
    assert first == again
    assert len(set(first)) == 13


@pytest.mark.parametrize("name", NAMES)
def test_one_objective(name):
    space = small_space()
    searcher = build(name, space, num_objectives=1, population=6, batch=3)
    for _ in range(4):
        population = searcher.ask()
        searcher.tell(population, costs_of(space, population)[:, :1], np.zeros(len(population)))
    assert len(study_of(searcher).directions) == 1


def test_numbers_are_places_words_are_words_and_what_is_inactive_is_not_suggested():
    space = words_space()
    searcher = build("optuna-tpe", space, batch=12)
    step(searcher, space)
    trials = study_of(searcher).get_trials(states=[TrialState.COMPLETE])
    for trial in trials:
        assert trial.params["operation"] in ("skip", "none", "conv")
        assert trial.params["width"] in (0, 1)
        assert "only" not in trial.params
        assert ("kernel" in trial.params) == (trial.params["operation"] == "conv")
    assert {trial.params.get("kernel") for trial in trials} == {None, 0, 1, 2}


@pytest.mark.parametrize("name", NAMES)
def test_words_and_conditions_that_are_given_are_proposed_first(name):
    space = words_space()
    start = np.array([[2, 1, 0, 1], [0, 2, 0, 0]], dtype=np.int16)
    searcher = build(name, space, batch=2, start=start)
    assert rows(searcher.ask()[:2]) == [(2, 1, 0, 1), (0, 0, 0, 0)]


def test_a_population_of_given_networks_is_a_generation():
    space = synthetic_space()
    start = space.sample_distinct(12, np.random.default_rng(5))
    searcher = build("optuna-nsga2", start=start)
    assert rows(step(searcher, space)) == rows(start)
    step(searcher, space)
    generations = [
        value
        for trial in study_of(searcher).trials
        for key, value in trial.system_attrs.items()
        if key.endswith("generation")
    ]
    assert generations == [0] * 12 + [1] * 12


# --- what is told ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_limits_are_a_constraint_of_every_trial(name):
    space, limit = synthetic_space(), 0.3
    searcher = build(name, batch=8)
    population = step(searcher, space, limit)
    kept = costs_of(space, population)[:, 1] <= limit
    trials = study_of(searcher).get_trials(states=[TrialState.COMPLETE])
    feasible = [all(value <= 0 for value in trial.constraints.values()) for trial in trials]
    assert all(len(trial.constraints) == 1 for trial in trials)
    assert feasible == kept.tolist()
    assert 0 < sum(feasible) < len(feasible)


@pytest.mark.parametrize("name", ["optuna-tpe", "optuna-nsga2"])
def test_what_is_known_to_exceed_a_limit_is_told_and_not_asked(name):
    """The second objective is known and limited, the first one is measured."""
    space, limit = synthetic_space(), 0.15

    def known(population: np.ndarray) -> Known:
        costs = costs_of(space, population)
        costs[:, 0] = np.nan
        return Known(costs, np.maximum(costs[:, 1] / limit - 1, 0))

    searcher = build(name, batch=12, known=known)
    for _ in range(3):
        assert (costs_of(space, step(searcher, space, limit))[:, 1] <= limit).all()
    trials = study_of(searcher).get_trials(states=[TrialState.COMPLETE])
    exceeding = [trial for trial in trials if max(trial.constraints.values()) > 0]
    assert exceeding
    assert all(trial.values[1] > limit for trial in exceeding)


@pytest.mark.parametrize("name", NAMES)
def test_failed_evaluations_are_told_as_failed_and_not_proposed_again(name):
    space = small_space()
    searcher = build(name, space, batch=4, population=4)
    failed = searcher.ask()
    searcher.tell(failed, np.full((4, 2), np.nan), np.full(4, np.inf))
    states = [trial.state for trial in study_of(searcher).trials]
    assert states.count(TrialState.FAIL) >= 4
    assert TrialState.COMPLETE not in states
    later = [row for _ in range(2) for row in rows(step(searcher, space))]
    assert not set(rows(failed)) & set(later)


def test_an_equal_network_is_told_with_its_known_costs():
    """Of 3 networks, each known by 10 names."""
    space = SearchSpace(
        "pairs@1",
        [Dimension("network", (0, 1, 2)), Dimension("name", tuple(range(10)))],
        network_key=lambda population: population[:, :1],
    )
    searcher = build("optuna-tpe", space)
    asked = [step(searcher, space) for _ in range(4)]
    assert [len(population) for population in asked] == [1, 1, 1, 0]
    told: dict[int, set[tuple[float, ...]]] = {}
    for trial in study_of(searcher).get_trials(states=[TrialState.COMPLETE]):
        told.setdefault(trial.params["network"], set()).add(tuple(trial.values))
    assert all(len(values) == 1 for values in told.values())
    assert len(study_of(searcher).get_trials(states=[TrialState.COMPLETE])) > 3


def test_nothing_is_written_to_the_terminal(capfd, tmp_path):
    for name in NAMES:
        step(build(name, storage=str(tmp_path / f"{name}.log")), synthetic_space())
    assert capfd.readouterr() == ("", "")


def test_telling_something_else_is_our_own_mistake():
    searcher = build("optuna-tpe", batch=2)
    searcher.ask()
    with pytest.raises(AssertionError, match="asked"):
        searcher.tell(synthetic_space().smallest(), np.zeros((1, 2)), np.zeros(1))


# --- shared studies -------------------------------------------------------------------------------

WORKER = textwrap.dedent(
    """
    import sys
    import numpy as np
    from nas.searching.searchers import SEARCHERS, SearcherSettings
    from tests.contracts.searcher_contract import costs_of, synthetic_space

    storage, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    space = synthetic_space()
    settings = SearcherSettings(storage=storage)
    searcher = SEARCHERS["optuna-tpe"](space, np.random.default_rng(seed), settings)
    for _ in range(count):
        population = searcher.ask()
        print(*population[0].tolist(), flush=True)
        if seed == 99:
            sys.stdin.read()  # until killed
        searcher.tell(population, costs_of(space, population), np.zeros(len(population)))
    """
)


KINDS = ["journal", pytest.param("sqlite", marks=pytest.mark.slow)]


def start_worker(storage: str, seed: int, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WORKER, storage, str(seed), str(count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def storages(folder: Path) -> dict[str, str]:
    return {"journal": str(folder / "study.log"), "sqlite": f"sqlite:///{folder / 'study.db'}"}


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_share_a_study_even_with_one_seed(kind, tmp_path):
    storage = storages(tmp_path)[kind]
    workers = [start_worker(storage, seed=0, count=12) for _ in range(2)]
    outputs = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    asked = [line for output, _ in outputs for line in output.splitlines()]
    assert len(asked) == 24
    assert len(set(asked)) == 24
    study = study_of(build("optuna-tpe", storage=storage))
    told = study.get_trials(states=[TrialState.COMPLETE])
    assert len({tuple(sorted(trial.params.items())) for trial in told}) == 24


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_worker_was_at_is_proposed_by_the_next(kind, tmp_path):
    space, storage = synthetic_space(), storages(tmp_path)[kind]
    before = rows(step(build("optuna-tpe", storage=storage), space))
    worker = start_worker(storage, seed=99, count=1)
    left = tuple(int(word) for word in worker.stdout.readline().split())
    other = build("optuna-tpe", seed=5, storage=storage)
    assert left not in rows(step(other, space)), "it is alive"
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    resumed = build("optuna-tpe", seed=6, storage=storage)
    assert rows(step(resumed, space)) == [left]
    later = [rows(step(searcher, space))[0] for _ in range(6) for searcher in (other, resumed)]
    assert len({*later, *before, left}) == 14
    assert not study_of(resumed).get_trials(states=[TrialState.RUNNING, TrialState.WAITING])


def test_a_study_goes_on_where_it_was(tmp_path):
    space, storage = small_space(), str(tmp_path / "study.log")
    seen: list[tuple[int, ...]] = []
    for seed in range(3):
        searcher = build("optuna-tpe", space, seed=0, storage=storage, batch=9)
        assert len(searcher._known) == 9 * seed
        seen += rows(step(searcher, space))
    assert len(set(seen)) == 27


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_study_of_another_space_is_refused(kind, tmp_path):
    storage = storages(tmp_path)[kind]
    step(build("optuna-tpe", storage=storage), synthetic_space())
    with pytest.raises(InputError, match=r"'search'.* is of synthetic@1, .*small@1; choose"):
        build("optuna-tpe", small_space(), storage=storage)
    changed = SearchSpace("synthetic@1", [Dimension("d0", (0, 1))])
    with pytest.raises(InputError, match="synthetic@1 with other dimensions or options"):
        build("optuna-tpe", changed, storage=storage)
    with pytest.raises(InputError, match="2 objectives, this search has 1"):
        build("optuna-tpe", storage=storage, num_objectives=1)
    build("optuna-tpe", small_space(), storage=storage, study="another")


def test_a_study_of_somebody_else_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=url, study_name="search", directions=["minimize"] * 2)
    study.ask()
    with pytest.raises(InputError, match="not made by"):
        build("optuna-tpe", storage=url)


def test_a_torn_line_at_the_end_of_a_journal_is_dropped(tmp_path):
    space, path = synthetic_space(), tmp_path / "study.log"
    step(build("optuna-tpe", storage=str(path)), space)
    with path.open("a") as file:
        file.write('{"op_code": 5, "wor')
    searcher = build("optuna-tpe", storage=str(path))
    step(searcher, space)
    assert len(build("optuna-tpe", storage=str(path))._known) == 2


@pytest.mark.parametrize("line", ["not of a journal\n", '{"a": 1}\n', "[1]\n"])
def test_a_file_that_is_no_journal_is_refused(line, tmp_path):
    path = tmp_path / "study.log"
    path.write_text(line)
    with pytest.raises(InputError, match=r"study\.log holds lines that are not"):
        build("optuna-tpe", storage=str(path))
    assert path.read_text() == line


@pytest.mark.parametrize("storage", ["none/study.log", "nosuch://x", "sqlite:////no/such/x.db"])
def test_a_storage_that_cannot_be_opened_is_refused(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"cannot keep a study in .*expected the path"):
        build("optuna-tpe", storage=storage)
