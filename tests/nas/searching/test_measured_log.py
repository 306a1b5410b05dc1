import json

import numpy as np
import pytest

from nas.append_log import AppendLog
from nas.searching.measured_log import Failure, MeasuredLog
from search_spaces import Dimension, InputError, SearchSpace, build_space

SPACE = SearchSpace("few@1", [Dimension(f"d{i}", (0, 1, 2, 3)) for i in range(3)])


class Measuring:
    """Answers with the sum of the options, last one first; remembers what it was asked."""

    def __init__(self, failing=()):
        self.asked, self.failing = [], set(failing)

    def __call__(self, architectures):
        for position in reversed(range(len(architectures))):
            values = tuple(architectures[position].values.values())
            self.asked.append(values)
            if values in self.failing:
                yield position, Failure("too hot")
            else:
                yield position, {"loss": float(sum(values)), "other": 1.0}


def log_of(path, measuring, made_from="weights", space=SPACE, search="this") -> MeasuredLog:
    log = AppendLog(path / "log.jsonl")
    return MeasuredLog(log, space, made_from, search, ["loss"], measuring)


def lines(path) -> list[dict]:
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


POPULATION = np.array([[0, 0, 0], [1, 2, 3], [0, 0, 0], [3, 0, 1]], dtype=np.int16)


def test_everything_is_measured_once_and_logged(tmp_path):
    measuring = Measuring()
    log = log_of(tmp_path, measuring)
    np.testing.assert_array_equal(log(POPULATION), [[0.0], [6.0], [0.0], [4.0]])
    assert sorted(measuring.asked) == [(0, 0, 0), (1, 2, 3), (3, 0, 1)]
    assert len(lines(tmp_path)) == 3
    np.testing.assert_array_equal(log(POPULATION[::-1]), [[4.0], [0.0], [6.0], [0.0]])
    assert len(measuring.asked) == 3


def test_a_later_search_uses_the_log(tmp_path):
    log_of(tmp_path, Measuring())(POPULATION[:2])
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(b'{"architecture_id": "torn')
    again = Measuring()
    np.testing.assert_array_equal(log_of(tmp_path, again)(POPULATION), [[0.0], [6.0], [0.0], [4.0]])
    assert again.asked == [(3, 0, 1)]
    assert len(lines(tmp_path)) == 3, "the torn line is cut off"


def test_what_was_measured_of_something_else_does_not_count(tmp_path):
    log_of(tmp_path, Measuring())(POPULATION)
    again = Measuring()
    log_of(tmp_path, again, made_from="other weights")(POPULATION)
    assert len(again.asked) == 3


def test_failures_are_logged_and_tried_again_by_the_next_search(tmp_path):
    log = log_of(tmp_path, Measuring(failing=[(1, 2, 3)]))
    np.testing.assert_array_equal(log(POPULATION), [[0.0], [np.nan], [0.0], [4.0]])
    (failed,) = [line for line in lines(tmp_path) if line["error"]]
    assert failed["error"] == "too hot"
    assert failed["measured"] == {}
    again = Measuring()
    assert log_of(tmp_path, again)(POPULATION)[1, 0] == 6.0
    assert again.asked == [(1, 2, 3)]


def test_an_answer_without_a_finite_number_is_a_failure(tmp_path):
    def measuring(architectures):
        yield 0, {"loss": float("nan")}
        yield 1, {"other": 1.0}

    found = log_of(tmp_path, measuring)(POPULATION[:2])
    assert np.isnan(found).all()
    assert {line["error"] for line in lines(tmp_path)} == {"no finite number for loss"}


def test_interrupted_between_answers_none_is_lost(tmp_path):
    def measuring(architectures):
        yield from list(Measuring()(architectures))[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        log_of(tmp_path, measuring)(POPULATION)
    assert len(lines(tmp_path)) == 2
    again = Measuring()
    log_of(tmp_path, again)(POPULATION)
    assert len(again.asked) == 1


def test_equal_networks_are_measured_once(tmp_path):
    space = build_space("nasbench201")
    keys = space.equivalence_key(space.sample(400, np.random.default_rng(0)))[:, 0]
    population = space.sample(400, np.random.default_rng(0))
    asked = []

    def measuring(architectures):
        for position, architecture in enumerate(architectures):
            asked.append(architecture)
            yield position, {"loss": 0.5}

    log_of(tmp_path, measuring, space=space)(population)
    assert len(asked) == len(np.unique(keys)) < len(np.unique(population, axis=0))


def test_what_others_measured_is_known_from_the_beginning(tmp_path):
    """What this search measured before it was interrupted is not: it will ask again."""
    log_of(tmp_path, Measuring(), search="other")(POPULATION[:1])
    log_of(tmp_path, Measuring(), search="this")(POPULATION[1:2])
    log = log_of(tmp_path, Measuring(failing=[(3, 0, 1)]), search="this")
    np.testing.assert_array_equal(log.earlier, POPULATION[:1])
    log(POPULATION[[1, 3]])
    np.testing.assert_array_equal(log.earlier, POPULATION[:1])
    np.testing.assert_array_equal(log.everything, POPULATION[:2])


def test_what_is_remembered_is_not_measured(tmp_path):
    measuring = Measuring()
    log = log_of(tmp_path, measuring)
    log.remember(POPULATION[:1], {"loss": 9.0})
    log.remember(POPULATION[1:2], {"something else": 9.0})
    np.testing.assert_array_equal(log(POPULATION[:2]), [[9.0], [6.0]])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"colour": "red"}', "architecture_id"),
        ("not json", "line 1 is damaged"),
        (
            json.dumps(
                {
                    "architecture_id": "a",
                    "values": {"kernel": 3},
                    "made_from": "weights",
                    "measured": {"loss": 1.0},
                }
            ),
            "unknown dimension",
        ),
    ],
)
def test_a_foreign_line_is_refused_with_its_file(tmp_path, line, words):
    (tmp_path / "log.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=words) as error:
        log_of(tmp_path, Measuring())
    assert "log.jsonl" in str(error.value)
    assert "remove that line" in str(error.value)
