import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.exporting.export import export_architecture
from nas.exporting.in_memory import export_in_memory
from nas.exporting.model_options import ModelOptions
from nas.exporting.request import ExportRequest
from nas.run_directory import open_run
from nas.subnet.evaluator import SubnetEvaluator
from nas.task import Task
from search_spaces.supernet import Supernet


@pytest.fixture
def supernet(space):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(space)


@pytest.fixture
def evaluator(supernet, bars):
    return SubnetEvaluator(supernet, bars, Task(), calibration_samples=64, seed=0)


@pytest.fixture
def architecture(space):
    return space.decode(space.sample(1, np.random.default_rng(3))[0])


@pytest.fixture
def in_memory(evaluator, architecture):
    """A calibrated subnet with its file."""
    return export_in_memory(evaluator, architecture)


OPTIONS = (
    ModelOptions(format="ort"),
    ModelOptions(preprocessing="graph"),
    ModelOptions(batch=3, opset=18),
    ModelOptions(format="ort", preprocessing="graph", batch=2, opset=16),
)
"""What the further files of the folder below are."""


@pytest.fixture(scope="session")
def further_folder(finished, tmp_path_factory) -> Path:
    """An exported folder of a subnet at another resolution than the data's, with further files.

    Look, do not touch.
    """
    path = shutil.copytree(finished.path, tmp_path_factory.mktemp("further") / "run")
    run = open_run(path)
    shutil.rmtree(run.subnets_path)  # no budget to be missed on a busy machine
    values = dict(run.space.decode(run.space.smallest()[0]).values)
    architecture = run.space.architecture({**values, "resolution": 12})
    return Path(
        export_architecture(run, architecture, request=ExportRequest(files=OPTIONS)).directory
    )


@pytest.fixture
def further(further_folder, tmp_path) -> Path:
    """A copy of that folder that a test may change."""
    return shutil.copytree(further_folder, tmp_path / "further")
