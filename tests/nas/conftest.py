import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import nas
from nas.data import Dataset, Split
from nas.results import RunResult
from nas.run_directory import Run, open_run
from search_spaces import SearchSpace, build_space
from tests.nas.command_line import CommandLine
from tests.nas.known_profiles import by_costs, know_this_machine_by, layer_by_costs
from tests.nas.settings import TINY


@dataclass(frozen=True)
class FinishedRun:
    """A run from recipe to report, and what `nas.run` said of it. Look, do not touch."""

    path: Path
    result: RunResult

    def open(self) -> Run:
        return open_run(self.path)

    @property
    def folder(self) -> Path:
        """The exported folder of the winner."""
        assert self.result.winner is not None
        return Path(self.result.winner.model_path).parent


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> FinishedRun:
    """A small run on digits, weak but real."""
    path = tmp_path_factory.mktemp("finished") / "run"
    return FinishedRun(path, nas.run(out=path, overrides=TINY))


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished.path, tmp_path / "run")


@pytest.fixture
def slow_here(copied) -> Path:
    """A copy of the finished run that takes this machine for a thousand times slower than it is.

    So what is predicted follows from no measurement, and what is measured keeps every budget that
    something is predicted to keep, whatever else runs meanwhile.
    """
    know_this_machine_by(
        copied,
        latency=lambda *what: 10_000 * by_costs(*what),
        layer=lambda *costs: 10_000 * layer_by_costs(*costs),
    )
    return copied


@pytest.fixture
def exported(finished, tmp_path) -> Path:
    """A copy of the winner's exported folder that a test may change."""
    return shutil.copytree(finished.folder, tmp_path / "exported")


@pytest.fixture
def known(tmp_path, monkeypatch) -> Path:
    """An empty folder of known profiles, without those that come with the tool."""
    folder = tmp_path / "known"
    folder.mkdir()
    monkeypatch.setenv("NAS_PROFILES", str(folder))
    monkeypatch.setattr("hardware_profiles.store.BUILT_IN", tmp_path / "none")
    return folder


@pytest.fixture(scope="session")
def nas_command(tmp_path_factory):
    """Runs the command line in processes of their own."""
    command = CommandLine(tmp_path_factory.mktemp("commands"))
    yield command
    command.close()


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Hugging Face's library fetches nothing and keeps nothing."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "home" / "datasets"))


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    """The space that most tests use."""
    return build_space("mobilenet-digits", num_classes=4)


def bright_bars(n: int, seed: int) -> Split:
    """8 x 8 images of one bright bar whose place tells the class (0 to 3), and noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    images = rng.integers(0, 60, (n, 1, 8, 8))
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 2] += 150
    return Split((images.astype(np.uint8),), labels.astype(np.int64))


@pytest.fixture(scope="session")
def bars() -> Dataset:
    """A small data set of 4 classes that a supernet learns in seconds."""
    train, validation, test = bright_bars(128, 0), bright_bars(40, 1), bright_bars(40, 2)
    return Dataset(train, validation, test, "image", tuple("abcd"), 4, (0.3,), (0.25,))
