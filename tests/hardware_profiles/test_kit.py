"""Kits as they are written, and results as they come back: whole, in part, damaged, edited."""

import json
import shutil
import stat
import zipfile
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import onnx
import pytest

from hardware_profiles import kit as kit_module
from hardware_profiles import profile_device
from hardware_profiles.artifact import content_hash, file_hash
from hardware_profiles.kit import LONGEST_MS, kit_hash, read_result, result_profile, write_kit
from hardware_profiles.plan import Plan, make_plan
from hardware_profiles.profile_device import ENOUGH_NETWORKS, Kit, checksum
from hardware_profiles.workloads import workload
from search_spaces import InputError, SearchSpace, build_space
from tests.hardware_profiles.conftest import sealed

# --- writing --------------------------------------------------------------------------------------


def test_the_same_plan_gives_the_same_bytes(space, plan, kit, tmp_path):
    write_kit(space, plan, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == kit.read_bytes()
    other = Plan.model_validate(plan.model_dump() | {"seed": 9})
    write_kit(space, other, tmp_path / "other.zip")
    assert kit_hash(tmp_path / "other.zip") != kit_hash(kit)


def test_a_kit_holds_manifest_models_and_the_very_program(kit):
    with zipfile.ZipFile(kit) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["kit.json", "models.zip", "profile_device.py", "README.txt"]
        program = archive.read("profile_device.py")
        words = archive.read("README.txt").decode()
    assert program == Path(profile_device.__file__).read_bytes()
    assert "python profile_device.py --threads 1 --minutes 20" in words
    assert "nas profile import result.json" in words


def test_the_manifest_names_every_model_and_its_hash(space, plan, kit_folder):
    manifest = Plan.load(kit_folder / "kit.json")
    with zipfile.ZipFile(kit_folder / "models.zip") as archive:
        assert sorted(archive.namelist()) == sorted(item.file for item in manifest.items)
        for item, planned in zip(manifest.items, plan.items, strict=True):
            data = archive.read(item.file)
            assert item.sha256 == sha256(data).hexdigest()
            assert data == workload(space, planned).onnx()
            onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
            assert item.model_copy(update={"file": "", "sha256": ""}) == planned
    assert manifest.reference == plan.reference


def test_every_entry_can_be_unpacked_by_anyone(kit_folder, kit):
    for path in (kit, kit_folder / "models.zip"):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                assert entry.date_time == (1980, 1, 1, 0, 0, 0)
                assert stat.S_IMODE(entry.external_attr >> 16) == 0o644
                assert "/" not in entry.filename


def test_device_and_engine_name_a_kit_alike(kit, kit_folder, measured_result):
    result = json.loads(measured_result)
    assert Kit(kit_folder).sha256 == kit_hash(kit) == result["kit_sha256"]
    assert content_hash(result["kit"]) == checksum(result["kit"]) == kit_hash(kit)


def test_a_kit_is_small(kit, kit_folder, plan):
    with zipfile.ZipFile(kit_folder / "models.zip") as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    assert kit.stat().st_size < min(unpacked / 3, 20_000 + 10_000 * len(plan.items))


@pytest.mark.slow
def test_the_kit_of_the_design_is_below_its_limit(tmp_path):
    options = {"resolution": (128, 160, 192, 224)}
    space = build_space("mobilenet-v3")
    write_kit(space, make_plan(space, options=options), tmp_path / "kit.zip")
    assert (tmp_path / "kit.zip").stat().st_size < 50e6


def test_a_kit_that_would_be_too_large_is_not_written(space, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(kit_module, "MAX_BYTES", 10_000)
    with pytest.raises(InputError, match=r"the kit would be .* restrict it with --options"):
        write_kit(space, plan, tmp_path / "kit.zip")
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_of_every_network(space, plan, tmp_path):
    calls = []
    write_kit(space, plan, tmp_path / "new" / "kit.zip", calls.append)
    assert calls == list(range(1, len(plan.items) + 1))


# --- what came back -------------------------------------------------------------------------------


@pytest.fixture
def result(measured_result):
    """The content of a sound result, to be changed."""
    return json.loads(measured_result)


@pytest.fixture
def path(measured_result, tmp_path):
    """The file of a sound result."""
    path = tmp_path / "result.json"
    path.write_bytes(measured_result)
    return path


def refused(path, result, kit=None):
    """What is said of a result whose checksums fit, but not what it says."""
    result["kit_sha256"] = content_hash(result["kit"])
    path.write_bytes(sealed(result))
    with pytest.raises(InputError) as error:
        read_result(path, kit)
    message = str(error.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_a_result_becomes_a_profile(space, plan, kit, path, result):
    profile = result_profile(read_result(path, kit), space, path)
    assert profile.missing == {}
    assert profile.made_from == {
        "plan": profile.made_from["plan"],
        "kit": kit_hash(kit),
        "result": file_hash(path),
    }
    assert (profile.space, profile.seed, profile.options) == (space.name, plan.seed, plan.options)
    assert profile.created == result["created"]
    assert profile.complete == result["complete"]
    assert profile.drift == result["drift"]
    assert profile.target.model_dump(exclude_unset=True) == result["target"]
    figures = {item["id"]: item for item in result["items"]}
    measured = [*profile.layers, *profile.subnets]
    for item, found in zip(plan.items, measured, strict=True):
        for name in ("latency_ms", "noise", "wall_ms", "visits"):
            assert getattr(found, name) == figures[item.id][name]
        if item.role == "layer":
            assert found.spec == item.spec
        else:
            assert (found.role, found.values) == (item.role, item.values)
            assert found.resident_bytes == figures[item.id]["resident_bytes"]


@pytest.mark.parametrize("length", [0, 1, 100, -2, -200])
def test_a_truncated_result_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"result\.json: damaged, not readable as JSON"):
        read_result(path)


def test_an_absent_result_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_result(tmp_path / "result.json")


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"kind": "profile"}', '"kit-result"'])
def test_another_file_is_refused(path, content):
    path.write_text(content)
    with pytest.raises(InputError, match=r"expected the result\.json of a kit"):
        read_result(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"latency_ms": ', '"latency_ms": 1'),
        ('"latency_ms": ', '"latency_ms": -'),
        ('"complete": true', '"complete": false'),
        ('"threads": 1', '"threads": 2'),
        ('"role": "held_out"', '"role": "calibration"'),
        ('"seed": 0', '"seed": 1'),
        ('"drift": ', '"drift": 1'),
    ],
)
def test_an_edited_result_is_refused(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match="checksum is wrong: it was changed after it was measured"):
        read_result(path)


def test_an_edited_kit_inside_a_result_is_refused(path, result):
    result["kit"]["seed"] = 5
    path.write_bytes(sealed(result))  # but kit_sha256 is that of before
    with pytest.raises(InputError, match="checksum is wrong"):
        read_result(path)


@pytest.mark.parametrize("number", ["2", '"1"', "null"])
def test_another_format_is_refused(path, result, number):
    result["format"] = json.loads(number)
    assert "make a new kit with `nas profile kit`" in refused(path, result)


@pytest.mark.parametrize("field", ["latency_ms", "wall_ms"])
@pytest.mark.parametrize(
    "value",
    [-1.0, 0.0, float("nan"), float("inf"), LONGEST_MS, 1e300, None, "much", [1.0]],
    ids=str,
)
def test_latencies_that_cannot_be_are_refused(path, result, field, value):
    result["items"][2][field] = value
    assert f"items.2.{field}" in refused(path, result)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("noise", -0.1),
        ("noise", float("nan")),
        ("disagreement", -0.1),
        ("disagreement", float("inf")),
        ("visits", 0),
        ("visits", 2.5),
        ("resident_bytes", -1),
        ("resident_bytes", 10**13 + 1),
        ("surplus", 1),
        ("id", 7),
    ],
    ids=str,
)
def test_other_figures_that_cannot_be_are_refused(path, result, field, value):
    result["items"][2][field] = value
    assert f"items.2.{field}" in refused(path, result)


@pytest.mark.parametrize("share", [0.0005, 1.6])
def test_own_times_that_do_not_fit_their_wall_times_are_refused(path, result, share):
    item = result["items"][2]
    item["latency_ms"] = share * item["wall_ms"]
    said = refused(path, result)
    assert f"item {item['id']!r}" in said
    assert "of wall time" in said


@pytest.mark.parametrize("share", [0.002, 1.4])
def test_own_times_of_busy_cores_and_coarse_clocks_are_believed(path, result, share):
    result["items"][2]["latency_ms"] = share * result["items"][2]["wall_ms"]
    path.write_bytes(sealed(result))
    assert read_result(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("surplus", 1),
        ("drift", -1.0),
        ("drift", float("nan")),
        ("created", None),
        ("complete", "perhaps"),
        ("items", {}),
        ("target", {}),
    ],
    ids=str,
)
def test_fields_that_cannot_be_are_refused(path, result, field, value):
    result[field] = value
    assert field in refused(path, result)


@pytest.mark.parametrize("field", ["kit", "target", "items", "created", "complete", "drift"])
def test_a_field_that_is_missing_is_named(path, result, field):
    del result[field]
    if field == "kit":
        path.write_bytes(sealed(result | {"kit_sha256": content_hash(None)}))
        with pytest.raises(InputError, match="kit"):
            read_result(path)
    else:
        assert field in refused(path, result)


def test_duplicated_items_are_refused(path, result):
    result["items"].append(result["items"][0])
    assert f"item {result['items'][0]['id']!r} is there twice" in refused(path, result)


def test_items_of_another_kit_are_refused(path, result):
    result["items"][1]["id"] = "layer-0000000000"
    assert "item 'layer-0000000000' is not of its kit" in refused(path, result)


def test_errors_are_sentences(path, result):
    result["items"].append(result["items"][0])
    assert ": :" not in refused(path, result)


@pytest.mark.parametrize("field", ["governor", "operating_system", "device", "runtime_version"])
def test_what_a_device_may_not_read_is_unknown(space, path, result, field):
    result["target"] |= {field: "unknown", "frequency_mhz": None}
    path.write_bytes(sealed(result))
    target = result_profile(read_result(path), space, path).target
    assert getattr(target, field) == "unknown"
    assert target.frequency_mhz is None
    assert str(target)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threads", 0),
        ("batch_size", -1),
        ("device", ""),
        ("device", "board\x1b[2J"),
        ("host", "a CPU\n"),
        ("cores", "0-3"),
        ("precision", "fp64"),
        ("frequency_mhz", float("nan")),
        ("surplus", 1),
    ],
    ids=str,
)
def test_a_target_that_cannot_be_is_refused(path, result, field, value):
    result["target"][field] = value
    assert f"target.{field}" in refused(path, result)


# --- of which kit ---------------------------------------------------------------------------------


def test_a_result_of_another_kit_is_refused(space, plan, path, kit, tmp_path):
    other = tmp_path / "other.zip"
    write_kit(space, Plan.model_validate(plan.model_dump() | {"seed": 9}), other)
    assert read_result(path, kit)
    with pytest.raises(InputError, match=r"is a result of another kit than .*other\.zip"):
        read_result(path, other)


def test_a_kit_may_be_packed_anew(kit_folder, path, tmp_path):
    """What it is, not how it was packed, names it."""
    shutil.make_archive(str(tmp_path / "again"), "zip", kit_folder)
    packed = tmp_path / "again.zip"
    with zipfile.ZipFile(packed) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}
    packed.write_bytes(zipped({Path(name).name: data for name, data in files.items()}))
    assert read_result(path, packed)


def zipped(files):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../evil.py",
        "/tmp/evil.py",
        "folder/evil.py",
        "..\\evil.py",
        "C:\\evil.py",
        "a/../../b",
        "folder/",
        "..",
        "C:evil.py",
    ],
)
def test_a_zip_with_paths_outside_itself_is_refused(kit_folder, path, tmp_path, name):
    hostile = tmp_path / "hostile.zip"
    hostile.write_bytes(zipped({"kit.json": (kit_folder / "kit.json").read_bytes(), name: b""}))
    with pytest.raises(InputError, match="points outside the kit; do not unpack it"):
        read_result(path, hostile)
    assert not (tmp_path / "evil.py").exists()
    assert not Path("/tmp/evil.py").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"words", b"PK\x03\x04 and more", zipped({"a": b""})],
    ids=["empty", "words", "torn", "another zip"],
)
def test_what_is_no_kit_is_refused(path, tmp_path, content):
    other = tmp_path / "other.zip"
    other.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.zip is no kit"):
        read_result(path, other)
    with pytest.raises(InputError, match="no such file"):
        read_result(path, tmp_path / "absent.zip")
    with pytest.raises(InputError, match="is no kit"):
        read_result(path, tmp_path)


@pytest.mark.parametrize("content", [b"", b"[", b"\xff\xfe", b"[" * 100_000], ids=len)
def test_a_kit_whose_manifest_is_damaged_is_refused(tmp_path, content):
    other = tmp_path / "other.zip"
    other.write_bytes(zipped({"kit.json": content}))
    with pytest.raises(InputError, match="is no kit"):
        kit_hash(other)


def test_a_manifest_that_is_too_large_is_not_unpacked(kit, path, monkeypatch):
    monkeypatch.setattr(kit_module, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match=r"its kit\.json is too large for one"):
        read_result(path, kit)


def test_a_kit_that_is_damaged_inside_is_refused_or_the_same(kit, tmp_path):
    """Wherever eight bytes are flipped, there is an answer and no traceback."""
    whole, expected = kit.read_bytes(), kit_hash(kit)
    other = tmp_path / "other.zip"
    places = [*range(0, 1500, 7), *range(1500, len(whole) - 500, 997)]
    for at in [*places, *range(len(whole) - 500, len(whole), 3)]:
        data = bytearray(whole)
        data[at : at + 8] = bytes(byte ^ 0xFF for byte in data[at : at + 8])
        other.write_bytes(data)
        try:
            assert kit_hash(other) == expected
        except InputError as error:
            assert str(other) in str(error)


# --- parts and noise ------------------------------------------------------------------------------


def test_a_part_imports_and_says_what_is_missing(space, plan, path, result):
    """A device that died half-way."""
    lost = {item.id for item in plan.items if item.role == "held_out"} | {plan.items[0].id}
    result["items"] = [item for item in result["items"] if item["id"] not in lost]
    result["complete"] = False
    path.write_bytes(sealed(result))
    profile = result_profile(read_result(path), space, path)
    assert profile.missing == {"layer": 1, "held_out": 1}
    assert (len(profile.layers), len(profile.subnets)) == (2, 2)
    assert not profile.complete


def test_nothing_measured_makes_no_profile(space, path, result):
    path.write_bytes(sealed(result | {"items": [], "complete": False}))
    with pytest.raises(InputError, match="nothing was measured; run the kit longer"):
        result_profile(read_result(path), space, path)


def test_a_single_visit_tells_no_noise(space, plan, path, result):
    for item in result["items"]:
        item.update(visits=1, noise=0.0, disagreement=None)
    path.write_bytes(sealed(result))
    profile = result_profile(read_result(path), space, path)
    assert {one.noise for one in (*profile.layers, *profile.subnets)} == {None}
    assert profile.noise is None


@pytest.mark.parametrize(("doubtful", "noisy"), [(0, False), (1, False), (2, True), (6, True)])
def test_a_noisy_result_is_refused_unless_that_is_wanted(
    space, path, result, doubtful, noisy, monkeypatch
):
    monkeypatch.setattr(profile_device, "ENOUGH_NETWORKS", len(result["items"]))
    for item in result["items"][:doubtful]:
        item["disagreement"] = 0.031
    path.write_bytes(sealed(result))
    if noisy:
        with pytest.raises(
            InputError, match=f"too noisy: .* {doubtful} of 6 networks .*--accept-noise"
        ):
            read_result(path)
    else:
        read_result(path)
    assert result_profile(read_result(path, accept_noise=True), space, path).missing == {}


def test_few_networks_tell_no_noise(path, result):
    for item in result["items"]:
        item["disagreement"] = 5.0
    path.write_bytes(sealed(result))
    assert len(read_result(path).items) < ENOUGH_NETWORKS


def test_a_drift_that_is_unknown_stays_so(space, path, result):
    path.write_bytes(sealed(result | {"drift": None}))
    assert result_profile(read_result(path), space, path).drift is None


# --- of which space -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet-digits@2", "mobilenet-cifar@1", "mobilenet-digits"])
def test_a_result_of_another_space_is_refused(space, path, result, name):
    result["kit"]["space"] = name
    result["kit_sha256"] = content_hash(result["kit"])
    path.write_bytes(sealed(result))
    read = read_result(path)
    with pytest.raises(
        InputError, match=f"expected a kit of mobilenet-digits@1, got one of {name}"
    ):
        result_profile(read, space, path)


def test_a_space_that_has_changed_since_refuses_its_old_kits(space, path):
    fewer = SearchSpace(space.name, space.dimensions[:-2], space.slots[:-3])
    with pytest.raises(InputError):
        result_profile(read_result(path), fewer, path)


def test_layers_that_the_space_does_not_hold_are_refused(space, path, result):
    layer = next(item for item in result["kit"]["items"] if item["role"] == "layer")
    layer["fields"]["height"] = 77
    result["kit_sha256"] = content_hash(result["kit"])
    path.write_bytes(sealed(result))
    with pytest.raises(InputError, match="has no such"):
        result_profile(read_result(path), space, path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": [9]}, "resolution: expected some of its options 8, 12, 16, got 9"),
        ({"color": [8]}, "unknown dimension 'color'"),
    ],
    ids=str,
)
def test_options_that_the_space_does_not_have_are_refused(space, path, result, options, message):
    result["kit"]["options"] = options
    result["kit_sha256"] = content_hash(result["kit"])
    path.write_bytes(sealed(result))
    with pytest.raises(InputError, match=message):
        result_profile(read_result(path), space, path)


def test_a_kit_with_an_item_twice_is_refused(path, result):
    result["kit"]["items"].append(result["kit"]["items"][0])
    assert "is there twice" in refused(path, result)


@pytest.mark.parametrize("file", ["../../evil.onnx", "/evil", "a\\b.onnx"])
def test_files_of_a_kit_that_point_outside_are_refused(path, result, file):
    result["kit"]["items"][0]["file"] = file
    assert "kit.items.0.file" in refused(path, result)
