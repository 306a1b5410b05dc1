"""Recipes for published images, cut short: a few samples, one epoch, few subnets."""

import importlib.util
from pathlib import Path

import pytest

import nas
from nas.config import load_recipe
from nas.exporting.manifest import Manifest
from nas.exporting.verify import verify_folder
from nas.run_directory import open_run
from tests.conftest import ROOT
from tests.nas.settings import LEAST

JOBS = {
    "resnet-cifar10 on CIFAR-10": ("resnet-cifar10", "cifar10", (3, 32), "data.max_samples=320"),
    "vit-cifar10 on MNIST": ("vit-cifar10", "mnist", (1, 28), "data.max_samples=640"),
}


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="needs the extra data: datasets, pillow"
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", JOBS)
def test_a_recipe_cut_short_ends_with_a_model_that_verifies(name, request, tmp_path, offline):
    recipe, published, (channels, side), samples = JOBS[name]
    folder = request.getfixturevalue(published)
    data = (f"data.source=parquet:{folder}", "data.validation_share=0.02", samples)
    settings = (*LEAST, "threads=1", *data)
    loaded = load_recipe(ROOT / "recipes" / f"{recipe}.toml", settings)
    result = nas.run(loaded, tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.data.num_samples["train"] == int(samples.partition("=")[2])
    assert run.data.num_samples["test"] == 10_000
    assert run.data.train.inputs[0].shape[1:] == (channels, side, side)
    assert result.winner is not None, result.closest_miss
    exported = Path(result.winner.model_path).parent
    checks = verify_folder(exported).checks
    assert all(check.ok for check in checks if check.name != "latency"), checks
    manifest = Manifest.load(exported / "manifest.json")
    assert manifest.preprocessing.channels == channels
    assert len(manifest.class_names) == 10
    assert 0.05 < manifest.test_accuracy < 1
    assert manifest.measured[0].latency_ms <= result.budget_ms
    assert Path(result.report_path).is_file()
