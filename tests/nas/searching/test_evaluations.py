import json

import pytest

from nas.append_log import AppendLog
from nas.searching.evaluations import Evaluations, MeasuredSubnet
from search_spaces import InputError

SUPERNET, TARGET = "a" * 64, "1234567890"


def measured(space, index: int, **changes) -> MeasuredSubnet:
    genome = space.smallest() if index == 0 else space.largest()
    architecture = space.decode(genome[0])
    values = {
        "architecture_id": architecture.id,
        "values": architecture.values,
        "supernet_sha256": SUPERNET,
        "target_id": TARGET,
        "validation_accuracy": 0.9,
        "loss": 0.3,
        "latency_ms": 2.0,
        "noise": 0.05,
    }
    return MeasuredSubnet(**{**values, **changes})


@pytest.fixture
def log(tmp_path):
    return AppendLog(tmp_path / "evaluations.jsonl")


@pytest.fixture
def evaluations(log, space):
    return Evaluations(log, space, SUPERNET, TARGET)


def test_what_was_added_is_known_here_and_after_reading_again(evaluations, log, space):
    one, other = measured(space, 0), measured(space, 1)
    evaluations.add(one)
    evaluations.add(other)
    for known in (evaluations, Evaluations(log, space, SUPERNET, TARGET)):
        assert known.all() == [one, other]
        assert known.get(one.architecture_id) == one
        assert known.get("unknown") is None
        assert known.architecture(one) == space.decode(space.smallest()[0])


@pytest.mark.parametrize("latencies", [(2.0, 2.5), (2.5, 2.0), (2.9, 2.0, 2.5)])
def test_the_slower_of_the_last_two_latencies_counts(evaluations, log, space, latencies):
    for i, latency in enumerate(latencies):
        counting = evaluations.add(measured(space, 0, latency_ms=latency))
        assert counting.latency_ms == max(latencies[max(i - 1, 0) : i + 1])
    assert len(log.read()) == len(latencies)
    for known in (evaluations, Evaluations(log, space, SUPERNET, TARGET)):
        assert [m.latency_ms for m in known.all()] == [2.5]


def test_slow_is_what_the_typical_pass_takes(evaluations, log, space):
    steady = measured(space, 0, latency_ms=2.1, noise=0.0)
    shaky = measured(space, 0, latency_ms=2.0, noise=0.2)
    for one in (steady, shaky, steady):
        evaluations.add(one)
    assert evaluations.all() == Evaluations(log, space, SUPERNET, TARGET).all() == [shaky]


def test_other_supernets_and_targets_are_ignored(evaluations, log, space):
    evaluations.add(measured(space, 0))
    log.append(measured(space, 1, supernet_sha256="b" * 64).model_dump())
    log.append(measured(space, 1, target_id="another").model_dump())
    known = Evaluations(log, space, SUPERNET, TARGET)
    assert [m.architecture_id for m in known.all()] == [measured(space, 0).architecture_id]


def test_a_budget_is_kept_by_the_typical_pass(space):
    one = measured(space, 0, latency_ms=2.0, noise=0.05)
    assert one.keeps(2.1)
    assert not one.keeps(2.09)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"latency_ms": "fast"}, "latency_ms"),
        ({"latency_ms": None}, "latency_ms"),
        ({"latency_ms": float("nan")}, "latency_ms"),
        ({"surprise": 1}, "surprise"),
        ({"values": 3}, "values"),
    ],
)
def test_a_foreign_line_names_the_file_and_the_field(evaluations, log, space, change, field):
    evaluations.add(measured(space, 0))
    record = {**measured(space, 1).model_dump(), **change}
    with log.path.open("a") as file:
        file.write(json.dumps(record) + "\n")
    with pytest.raises(InputError) as error:
        Evaluations(log, space, SUPERNET, TARGET)
    assert str(log.path) in str(error.value)
    assert field in str(error.value)


def test_a_line_without_a_field_names_it(evaluations, log):
    log.append({"architecture_id": "x"})
    with pytest.raises(InputError, match="values"):
        Evaluations(log, None, SUPERNET, TARGET)


def test_a_torn_last_line_is_survived(evaluations, log, space):
    evaluations.add(measured(space, 0))
    with log.path.open("ab") as file:
        file.write(b'{"architecture_id": "12')
    known = Evaluations(log, space, SUPERNET, TARGET)
    assert len(known.all()) == 1
    known.add(measured(space, 1))
    assert len(Evaluations(log, space, SUPERNET, TARGET).all()) == 2
