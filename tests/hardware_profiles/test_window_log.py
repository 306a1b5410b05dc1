import json
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_profiles.profile_device import DeviceError, Visit, WindowLog

HEADER = {"plan": "0123", "target": {"device": "board", "frequency_mhz": None, "threads": 1}}
VISITS = [
    ("a", Visit([1.5, 1.25], [2.5, 2.0], 1000)),
    ("b", Visit([0.1 + 0.2], [1e-9], None)),
    ("a", Visit([1.0], [7.0], 0)),
    ("c", Visit([3.0], [3.0], None)),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "result.windows.jsonl"


def logged(path, visits=VISITS, header=HEADER):
    """Write a log, closed after; its bytes."""
    with closing(WindowLog(path, header)) as log:
        for name, visit in visits:
            log.add(name, visit)
    return path.read_bytes()


def known(path, header=HEADER):
    """(name, visit) of what a log knows when it is opened again."""
    with closing(WindowLog(path, header)) as log:
        return {name: list(visits) for name, visits in log.visits.items()}


def by_name(visits):
    found = {}
    for name, visit in visits:
        found.setdefault(name, []).append(visit)
    return found


def test_what_was_logged_is_known_again(path):
    data = logged(path)
    assert known(path) == by_name(VISITS)
    assert all(isinstance(visit, Visit) for visits in known(path).values() for visit in visits)
    assert path.read_bytes() == data


def test_a_new_log_knows_nothing(path):
    assert known(path) == {}
    assert known(path) == {}  # nor one that holds nothing but its header


def test_a_visit_is_in_the_file_as_soon_as_it_is_added(path):
    with closing(WindowLog(path, HEADER)) as log:
        for count, (name, visit) in enumerate(VISITS, start=1):
            log.add(name, visit)
            assert path.read_bytes().count(b"\n") == 1 + count
            assert known_without_opening(path) == by_name(VISITS[:count])


def known_without_opening(path):
    lines = path.read_text().splitlines()[1:]
    records = map(json.loads, lines)
    return by_name((record.pop("item"), Visit(**record)) for record in records)


def test_a_log_goes_on_where_it_ended(path):
    first = logged(path, VISITS[:2])
    assert logged(path, VISITS[2:]).startswith(first)
    assert known(path) == by_name(VISITS)


@given(st.data())
def test_a_torn_end_is_dropped_and_all_before_it_is_kept(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "windows.jsonl"
    whole = logged(path)
    length = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:length])
    num_whole = max(0, whole[:length].count(b"\n") - 1)
    assert known(path) == by_name(VISITS[:num_whole])
    logged(path, VISITS[num_whole:])
    assert path.read_bytes() == whole


DAMAGED_LINES = [
    b"",
    b"\xff\xfe\x00",
    b"\0" * 50,
    b"null",
    b"[1, 2]",
    b'{"item": "a"}',
    b'{"item": "a", "own_ms": [], "wall_ms": [1.0], "resident_bytes": null}',
    b'{"item": "a", "own_ms": [1.0], "wall_ms": [], "resident_bytes": null}',
    b'{"item": "a", "own_ms": [0.0], "wall_ms": [1.0], "resident_bytes": null}',
    b'{"item": "a", "own_ms": 1.0, "wall_ms": [1.0], "resident_bytes": null}',
    b'{"item": "a", "own_ms": ["x"], "wall_ms": [1.0], "resident_bytes": null}',
    b'{"item": "a", "own_ms": [1.0], "wall_ms": [1.0], "resident_byte',
    b'{"own_ms": [1.0], "wall_ms": [1.0], "resident_bytes": null}',
    b'{"item": ["a"], "own_ms": [1.0], "wall_ms": [1.0], "resident_bytes": null}',
    b'{"item": "a", "own_ms": [-1.0], "wall_ms": [1.0], "resident_bytes": null}',
    b'{"item": "a", "own_ms": [NaN], "wall_ms": [1.0], "resident_bytes": null}',
    b'{"item": "a", "own_ms": [1.0], "wall_ms": [Infinity], "resident_bytes": null}',
    b'{"item": "a", "own_ms": [1.0], "wall_ms": ["x"], "resident_bytes": null}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("line", DAMAGED_LINES, ids=lambda line: repr(line[:70]))
def test_a_damaged_line_counts_as_not_there(path, line):
    lines = logged(path).split(b"\n")
    path.write_bytes(b"\n".join([*lines[:3], line, *lines[3:]]))
    damaged = path.read_bytes()
    assert known(path) == by_name(VISITS)
    assert path.read_bytes() == damaged
    assert logged(path, VISITS[:1]).startswith(damaged)
    assert known(path) == by_name([*VISITS, VISITS[0]])


def test_memory_that_is_damaged_is_unknown(path):
    path.parent.mkdir()
    logged(path, [])
    with path.open("ab") as file:
        file.write(b'{"item": "a", "own_ms": [1.0], "wall_ms": [1.0], "resident_bytes": "x"}\n')
    assert known(path) == {"a": [Visit([1.0], [1.0], None)]}


def target(**changes):
    return {**HEADER, "target": HEADER["target"] | changes}


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({**HEADER, "plan": "4567"}, "plan"),
        (target(threads=2), "threads"),
        (target(threads=2, device="phone") | {"plan": "4567"}, "plan, device, threads"),
        ({**HEADER, "more": 1}, "more"),
    ],
    ids=str,
)
def test_a_log_of_something_else_is_refused_and_kept(path, other, what):
    before = logged(path)
    message = f"holds unfinished measurements of another {what}; .* another --out, or remove it"
    with pytest.raises(DeviceError, match=message):
        WindowLog(path, other)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "other", [target(frequency_mhz=1500.0), target(notes="kernel 7")], ids=["frequency", "notes"]
)
def test_what_hinders_no_comparison_hinders_no_going_on(path, other):
    before = logged(path)
    assert known(path, other) == by_name(VISITS)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"words", b'{"a": 1}'])
def test_a_file_without_a_whole_line_is_begun_anew(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    assert known(path) == {}
    logged(path)
    assert known(path) == by_name(VISITS)


@pytest.mark.parametrize(
    "content", [b"\n", b"words\n", b"\xff\n\n\n", b"[]\n{}\n", b'{"a": 1}\n', b'{"target": 3}\n']
)
def test_another_file_is_refused_and_kept(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DeviceError, match="holds unfinished measurements of another format"):
        WindowLog(path, HEADER)
    assert path.read_bytes() == content
