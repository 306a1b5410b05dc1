"""A plan of few tiny networks, its kit, and what a kit's program measured here."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from hardware_profiles.kit import write_kit
from hardware_profiles.plan import Plan, make_plan
from hardware_profiles.profile_device import checksum, main
from search_spaces import SearchSpace, build_space


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return build_space("mobilenet-digits")


@pytest.fixture(scope="session")
def plan(space) -> Plan:
    """Three layers and three subnets of the smallest images."""
    options = {"resolution": (8,)}
    return make_plan(space, num_calibration=2, num_held_out=1, max_specs=3, options=options)


@pytest.fixture(scope="session")
def kit(space, plan, tmp_path_factory) -> Path:
    """The zip of it."""
    path = tmp_path_factory.mktemp("kit") / "kit.zip"
    write_kit(space, plan, path)
    return path


@pytest.fixture
def kit_folder(kit, tmp_path) -> Path:
    """The kit unpacked, and nothing else in the folder."""
    return unpack(kit, tmp_path / "device")


def unpack(kit: Path, folder: Path) -> Path:
    with zipfile.ZipFile(kit) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def measured_kit(kit, tmp_path_factory) -> Path:
    """A folder in which the kit's program has measured; not to be changed."""
    folder = unpack(kit, tmp_path_factory.mktemp("measured"))
    assert main(["--kit", str(folder), "--minutes", "10"]) == 0
    return folder


@pytest.fixture
def measured_folder(measured_kit, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(measured_kit, tmp_path / "measured"))


@pytest.fixture(scope="session")
def measured_result(measured_kit) -> bytes:
    """What it measured, as if this machine had been quiet meanwhile."""
    result = json.loads((measured_kit / "result.json").read_bytes())
    result["drift"] = 0.01
    for item in result["items"]:
        item["disagreement"] = 0.0
    return sealed(result)


def sealed(result: dict) -> bytes:
    """The result's file with the checksum that fits it."""
    return json.dumps(result | {"sha256": checksum(result)}).encode()
