"""Which device a search is for, what a profile says of itself, and what can be measured here."""

import json
import zipfile

import pytest

import nas
from hardware_profiles.profile import Profile
from nas.config import check_recipe
from nas.device import local_runtime, other_settings, run_device
from nas.known_targets import known_targets
from nas.profiling import make_kit, named_space
from nas.run_directory import open_run
from search_spaces import InputError, build_space
from tests.nas.known_profiles import ELSEWHERE, keep, made_up, on


@pytest.fixture
def run(finished):
    return finished.open()


@pytest.fixture
def own(run) -> Profile:
    return Profile.load(run.profile_path)


# --- the run's own profile ------------------------------------------------------------------------


def test_a_run_is_for_the_machine_that_it_was_measured_on(run, own):
    device = run_device(run)
    assert device.profile == own
    assert device.runtime is not None
    assert device.runtime.target.differences(own.target) == []
    assert run_device(run, str(run.profile_path)).profile_sha256 == device.profile_sha256


def test_a_run_without_a_profile_names_the_command_that_makes_it(copied):
    (copied / "profile.json").unlink()
    with pytest.raises(InputError, match="nas profile measure"):
        run_device(open_run(copied))


def test_an_own_profile_of_elsewhere_is_refused_where_it_would_be_measured(copied, own):
    keep(copied, "profile", own, target=ELSEWHERE.model_dump())
    for use in (nas.profile, nas.search, lambda path: nas.export(path, "smallest")):
        with pytest.raises(InputError, match="not this machine") as error:
            use(copied)
        assert "Pocket board" in str(error.value)
        assert "--device" in str(error.value)


# --- known profiles -------------------------------------------------------------------------------


def test_a_device_is_found_by_name_and_by_file(run, known):
    path = keep(known, "board", made_up(run.space))
    for name in ("board", str(path)):
        device = run_device(run, name)
        assert device.profile.target == ELSEWHERE
        assert device.runtime is None


def test_an_unknown_device_names_the_nearest(run, known):
    keep(known, "living-room-board", made_up(run.space))
    with pytest.raises(InputError, match="'living-room-board'"):
        run_device(run, "livingroom-board")
    with pytest.raises(InputError, match="unknown profile"):
        run_device(run, "../known/living-room-board")


def test_a_profile_of_another_space_is_refused(run, known):
    keep(known, "board", made_up(run.space), space="mobilenet-v3@1")
    with pytest.raises(InputError, match=r"mobilenet-v3@1 .* mobilenet-digits@1"):
        run_device(run, "board")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"kind": "front", "format": 1}'])
def test_a_damaged_profile_is_named(run, known, content):
    (known / "board.json").write_text(content)
    with pytest.raises(InputError, match=r"board\.json"):
        run_device(run, "board")


@pytest.mark.parametrize(
    "changes",
    [
        {"latency_ms": -1.0},
        {"latency_ms": 0.0},
        {"latency_ms": float("nan")},
        {"noise": -0.1},
        {"role": "decoration"},
    ],
    ids=str,
)
def test_impossible_figures_are_refused(run, known, changes):
    profile = made_up(run.space)
    subnets = [subnet.model_dump() for subnet in profile.subnets]
    subnets[3] |= changes
    keep(known, "board", profile, subnets=subnets)
    with pytest.raises(InputError, match=r"board\.json"):
        run_device(run, "board")


# --- what a profile says of itself ----------------------------------------------------------------


def test_a_whole_profile_of_the_very_space_has_nothing_to_say(run):
    assert other_settings(made_up(run.space), run.space) == []


def test_other_settings_of_the_space_are_told(run):
    hundred = made_up(build_space("mobilenet-digits", num_classes=100), calibration=6, held_out=2)
    (words,) = other_settings(hundred, run.space)
    assert "num_classes 100" in words
    assert "this run 10" in words


def test_a_profile_of_a_part_says_of_which(run):
    part = made_up(run.space, options={"resolution": (8, 12)}, calibration=6, held_out=2)
    (words,) = other_settings(part, run.space)
    assert "resolution 8, 12 only" in words


def test_a_partial_profile_says_what_is_missing(run):
    partial = made_up(run.space).model_copy(update={"missing": {"layer": 3, "held_out": 2}})
    (words,) = other_settings(partial, run.space)
    assert "3 layer" in words
    assert "2 held out" in words


# --- this machine or not --------------------------------------------------------------------------


def test_this_machine_is_measured_on(own, capsys):
    runtime = local_runtime(own.target)
    assert runtime is not None
    assert runtime.target == own.target
    assert capsys.readouterr().err == ""


def test_what_is_not_compared_does_not_make_another_machine(own):
    assert local_runtime(on(own.target, notes="another kernel", frequency_mhz=1.0)) is not None


def test_another_version_of_the_runtime_is_warned_of_and_used(own, capsys):
    runtime = local_runtime(on(own.target, runtime_version="0.0.1"))
    assert runtime is not None
    assert runtime.target == own.target
    warning = capsys.readouterr().err
    assert "warning" in warning
    assert "0.0.1" in warning
    assert own.target.runtime_version in warning
    assert "nas profile measure" in warning


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "another processor"},
        {"governor": "another"},
        {"operating_system": "Plan9 vax"},
        {"device": "another processor", "runtime_version": "0.0.1"},
        {"provider": "ImaginaryExecutionProvider"},
        {"runtime": "torch-cpu"},  # it is here, but has another version and provider
        {"runtime": "torch-cuda", "host": "x"},
        {"runtime": "tensorrt"},
        {"runtime": "unheard-of"},
        {"precision": "int8"},
    ],
    ids=str,
)
def test_anything_else_is_elsewhere(own, changes, capsys):
    assert local_runtime(on(own.target, **changes)) is None
    assert capsys.readouterr().err == ""


def test_settings_of_a_profile_are_those_of_its_runtime(own):
    two = local_runtime(on(own.target, threads=2, batch_size=4, cores="0"))
    assert two is not None
    assert (two.target.threads, two.target.batch_size, two.target.core_numbers) == (2, 4, (0,))


# --- inputs of another size -----------------------------------------------------------------------


@pytest.fixture
def sequences(tmp_path):
    """A run on sequences of 8 frames; nothing of it is trained."""
    recipe = check_recipe({"space": {"name": "tdnn-digits"}, "data": {"source": "digits"}})
    return nas.create_run(tmp_path / "sequences", recipe)


def test_a_profile_of_longer_inputs_is_refused(sequences, known):
    space = sequences.space
    longer = build_space("tdnn-digits", **{**space.settings, "frames": 64})
    keep(known, "long", made_up(longer))
    with pytest.raises(InputError, match=r"measured with frames 64, this run has 8.*profile kit"):
        run_device(sequences, "long")
    keep(known, "same", made_up(space))
    assert run_device(sequences, "same").runtime is None
    assert list(known_targets(space)) == ["same"]


def test_a_kit_of_a_run_has_the_sizes_of_its_data(sequences, tmp_path):
    small = {"max_specs": 5, "num_calibration": 5, "num_held_out": 0}
    for name in (str(sequences.path), "tdnn-digits"):
        make_kit(name, small, [], tmp_path / "kit.zip")
        with zipfile.ZipFile(tmp_path / "kit.zip") as kit:
            settings = json.loads(kit.read("kit.json"))["space_settings"]
        assert settings == (named_space(name).settings)
    assert named_space(str(sequences.path)).settings == sequences.space.settings
