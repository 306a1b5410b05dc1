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


@pytest.fixture(scope="session")
def tables() -> Path:
    """Folder of published tables; `NAS_DATA` names its parent, else it lies beside the checkout."""
    data = Path(os.environ.get("NAS_DATA") or ROOT.parent / "shared" / "data")
    folder = data / "tables"
    if not folder.is_dir():
        pytest.skip(f"no published tables at {folder}; set NAS_DATA to the folder that holds them")
    return folder
