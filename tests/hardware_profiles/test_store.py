import json

import pytest

from hardware_profiles import store
from hardware_profiles.profile import LayerLatency, Profile
from hardware_profiles.store import (
    NAME,
    default_name,
    known_path,
    profile_path,
    profile_paths,
    profiles_of,
    user_profiles,
)
from hardware_profiles.target import Target
from search_spaces import InputError

TARGET = Target(device="board", runtime="onnxruntime", runtime_version="1", provider="none")
SPACE = "mobilenet-digits@1"


def profile_of(space=SPACE, seed=0, **target):
    return Profile(
        space=space,
        target=TARGET.model_copy(update=target),
        created="2024-02-29T12:00:00+00:00",
        seed=seed,
        layers=(LayerLatency(layer_kind="a", fields={}, latency_ms=1.0, noise=0.0),),
        subnets=(),
    )


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The user's folder."""
    folder = tmp_path / "mine"
    monkeypatch.setenv("NAS_PROFILES", str(folder))
    return folder


@pytest.fixture
def built_in(tmp_path, monkeypatch):
    """The folder of those that come with the tool."""
    folder = tmp_path / "builtin"
    monkeypatch.setattr(store, "BUILT_IN", folder)
    return folder


def test_nas_profiles_names_the_folder(mine):
    assert user_profiles() == mine
    assert not mine.exists()  # looking makes nothing


def test_without_it_the_system_has_a_place(monkeypatch):
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("NAS_PROFILES")
        else:
            monkeypatch.setenv("NAS_PROFILES", value)
        assert user_profiles().name == "profiles"
        assert user_profiles().is_absolute()


def test_known_profiles_are_those_of_both_folders(mine, built_in):
    assert profile_paths() == {}
    profile_of().save(built_in / "server.json")
    profile_of().save(mine / "board.json")
    (mine / "board.windows.jsonl").touch()
    (mine / "notes.txt").touch()
    assert profile_paths() == {"board": mine / "board.json", "server": built_in / "server.json"}


def test_a_users_profile_replaces_the_built_in_one_of_its_name(mine, built_in):
    profile_of(seed=1).save(built_in / "server.json")
    profile_of(seed=2).save(mine / "server.json")
    assert profile_path("server") == mine / "server.json"
    assert [(name, profile.seed) for name, profile in profiles_of(SPACE)] == [("server", 2)]


def test_profiles_come_with_the_space_that_was_asked_for(mine, built_in):
    profile_of().save(mine / "b.json")
    profile_of("mobilenet-digits@2").save(mine / "later.json")
    profile_of("mobilenet-cifar@1").save(mine / "other.json")
    profile_of().save(built_in / "a.json")
    assert [name for name, _ in profiles_of(SPACE)] == ["a", "b"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"kind": "plan"}', b"\xff", b'{"kind": "profile", "format": 9}']
)
def test_damaged_files_are_passed_over(mine, built_in, content):
    profile_of().save(mine / "whole.json")
    (mine / "damaged.json").write_bytes(content)
    (mine / "folder.json").mkdir()
    assert [name for name, _ in profiles_of(SPACE)] == ["whole"]
    with pytest.raises(InputError, match=r"damaged\.json"):  # but not where they are asked for
        Profile.load(profile_path("damaged"))


def test_a_name_or_a_file_stands_for_a_profile(mine, built_in, tmp_path):
    profile_of().save(mine / "board.json")
    elsewhere = tmp_path / "elsewhere.json"
    profile_of().save(elsewhere)
    assert profile_path("board") == mine / "board.json"
    assert profile_path(str(elsewhere)) == elsewhere
    with pytest.raises(InputError, match="unknown profile 'bord'; did you mean 'board'"):
        profile_path("bord")
    with pytest.raises(InputError, match="unknown profile"):
        profile_path(str(mine))


def test_the_built_in_profiles_are_sound():
    for path in sorted(store.BUILT_IN.glob("*.json")):
        profile = Profile.load(path)
        assert NAME.fullmatch(path.stem)
        assert profile.subnets
        assert json.loads(path.read_bytes())["made_from"]


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["board", "living-room-pi", "A1", "a.b_c-d", "5950x"])
def test_names_are_of_letters_digits_dots_dashes_and_underscores(mine, name):
    assert known_path(name, TARGET, SPACE) == mine / f"{name}.json"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../evil", "/evil", "a/b", "a\\b", "a b", "-a", ".hidden", "é", "a\n"]
)
def test_other_names_are_refused(mine, name):
    with pytest.raises(InputError, match="expected a name of letters"):
        known_path(name, TARGET, SPACE)


def test_a_name_is_taken_by_its_target_and_space(mine):
    profile_of().save(mine / "board.json")
    assert known_path("board", TARGET, SPACE) == mine / "board.json"
    noted = TARGET.model_copy(update={"notes": "fan at full speed", "frequency_mhz": 1500.0})
    assert known_path("board", noted, SPACE) == mine / "board.json"
    newer = TARGET.model_copy(update={"runtime_version": "2"})
    assert known_path("board", newer, SPACE) == mine / "board.json"
    threads = TARGET.model_copy(update={"threads": 2})
    for target, space in ((threads, SPACE), (TARGET, "mobilenet-digits@2")):
        with pytest.raises(InputError, match=r"board is a profile of .*; choose another --name"):
            known_path("board", target, space)


def test_a_damaged_file_is_not_replaced_unseen(mine):
    mine.mkdir()
    (mine / "board.json").write_text("{")
    with pytest.raises(InputError, match=r"board\.json: damaged"):
        known_path("board", TARGET, SPACE)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"device": "Raspberry Pi 5 Model B"}, "raspberry-pi-5-model-b-1t-mobilenet-digits"),
        (
            {"device": "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "threads": 2},
            "intel-xeon-e5-2680-v4-2t-mobilenet-digits",
        ),
        (
            {"device": "AMD EPYC 7B13 64-Core Processor", "runtime": "torch-cpu"},
            "amd-epyc-7b13-64-core-torch-cpu-1t-mobilenet-digits",
        ),
        (
            {"device": "NVIDIA H200", "host": "a CPU", "runtime": "torch-cuda", "batch_size": 32}
            | {"precision": "bf16"},
            "nvidia-h200-torch-cuda-bf16-b32-mobilenet-digits",
        ),
    ],
)
def test_default_names_say_device_runtime_setting_and_space(fields, expected):
    assert default_name(TARGET.model_copy(update=fields), SPACE) == expected


@pytest.mark.parametrize(
    "device",
    ["../../etc/passwd", "..", "   ", "日本語", "\0\n", "@home", "-.-", "CON", "a" * 60, "(R)"],
)
def test_default_names_are_fit_for_files_whatever_a_device_calls_itself(mine, device):
    name = default_name(TARGET.model_copy(update={"device": device}), SPACE)
    path = known_path(name, TARGET, SPACE)
    assert path.parent == mine
    profile_of(device=device).save(path)
    assert path.is_file()


def test_default_names_are_short(mine):
    name = default_name(TARGET.model_copy(update={"device": "long " * 100}), SPACE)
    profile_of().save(known_path(name, TARGET, SPACE))


def test_default_names_tell_settings_apart():
    names = {
        default_name(TARGET.model_copy(update=fields), space)
        for fields in ({}, {"threads": 2}, {"batch_size": 2}, {"precision": "bf16"})
        for space in (SPACE, "mobilenet-cifar@1")
    }
    assert len(names) == 8
