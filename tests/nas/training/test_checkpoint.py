import json
import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from nas.training.checkpoint import checkpoint_hash, load_checkpoint, read_state, save_checkpoint
from search_spaces import InputError

SPACE = "toy@1"
STATE = {"space": SPACE, "epoch": 3, "epochs": 5, "seed": 0}


def some_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(4, 3, 3, 3, generator=generator)
    return {
        "weights.a": weights.to(memory_format=torch.channels_last),
        "weights.b": torch.randn(7, generator=generator),
        "momentum.b": torch.randn(7, generator=generator),
    }


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "deep" / "checkpoint.safetensors"
    save_checkpoint(path, some_tensors(), STATE)
    return path


def header_length(path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def edit(path, position: int, mask: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= mask
    path.write_bytes(content)


def rewrite(path, **changes) -> None:
    """Write the same tensors with another state."""
    state = {**read_state(path), **changes}
    save_file(load_file(path), path, metadata={"state": json.dumps(state)})


def test_tensors_and_state_come_back(path):
    tensors, state = load_checkpoint(path, SPACE)
    expected = some_tensors()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert {key: state[key] for key in STATE} == STATE
    assert read_state(path) == state
    assert state["sha256"] == checkpoint_hash(
        expected, {key: value for key, value in state.items() if key != "sha256"}
    )


def test_nothing_but_the_checkpoint_is_left(path):
    assert list(path.parent.iterdir()) == [path]


def test_saving_again_replaces(path):
    save_checkpoint(path, some_tensors(), {**STATE, "epoch": 4})
    assert read_state(path)["epoch"] == 4


def test_hash_follows_values_names_shapes_and_types_not_order_or_layout():
    tensors = some_tensors()
    expected = checkpoint_hash(tensors, STATE)
    assert checkpoint_hash(dict(reversed(tensors.items())), STATE) == expected
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    assert checkpoint_hash(contiguous, STATE) == expected
    changed = {
        "value": {**tensors, "weights.b": tensors["weights.b"] + 1e-6},
        "shape": {**tensors, "weights.b": tensors["weights.b"][None]},
        "type": {**tensors, "weights.b": tensors["weights.b"].view(torch.int32)},
        "name": {**tensors, "weights.c": tensors["weights.b"]},
        "missing": {"weights.a": tensors["weights.a"]},
    }
    hashes = [checkpoint_hash(value, STATE) for value in changed.values()]
    hashes.append(checkpoint_hash(tensors, {**STATE, "epoch": 4}))
    assert len({*hashes, expected}) == len(changed) + 2


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.002, 0.3, 0.7, 0.999])
def test_truncated_files_are_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    for read in (read_state, lambda p: load_checkpoint(p, SPACE)):
        with pytest.raises(InputError) as error:
            read(path)
        assert str(path) in str(error.value)


def test_edited_bytes_of_tensors_are_refused(path):
    size, start = path.stat().st_size, header_length(path)
    choice = random.Random(0)
    for position in choice.sample(range(start, size), 40):
        mask = 1 << choice.randrange(8)
        edit(path, position, mask)
        with pytest.raises(InputError, match=r"checkpoint\.safetensors"):
            load_checkpoint(path, SPACE)
        edit(path, position, mask)
    load_checkpoint(path, SPACE)


def test_edited_bytes_of_the_state_are_refused(path):
    """How far training is must be as safe as the weights: another epoch is another training."""
    start = path.read_bytes().index(b"__metadata__")
    end = path.read_bytes().index(b'"}', start)
    slipped_through = []
    for position in range(start, end):
        edit(path, position, 1)
        try:
            state = load_checkpoint(path, SPACE)[1]
            if (found := {key: state.get(key) for key in STATE}) != STATE:
                slipped_through.append(found)
        except InputError as error:
            assert str(path) in str(error)
        edit(path, position, 1)
    assert slipped_through == []


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x00" * 100, b"\xff" * 100])
def test_files_of_another_kind_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(path, SPACE)


def test_a_safetensors_file_of_somebody_else_is_refused(path):
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(path, SPACE)
    save_file({"a": torch.zeros(2)}, path, metadata={"state": '{"kind": "other"}'})
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(path, SPACE)


def test_an_absent_checkpoint_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match="nas train"):
        load_checkpoint(tmp_path / "absent.safetensors", SPACE)


def test_a_checkpoint_of_another_space_is_refused(path):
    with pytest.raises(InputError, match=r"other@1.*toy@1"):
        load_checkpoint(path, "other@1")


def test_an_unknown_format_names_the_version_that_wrote_it(path):
    rewrite(path, format=99, tool_version="7.5.3")
    with pytest.raises(InputError, match=r"format 99 written by version 7\.5\.3"):
        load_checkpoint(path, SPACE)


def test_a_state_without_its_epochs_is_refused(path):
    state = {key: value for key, value in read_state(path).items() if key != "epoch"}
    save_file(load_file(path), path, metadata={"state": json.dumps(state)})
    with pytest.raises(InputError, match=r"checkpoint\.safetensors"):
        load_checkpoint(path, SPACE)


def test_the_state_is_read_from_one_look_at_the_file(path, monkeypatch):
    """A training that goes on may put another file in its place between two looks."""

    def replaced_meanwhile(*arguments, **settings):
        raise RuntimeError("the file is smaller than it was")

    monkeypatch.setattr(torch.UntypedStorage, "from_file", replaced_meanwhile)
    assert read_state(path)["epoch"] == STATE["epoch"]
