"""Published weights from their authors' file to a run that searches them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import nas
from nas.artifacts import load_supernet, supernet_hash
from nas.config import load_recipe
from nas.exporting.verify import verify_folder
from nas.run_directory import Run, open_run
from nas.training.checkpoint import load_checkpoint, read_state
from search_spaces import InputError
from search_spaces.published_weights import convert
from tests.contracts.published import RunsCode, published_mobilenet
from tests.nas.settings import LEAST


@dataclass(frozen=True)
class Imported:
    """The published file, what the command made of it and said."""

    source: Path
    file: Path
    said: dict


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return published_mobilenet()


@pytest.fixture(scope="module")
def imported(folder, tensors, nas_command) -> Imported:
    source, file = folder / "ofa_mbv3_d234_e346_k357_w1.0", folder / "weights.safetensors"
    torch.save({"state_dict": tensors}, source)
    answer = nas_command("import-weights", "mobilenet-v3", source, "--out", file, "--json")
    assert answer.code == 0, answer.stderr
    return Imported(source, file, answer.json)


def write_images(path: Path, num_classes: int, each: int, channels: int = 3) -> str:
    """Tiny images of many classes; the source that names them."""
    labels = np.arange(num_classes * each) % num_classes
    shape = (len(labels), 8, 8, channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(path, x=images, y=labels)
    return f"npz:{path}"


@pytest.fixture(scope="module")
def images(folder) -> str:
    """A data set of 1,000 classes, four tiny images of each."""
    return write_images(folder / "images.npz", 1000, 4)


def settings(weights: Path, source: str, space: str = "mobilenet-v3") -> list[str]:
    return [
        f"space.name={space}",
        f"data.source={source}",
        f"training.weights={weights}",
        "training.epochs=0",
        "training.kernel_transform=true",
    ]


@pytest.fixture(scope="module")
def run(folder, imported, images) -> Run:
    """A run that takes the weights as they are, its training stage done."""
    found = nas.create_run(folder / "run", load_recipe(None, settings(imported.file, images)))
    nas.train(found)
    return found


def refuse(nas_command, folder: Path, overrides: list[str], *words: str) -> None:
    """`nas train` says these words and leaves nothing behind."""
    sets = [part for override in overrides for part in ("--set", override)]
    recipe = folder / "recipe.toml"
    recipe.write_text("")
    answer = nas_command("train", recipe, "--out", folder / "run", *sets)
    answer.assert_refused(*words)
    assert not (folder / "run").exists()


# --- what is imported -----------------------------------------------------------------------------


def test_the_file_holds_the_weights_and_what_they_are(imported, tensors):
    assert imported.said == {
        "path": str(imported.file),
        "space": "mobilenet-v3",
        "tensors": len(convert("mobilenet-v3", tensors)),
        "num_params": 7_664_760 + 20 * (9**2 + 25**2),  # a net, and maps of kernels
        "kernel_transform": True,
    }
    found, state = load_checkpoint(imported.file, "mobilenet-v3@1")
    expected = convert("mobilenet-v3", tensors)
    assert found.keys() == {f"weights.{name}" for name in expected}
    assert all(torch.equal(found[f"weights.{name}"], value) for name, value in expected.items())
    assert state["settings"] == {"num_classes": 1000, "input_channels": 3}
    assert state["kernel_transform"] is True


def test_the_command_names_the_run_that_searches_them(imported, tmp_path, nas_command):
    answer = nas_command("import-weights", "mobilenet-v3", imported.source, folder=tmp_path)
    assert answer.code == 0, answer.stderr
    written = tmp_path / "mobilenet-v3.safetensors"  # where no other name is given
    assert read_state(written) == read_state(imported.file)
    words = " ".join(answer.stdout.split())
    assert "7,678,880" in words
    for word in (
        "space.name=mobilenet-v3",
        "training.weights=mobilenet-v3.safetensors",
        "training.epochs=0",
        "training.kernel_transform=true",
    ):
        assert f"--set {word}" in words


# --- a run that starts from them ------------------------------------------------------------------


def test_a_run_of_no_epochs_holds_exactly_these_weights(run, tensors):
    assert run.metrics.read() == []
    expected = convert("mobilenet-v3", tensors)
    found = dict(load_supernet(run).named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert supernet_hash(run) == read_state(run.checkpoint_path)["sha256"]
    assert run.stages["train"].state == "done"


def test_its_subnets_answer_like_the_supernet(run):
    supernet = load_supernet(run)
    space = run.space
    mixed = space.decode(space.sample(1, np.random.default_rng(0))[0])
    middle = space.architecture({**mixed.values, "resolution": 128})
    smallest = space.decode(space.smallest()[0])
    images = torch.randn(8, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    for architecture in (smallest, middle):
        assert supernet.inputs(architecture)["input"].shape == (3, 128, 128)
        with torch.no_grad():
            expected = supernet(images, architecture)
            found = supernet.extract(architecture).train()(images)
        assert expected.shape == (8, 1000)
        scale = expected.abs().max()
        assert expected.std(dim=0).mean() > 1e-2 * scale
        assert (found - expected).abs().max() <= 1e-4 * scale


def test_training_again_changes_nothing_and_needs_the_file_no_more(run, imported, tmp_path):
    before = run.checkpoint_path.read_bytes()
    nas.train(run.path)
    assert run.checkpoint_path.read_bytes() == before
    away = imported.file.rename(tmp_path / "away")
    try:
        again = nas.create_run(run.path, run.recipe)
        nas.train(again)
    finally:
        away.rename(imported.file)
    assert run.checkpoint_path.read_bytes() == before


# --- what a run refuses ---------------------------------------------------------------------------


def test_no_epochs_without_weights_are_refused(tmp_path, nas_command):
    refuse(nas_command, tmp_path, ["training.epochs=0"], "training.epochs", "training.weights")


def test_maps_of_kernels_that_have_no_place_are_refused(tmp_path, imported, images, nas_command):
    overrides = [*settings(imported.file, images), "training.kernel_transform=false"]
    refuse(nas_command, tmp_path, overrides, str(imported.file), "training.kernel_transform=true")


def test_maps_of_kernels_that_are_missing_are_refused(tmp_path, images, nas_command):
    source, file = tmp_path / "published", tmp_path / "weights.safetensors"
    torch.save(published_mobilenet(matrices=False), source)
    said = nas.import_weights("mobilenet-v3", source, file)
    assert said["kernel_transform"] is False
    refuse(
        nas_command,
        tmp_path,
        settings(file, images),
        str(file),
        "set training.kernel_transform=false",
    )


@pytest.mark.parametrize("space", ["mobilenet-v3-w1.2", "resnet-50d", "mobilenet-cifar"])
def test_weights_of_another_space_are_refused(tmp_path, imported, images, nas_command, space):
    overrides = settings(imported.file, images, space)
    words = (f"expected weights of {space}@1", "got mobilenet-v3@1")
    refuse(nas_command, tmp_path, overrides, str(imported.file), *words)


def test_another_number_of_classes_is_refused(tmp_path, imported, nas_command):
    overrides = settings(imported.file, write_images(tmp_path / "ten.npz", 10, 8))
    words = "the weights are for 1000 classes, the data has 10"
    refuse(nas_command, tmp_path, overrides, str(imported.file), words)


def test_another_number_of_channels_is_refused(tmp_path, imported, nas_command):
    source = write_images(tmp_path / "grey.npz", 1000, 4, channels=1)
    words = "the weights are for 3 input channels, the data has 1"
    refuse(nas_command, tmp_path, settings(imported.file, source), words)


def test_a_file_that_is_not_there_is_refused(tmp_path, images, nas_command):
    for path in (tmp_path / "absent", tmp_path):
        words = ("training.weights", str(path), "nas import-weights")
        refuse(nas_command, tmp_path, settings(path, images), *words)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "published"])
def test_files_of_something_else_are_refused(tmp_path, imported, images, nas_command, damage):
    path = tmp_path / "weights.safetensors"
    whole = imported.file.read_bytes()
    published = imported.source.read_bytes()
    contents = {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"weights" * 9}
    path.write_bytes(contents.get(damage, published))
    words = (str(path), "expected a file of `nas import-weights`")
    refuse(nas_command, tmp_path, settings(path, images), *words)


def test_weights_that_were_changed_in_the_file_are_refused(tmp_path, imported, images):
    """Their hash is looked at where they are read, which is when training starts."""
    path = tmp_path / "weights.safetensors"
    content = bytearray(imported.file.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    run = nas.create_run(tmp_path / "run", load_recipe(None, settings(path, images)))
    with pytest.raises(InputError, match=r"its hash does not match.*nas import-weights"):
        nas.train(run)
    assert not run.checkpoint_path.exists()


def test_code_in_a_file_to_start_from_is_never_run(tmp_path, images, nas_command):
    path, marker = tmp_path / "weights", tmp_path / "ran"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "more": RunsCode(marker)}, path)
    refuse(nas_command, tmp_path, settings(path, images), str(path))
    assert not marker.exists()


# --- what the import refuses ----------------------------------------------------------------------


def test_code_in_a_published_file_is_refused_and_never_run(tmp_path, nas_command):
    path, marker = tmp_path / "published", tmp_path / "ran"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "more": RunsCode(marker)}, path)
    answer = nas_command("import-weights", "mobilenet-v3", path, "--out", tmp_path / "out")
    answer.assert_refused(str(path), "would run code")
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_bad_imports_are_refused_and_write_nothing(tmp_path, imported, nas_command):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(imported.source.read_bytes()[:100_000])
    cases = [
        ("mobilenet-v3", tmp_path / "absent", "cannot be read"),
        ("mobilenet-v3", damaged, str(damaged)),
        ("mobilenet-v3-w1.2", imported.source, "use mobilenet-v3"),
        ("resnet-50d", imported.source, "use mobilenet-v3"),
        ("mobilenet-v3", imported.file, "first_conv.conv.weight is missing"),
        ("mobilenet-v4", imported.source, "did you mean 'mobilenet-v3"),
    ]
    for space, source, words in cases:
        answer = nas_command("import-weights", space, source, "--out", tmp_path / "out")
        answer.assert_refused(words)
        assert not (tmp_path / "out").exists()


def test_the_published_file_is_not_written_over(tmp_path, nas_command):
    path = tmp_path / "mobilenet-v3.safetensors"
    path.write_bytes(b"published")
    answer = nas_command("import-weights", "mobilenet-v3", path.name, folder=tmp_path)
    answer.assert_refused("mobilenet-v3.safetensors is the published file itself", "--out")
    assert path.read_bytes() == b"published"


# --- weights of another run -----------------------------------------------------------------------


SHORT = (
    "data.max_samples=128",
    "training.batch_size=32",
    "training.warm_up_epochs=0",
    "training.num_random=1",
    "training.epochs=4",
)


@pytest.fixture(scope="module")
def first(folder) -> Run:
    """A short training from random weights."""
    found = nas.create_run(folder / "first", load_recipe(None, SHORT))
    nas.train(found)
    return found


@pytest.mark.slow
def test_training_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, first, nas_command):
    recipe = load_recipe(None, [*SHORT, f"training.weights={first.checkpoint_path}", "seed=1"])
    whole, stopped = (nas.create_run(tmp_path / name, recipe) for name in ("whole", "stopped"))
    nas.train(whole)
    answer = nas_command("train", stopped.path, stop_at=(stopped.metrics.path, 2))
    assert answer.code == 130, answer.stderr
    assert 1 <= read_state(stopped.checkpoint_path)["epoch"] < 4
    assert nas_command("train", stopped.path).code == 0
    assert read_state(stopped.checkpoint_path) == read_state(whole.checkpoint_path)
    records = whole.metrics.read()
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert records[0]["loss"] < first.metrics.read()[0]["loss"]  # not from random weights


@pytest.mark.slow
def test_weights_of_a_finished_run_are_searched_without_training(tmp_path, finished):
    start = finished.open()
    weights = (f"training.weights={start.checkpoint_path}", "training.epochs=0")
    overrides = (*LEAST, *weights)
    result = nas.run(out=tmp_path / "run", overrides=overrides)
    again = open_run(tmp_path / "run")
    ours, theirs = (dict(load_supernet(one).named_parameters()) for one in (again, start))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.metrics.read() == []
    assert result.winner is not None
    checks = verify_folder(Path(result.winner.model_path).parent).checks
    assert all(check.ok for check in checks if check.name != "latency"), checks
    assert Path(result.report_path).is_file()
