import numpy as np
import pytest

from nas.searching.searchers import SEARCHERS, Searcher, SearcherSettings
from nas.searching.searchers.auto import choose_searcher
from search_spaces import Dimension, SearchSpace, build_space
from tests.contracts.searcher_contract import SearcherContract, small_space, synthetic_space


class TestAuto(SearcherContract):
    name = "auto"
    many_generations = 20


@pytest.mark.parametrize(
    ("build", "settings", "expected"),
    [
        (small_space, {}, "random"),
        (small_space, {"evaluations": 29}, "bayesian"),
        (small_space, {"evaluations": 30}, "random"),
        (synthetic_space, {"evaluations": 1000}, "bayesian"),
        (synthetic_space, {"evaluations": 4000}, "nsga2"),
        (synthetic_space, {"evaluations": 4000, "num_objectives": 3}, "nsga2"),
        (synthetic_space, {"evaluations": 4000, "num_objectives": 1}, "regularised-evolution"),
        (synthetic_space, {"evaluations": 400, "measured": False}, "nsga2"),
        (synthetic_space, {"evaluations": 400, "measured": True}, "bayesian"),
        (small_space, {"evaluations": 100, "storage": "study.log"}, "optuna-tpe"),
    ],
)
def test_the_choice_follows_space_evaluations_and_objectives(build, settings, expected):
    choice = choose_searcher(build(), SearcherSettings(**settings))
    assert choice.name == expected
    assert choice.name in SEARCHERS


def test_networks_are_counted_and_not_architectures():
    space = build_space("nasbench201")  # 15,625 architectures of fewer networks
    settings = SearcherSettings(evaluations=6000)
    assert choose_searcher(space, settings).name == "random"


def test_the_reason_is_a_note():
    searcher = SEARCHERS["auto"](
        synthetic_space(), np.random.default_rng(0), SearcherSettings(evaluations=50)
    )
    (note,) = searcher.notes
    assert note == (
        "searcher bayesian: 50 evaluations in a space of 5e+07: every one should be the most useful"
    )


def test_what_the_chosen_searcher_notes_is_passed_on():
    def build(space: SearchSpace, rng: np.random.Generator, settings: SearcherSettings) -> Searcher:
        searcher = SEARCHERS["nsga2"](space, rng, settings)
        searcher.notes = ("of its own",)
        return searcher

    from nas.searching.searchers.auto import AutoSearcher

    searcher = AutoSearcher(
        SearchSpace("one@1", [Dimension("a", (1,))]),
        np.random.default_rng(0),
        SearcherSettings(),
        {"random": build},
    )
    assert searcher.notes == (
        "searcher random: all 1 networks can be evaluated",
        "of its own",
    )
