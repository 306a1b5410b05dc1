import json

import pytest

from nas.append_log import AppendLog
from search_spaces import InputError


@pytest.fixture
def log(tmp_path):
    log = AppendLog(tmp_path / "folder" / "log.jsonl")
    for number in range(3):
        log.append({"number": number})
    return log


def numbers(log):
    return [record["number"] for record in log.read()]


def test_records_come_back_in_order(log):
    assert numbers(log) == [0, 1, 2]
    lines = log.path.read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1, 2]


def test_an_absent_log_is_empty(tmp_path):
    log = AppendLog(tmp_path / "absent.jsonl")
    assert log.read() == []
    log.keep_first(0)
    assert not log.path.exists()


@pytest.mark.parametrize("torn", [b"{", b'{"number": 3', b'{"number": 3}', b"\xff\xfe"])
def test_a_torn_last_line_is_dropped_and_cut_before_the_next(log, torn):
    with log.path.open("ab") as file:
        file.write(torn)
    assert numbers(log) == [0, 1, 2]
    log.append({"number": 4})
    assert numbers(log) == [0, 1, 2, 4]


def test_a_log_of_one_torn_line_starts_anew(tmp_path):
    log = AppendLog(tmp_path / "log.jsonl")
    log.path.write_bytes(b'{"num')
    assert log.read() == []
    log.append({"number": 0})
    assert numbers(log) == [0]


@pytest.mark.parametrize("line", [b"{broken", b"[1]", b"3", b"", b"\xff"])
def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(log, line):
    lines = log.path.read_bytes().split(b"\n")
    lines[1] = line
    log.path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match="line 2") as error:
        log.read()
    assert str(log.path) in str(error.value)


def test_values_that_are_no_numbers_are_not_written(log):
    with pytest.raises(ValueError, match="JSON"):
        log.append({"number": float("nan")})
    assert numbers(log) == [0, 1, 2]


@pytest.mark.parametrize(("count", "left"), [(0, []), (2, [0, 1]), (3, [0, 1, 2]), (9, [0, 1, 2])])
def test_keep_first(log, count, left):
    log.keep_first(count)
    assert numbers(log) == left
    log.append({"number": 7})
    assert numbers(log) == [*left, 7]
