import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
pytest.register_assert_rewrite("tests.contracts")

# One thread, unless asked otherwise, set before anything numeric is imported: the networks of tests
# are small, and two threads that wait for each other on a busy machine take many times longer.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples at every run, nothing written to disk, no verdict from a stopwatch.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def profiles_of_tests(tmp_path_factory) -> Path:
    """The folder of known profiles while tests run: no test sees or changes the user's own."""
    folder = tmp_path_factory.mktemp("profiles")
    os.environ["NAS_PROFILES"] = str(folder)
    return folder


def _published(name: str) -> Path:
    """A folder of published data; `NAS_DATA` names its parent, else it lies beside the checkout."""
    data = Path(os.environ.get("NAS_DATA") or ROOT.parent / "shared" / "data")
    folder = data / name
    if not folder.is_dir():
        pytest.skip(f"no published {name} at {folder}; set NAS_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def tables() -> Path:
    """Folder of published tables."""
    return _published("tables")


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """Folder of CIFAR-10: train.parquet and test.parquet."""
    return _published("cifar10")


@pytest.fixture(scope="session")
def mnist() -> Path:
    """Folder of MNIST: train.parquet and test.parquet."""
    return _published("mnist")
