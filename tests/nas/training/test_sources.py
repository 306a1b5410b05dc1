"""A training that goes on with other teachers, or with other processes."""

import pytest

from nas.training.checkpoint import read_state
from nas.training.metrics import epoch_records, event_records
from nas.training.ranks import Ranks
from search_spaces import InputError
from tests.nas.training.small_training import CONFIG, assert_same
from tests.nas.training.small_training import SmallTraining as Training
from tests.nas.training.test_checkpoints import damage

SHORT = CONFIG.replaced(num_random=0, batch_size=64, evaluate_every=1)  # two steps an epoch
TEACHER, FUNCTION = "training.teachers runs/a", "training.teachers python:mine:net"


class OneOf(Ranks):
    """The first of several processes, without the others."""

    def __init__(self, size: int) -> None:
        self.size = size


@pytest.fixture
def begun(tmp_path, space, bars):
    """A training of which one epoch is done."""
    training = Training(tmp_path / "begun", space, bars, SHORT)
    training.sources = {
        TEACHER: "old",
        FUNCTION: "same",
        "training.teachers python:math:fsum": None,
    }
    training.go_on(stop_after=2)
    assert read_state(training.path)["epoch"] == 1
    return training


OTHERS = {
    "changed": ({TEACHER: "new", FUNCTION: "same"}, TEACHER),
    "left out": ({TEACHER: "old"}, FUNCTION),
    "added": ({TEACHER: "old", FUNCTION: "same", "training.weights": "c"}, "training.weights"),
}


@pytest.mark.parametrize(("sources", "name"), OTHERS.values(), ids=OTHERS)
def test_another_teacher_is_refused_by_name_and_nothing_is_touched(begun, sources, name):
    before = begun.path.read_bytes(), begun.metrics.path.read_bytes()
    begun.sources = sources
    with pytest.raises(InputError) as error:
        begun.go_on()
    message = str(error.value)
    assert message.startswith(f"{name} has changed since training began")
    assert str(begun.path) in message
    assert "--out" in message
    assert "\n" not in message
    assert (begun.path.read_bytes(), begun.metrics.path.read_bytes()) == before


def test_the_same_teachers_go_on(begun, space, bars, tmp_path):
    whole = Training(tmp_path / "whole", space, bars, SHORT)
    whole.sources = dict(begun.sources)
    whole.go_on()
    assert begun.go_on() is None
    assert_same(begun, whole)


def test_a_training_that_is_done_takes_nothing_from_teachers_any_more(begun):
    begun.go_on()
    before = begun.path.read_bytes()
    begun.sources = {TEACHER: "new"}
    assert begun.go_on() is None
    assert begun.path.read_bytes() == before


def test_another_number_of_processes_is_said_and_recorded_once(begun):
    begun.ranks = OneOf(2)
    said = begun.go_on(stop_after=0)  # and before it has a checkpoint of its own
    assert said == begun.go_on(stop_after=2)
    assert said is not None
    assert "1 processes began this training, now 2 go on" in said
    assert read_state(begun.path)["processes"] == 2
    assert begun.go_on() is None
    records = begun.metrics.read()
    assert event_records(records) == [{"event": "processes", "epoch": 2, "from": 1, "to": 2}]
    assert [record["epoch"] for record in epoch_records(records)] == [1, 2, 3]


def test_damage_is_said_also_where_the_number_of_processes_changes(begun):
    damage(begun.path)
    begun.ranks = OneOf(2)
    said = begun.go_on()
    assert said is not None
    assert str(begun.path) in said
    assert "now 2 go on" in said
    assert "\n" not in said
