import shutil
from pathlib import Path

import pytest

import nas
from nas.run_directory import Run, open_run
from tests.nas.settings import LEAST

SMALL = (*LEAST, "data.max_samples=192", "training.evaluate_every=1")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    """A trained supernet of three steps and nothing else. Look, do not touch."""
    run = nas.create_run(
        tmp_path_factory.mktemp("small") / "run", nas.load_recipe(None, overrides=SMALL)
    )
    nas.train(run)
    return run.path


@pytest.fixture
def trained(small_run, tmp_path) -> Run:
    """A copy of it that a test may change."""
    return open_run(shutil.copytree(small_run, tmp_path / "trained"))
