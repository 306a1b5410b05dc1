import hashlib
import json
import os
import subprocess
import sys
from typing import Literal

import pytest
from pydantic import ValidationError

from hardware_profiles.artifact import (
    FORMAT,
    Artifact,
    content_hash,
    file_hash,
    read_json,
    tool_version,
    write_atomic,
)
from search_spaces import InputError


class Note(Artifact):
    """A small file to try the base on."""

    kind: Literal["note"] = "note"
    text: str
    share: float
    inside: dict[str, float] | None = None


@pytest.fixture
def note():
    return Note(text="déjà vu, 5 µs", share=0.1 + 0.2, inside={"least": 1e-300, "most": 1e300})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "note.json"


def changed(note, path, **values):
    """Save the note with some keys changed (None: left out)."""
    data = json.loads(note.to_bytes()) | values
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


# --- writing --------------------------------------------------------------------------------------


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "file.bin"
    write_atomic(path, b"first, the longer one")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["file.bin"]


def test_failing_write_leaves_the_old_file_and_nothing_else(path):
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "words instead of bytes")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_failing_rename_leaves_nothing(path):
    path.mkdir()  # a folder in the way
    (path / "inside").touch()
    with pytest.raises(OSError, match=path.name):
        write_atomic(path, b"new")
    assert os.listdir(path.parent) == [path.name]
    assert os.listdir(path) == ["inside"]


def test_old_file_stays_whole_while_the_new_one_is_written(path):
    """A reader that opened the old file reads all of it after the new one came."""
    old = b"old" * 100_000
    write_atomic(path, old)
    with path.open("rb") as file:
        start = file.read(10)
        write_atomic(path, b"new")
        assert start + file.read() == old
    assert path.read_bytes() == b"new"


# --- artifacts ------------------------------------------------------------------------------------


def test_round_trip(note, path):
    note.save(path)
    assert Note.load(path) == note
    assert path.read_bytes() == note.to_bytes()
    data = json.loads(path.read_text(encoding="utf-8"))
    assert (data["format"], data["kind"], data["tool_version"]) == (FORMAT, "note", tool_version())
    assert data["share"] == 0.1 + 0.2


def test_absent_file(path):
    with pytest.raises(InputError, match=r"note\.json: no such file"):
        Note.load(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_truncated_file(note, path, share):
    whole = note.to_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"note\.json: damaged, not readable as JSON"):
        Note.load(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 100, b"format: 1"])
def test_not_json(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match="not readable as JSON"):
        Note.load(path)


def test_folder_instead_of_a_file(tmp_path):
    with pytest.raises(InputError, match="not readable as JSON"):
        Note.load(tmp_path)


def test_deeply_nested_file(path):
    path.write_text("[" * 200_000)
    with pytest.raises(InputError, match="not readable as JSON"):
        Note.load(path)


@pytest.mark.parametrize("content", ["[]", "null", "3", '"note"', "{}", '{"kind": "profile"}'])
def test_file_of_another_kind(path, content):
    path.write_text(content)
    with pytest.raises(InputError, match=r"note\.json: expected a file of kind 'note', got"):
        Note.load(path)


def test_unknown_format_names_the_version_that_wrote_it(note, path):
    changed(note, path, format=FORMAT + 1, tool_version="9.8.7")
    with pytest.raises(
        InputError, match=rf"format {FORMAT + 1} written by version 9\.8\.7"
    ) as info:
        Note.load(path)
    assert tool_version() in str(info.value)
    changed(note, path, format=None)
    with pytest.raises(InputError, match="format None"):
        Note.load(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"surplus": 1}, "surplus"),
        ({"text": None}, "text"),
        ({"text": 5}, "text.*'5'"),
        ({"share": "much"}, "share.*'much'"),
        ({"share": float("nan")}, "share.*nan"),
        ({"share": float("inf")}, "share.*inf"),
        ({"inside": {"least": float("nan")}}, r"inside\.least.*nan"),
    ],
)
def test_bad_values_are_named(note, path, values, message):
    changed(note, path, **values)
    with pytest.raises(InputError, match=rf"note\.json: {message}") as info:
        Note.load(path)
    assert "\n" not in str(info.value)


def test_artifacts_do_not_change(note):
    with pytest.raises(ValidationError):
        note.text = "other"


def test_files_are_read_as_utf_8_whatever_the_locale(note, path):
    note.save(path)
    script = (
        "import pathlib, sys\n"
        "from hardware_profiles.artifact import read_json\n"
        "print(ascii(read_json(pathlib.Path(sys.argv[1]))['text']))"
    )
    environment = os.environ | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, env=environment
    )
    assert run.stdout.strip() == ascii(note.text), run.stderr


def test_read_json_gives_what_is_there(path):
    path.write_text('{"a": [1, 2.5, null]}')
    assert read_json(path) == {"a": [1, 2.5, None]}


# --- hashes ---------------------------------------------------------------------------------------


def test_file_hash_is_the_sha_256(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_hash(path) == (  # FIPS 180-2, appendix B.1
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_content_hash_does_not_depend_on_the_order_of_keys():
    first = {"a": 1, "b": {"c": [1, 2], "d": "é"}}
    second = {"b": {"d": "é", "c": [1, 2]}, "a": 1}
    assert content_hash(first) == content_hash(second)
    assert content_hash({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


@pytest.mark.parametrize(
    "other", [{"a": [2, 1]}, {"a": [1, 2], "b": None}, {"b": [1, 2]}, {"a": ["1", 2]}, [1, 2]]
)
def test_content_hash_depends_on_everything_else(other):
    assert content_hash({"a": [1, 2]}) != content_hash(other)
