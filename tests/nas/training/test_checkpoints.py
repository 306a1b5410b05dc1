"""Checkpoints whose writing is killed at every moment, and those that are damaged."""

import errno
import os
from itertools import count

import pytest
import torch

from nas.training.checkpoints import Checkpoints
from nas.training.metrics import event_records
from search_spaces import InputError
from tests.nas.training.small_training import CONFIG, assert_same
from tests.nas.training.small_training import SmallTraining as Training

SPACE = "toy@1"
CALLS = ("link", "fsync", "replace", "unlink")  # what changes what a folder holds
HISTORY = (True, False, True, True, False, False)  # which checkpoints are good


def checkpoints(folder) -> Checkpoints:
    """As a new process finds them."""
    return Checkpoints(folder / "checkpoint.safetensors", SPACE)


def save(folder, number: int, good: bool) -> None:
    weights = {"weights": torch.full((3,), float(number))}
    checkpoints(folder).save(weights, {"epoch": number, "epochs": 9, "seed": 0}, good)


def number_of(loaded) -> int:
    """Which one it is: weights and state say the same."""
    tensors, state = loaded
    assert tensors["weights"].tolist() == [state["epoch"]] * 3
    return state["epoch"]


def last(folder) -> tuple[int | None, str | None]:
    loaded, said = checkpoints(folder).load()
    return None if loaded is None else number_of(loaded), said


def last_good(folder) -> int:
    return number_of(checkpoints(folder).load_good())


def damage(path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def killed(monkeypatch, position: int, work) -> bool:
    """Kill `work` before its call number `position` to the disk, if it comes so far: like a dead
    process, it makes no more of them.
    """
    made = count()

    def unless_dead(call):
        def wrapped(*arguments, **options):
            if next(made) >= position:
                raise KeyboardInterrupt
            return call(*arguments, **options)

        return wrapped

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, unless_dead(getattr(os, name)))
        try:
            work()
        except KeyboardInterrupt:
            return True
    return False


@pytest.fixture(params=["links", "no links"])
def disk(request, monkeypatch):
    """A file system with hard links, and one without."""
    if request.param == "no links":

        def refuse(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    return request.param


def assert_goes_on(folder, number: int) -> None:
    """The next checkpoint can be written and is found, and nothing else is left."""
    save(folder, number, good=True)
    assert last(folder) == (number, None)
    assert last_good(folder) == number
    names = {"checkpoint.safetensors"} | {
        f"{word}-checkpoint.safetensors" for word in ("earlier", "good")
    }
    assert {path.name for path in folder.iterdir()} <= names


@pytest.mark.parametrize("number", range(len(HISTORY)))
def test_killed_at_every_moment_of_a_save_a_whole_one_is_there(tmp_path, monkeypatch, disk, number):
    for position in count():
        folder = tmp_path / str(position)
        for earlier in range(number):
            save(folder, earlier, HISTORY[earlier])
        folder.mkdir(exist_ok=True)
        work = lambda: save(folder, number, HISTORY[number])  # noqa: B023, E731
        stopped = killed(monkeypatch, position, work)
        found, said = last(folder)
        assert said is None
        if found is None:
            assert number == 0
        else:
            assert found in ({number - 1, number} if stopped else {number})
            assert last_good(folder) == max(one for one in range(found + 1) if HISTORY[one])
        assert_goes_on(folder, number + 1)
        if not stopped:
            break
    assert position >= (2 if number == 0 else 4), "killed at several moments"


def with_a_damaged_last(folder) -> None:
    for number in range(3):
        save(folder, number, good=number != 1)
    damage(folder / "checkpoint.safetensors")


def test_killed_at_every_moment_of_a_fallback_it_falls_back_again(tmp_path, monkeypatch, disk):
    for position in count():
        folder = tmp_path / str(position)
        with_a_damaged_last(folder)
        stopped = killed(monkeypatch, position, checkpoints(folder).load)
        assert last(folder)[0] == 1
        assert last_good(folder) == 2
        assert_goes_on(folder, 3)
        if not stopped:
            break
    assert position >= 2


def test_killed_at_every_moment_after_a_fallback_a_whole_one_is_there(tmp_path, monkeypatch, disk):
    for position in count():
        folder = tmp_path / str(position)
        with_a_damaged_last(folder)
        number, said = last(folder)
        assert number == 1
        assert "going on from the one before it" in said
        work = lambda: save(folder, 3, good=True)  # noqa: B023, E731
        stopped = killed(monkeypatch, position, work)
        number, said = last(folder)
        assert number in ({1, 3} if stopped else {3})
        assert said is None
        assert last_good(folder) == (3 if number == 3 else 2)
        assert_goes_on(folder, 4)
        if not stopped:
            break
    assert position >= 4


def test_a_damaged_good_one_is_replaced_by_the_last_and_said(tmp_path, disk):
    save(tmp_path, 0, good=True)
    save(tmp_path, 1, good=False)
    good = tmp_path / "good-checkpoint.safetensors"
    damage(good)
    number, said = last(tmp_path)
    assert number == 1
    assert said is not None
    assert str(good) in said
    assert "the last one takes its place" in said
    assert "\n" not in said
    assert last_good(tmp_path) == 1
    assert last(tmp_path) == (1, None), "said once"


def test_one_that_is_lost_is_replaced_too(tmp_path, disk):
    save(tmp_path, 0, good=True)
    save(tmp_path, 1, good=False)
    (tmp_path / "good-checkpoint.safetensors").unlink()
    (tmp_path / "checkpoint.safetensors").unlink()
    number, said = last(tmp_path)
    assert number == 0
    assert "going on from the one before it" in said
    assert last_good(tmp_path) == 0


def test_damage_to_one_name_does_not_reach_the_others(tmp_path, disk):
    """In place, as a bad sector does it; the last and the good one are the same checkpoint."""
    save(tmp_path, 0, good=True)
    save(tmp_path, 1, good=True)
    damage(tmp_path / "checkpoint.safetensors")
    assert last_good(tmp_path) == 1
    number, said = last(tmp_path)
    assert number == 0
    assert "damaged" in said


def test_without_any_whole_one_nothing_goes_on(tmp_path, disk):
    save(tmp_path, 0, good=True)
    save(tmp_path, 1, good=True)
    for word in ("", "earlier-"):
        damage(tmp_path / f"{word}checkpoint.safetensors")
    with pytest.raises(InputError, match="earlier-checkpoint"):
        checkpoints(tmp_path).load()


# --- a training -------------------------------------------------------------------------------

FAST = CONFIG.replaced(num_random=0, epochs=3, evaluate_every=1, batch_size=64)


def falls_in_the_third(roll_backs: int, epoch: int) -> float:
    return 0.3 if (roll_backs, epoch) == (0, 3) else 0.9


def test_killed_before_the_good_copy_a_later_roll_back_is_the_same_bit_for_bit(
    tmp_path, space, bars, monkeypatch
):
    whole = Training(tmp_path / "whole", space, bars, FAST, accuracies=falls_in_the_third)
    whole.go_on()
    events = event_records(whole.metrics.read())
    assert [(one["event"], one["to_epoch"]) for one in events] == [("roll-back", 2)]

    stopped = Training(tmp_path / "stopped", space, bars, FAST, accuracies=falls_in_the_third)
    copies = []

    def copy(source, target):
        copies.append(target)
        if len(copies) == 3:  # of the start, of the first epoch, of the second
            raise KeyboardInterrupt
        target.write_bytes(source.read_bytes())

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("nas.training.checkpoints._copy", copy)
        stopped.go_on()
    good = Checkpoints(stopped.path, space.name)
    assert good.load_good()[1]["epoch"] == 1
    stopped.go_on()
    assert_same(whole, stopped)
