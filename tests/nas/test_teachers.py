"""Teachers by name: other runs, and functions of the user's own."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.artifacts import load_supernet, new_supernet, subnet_evaluator
from nas.config import check_recipe
from nas.data import input_tensors
from nas.pipeline import create_run
from nas.run_directory import Run, create_run_directory
from nas.subnet.calibrate import batch_norms
from nas.teachers import _check_meaning, load_teachers
from nas.training.batches import Batches
from nas.training.checkpoint import read_state, save_checkpoint
from search_spaces import InputError
from search_spaces.python_name import source_sha256
from search_spaces.supernet import resize
from tests.nas import own_families
from tests.nas.own_teachers import HERE

OWN_TEXTS = {
    "space": {"name": f"{own_families.HERE}:text_space"},
    "data": {"source": f"python:{own_families.__name__}:masked_texts"},
}


def new_run(path, teachers=(), trained: int | None = None, **sections) -> Run:
    """A run on digits that was "trained" for so many of 2 epochs: its weights are the first."""
    recipe = {"training": {"teachers": list(teachers), "epochs": 2}, **sections}
    run = create_run_directory(path, check_recipe(recipe))
    if trained is not None:
        tensors = {f"weights.{n}": p for n, p in new_supernet(run).named_parameters()}
        state = {"space": run.space.name, "epoch": trained, "epochs": 2, "seed": 0}
        save_checkpoint(run.checkpoint_path, tensors, state)
    return run


def images(path, channels: int = 1, classes: int = 10) -> dict:
    """The section of data that are brighter and larger than digits."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(120, 255, (12 * classes, 12, 12, channels)).astype(np.uint8)
    np.savez(path, x=pixels, y=np.arange(12 * classes) % classes)
    return {"source": f"npz:{path}"}


@pytest.fixture(scope="module")
def taught(tmp_path_factory) -> Run:
    """The run that is to learn."""
    return new_run(tmp_path_factory.mktemp("taught") / "run")


def load(run: Run, *names):
    """Load other teachers than the run's recipe names."""
    training = run.recipe.training.model_copy(update={"teachers": tuple(map(str, names))})
    other = Run(run.path, run.recipe.model_copy(update={"training": training}), run._file, run.data)
    return load_teachers(other)


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory) -> Run:
    return new_run(tmp_path_factory.mktemp("digits") / "run", trained=2)


def test_a_runs_teacher_is_its_largest_subnet_calibrated_on_what_it_will_see(taught, digits_run):
    """Its weights are those of the subnet that would ship, its norms know augmented samples."""
    (teacher,) = load(taught, digits_run.path)
    largest = digits_run.space.decode(digits_run.space.largest()[0])
    shipped = subnet_evaluator(digits_run, load_supernet(digits_run)).subnet(largest)
    own = dict(teacher.network.named_parameters())
    assert all(torch.equal(own[name], weight) for name, weight in shipped.named_parameters())
    (mean, *_), (plain, *_) = (
        [norm.running_mean for norm in batch_norms(network)]
        for network in (teacher.network, shipped)
    )
    batches = Batches(taught.data, taught.recipe.training, torch.device("cpu"))
    inputs, _ = batches(np.arange(len(taught.data.train)), torch.Generator().manual_seed(5))
    with torch.no_grad():
        seen = teacher.network.get_submodule("stem.conv")(*teacher.prepared(inputs))
    expected = seen.mean(dim=(0, 2, 3))
    assert (mean - expected).abs().max() < (plain - expected).abs().max()
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert teacher.sha256 == read_state(digits_run.checkpoint_path)["sha256"]
    assert teacher.name == str(digits_run.path)


def test_a_teacher_may_be_of_another_space_and_other_data(taught, tmp_path):
    """Its images are larger and brighter than those that it is given, and normalised as its own."""
    space = {"name": "mobilenet-cifar"}
    accuracy = {"calibration_samples": 16}
    data = images(tmp_path / "bright.npz")
    other = new_run(tmp_path / "run", trained=2, space=space, data=data, accuracy=accuracy)
    (teacher,) = load(taught, other.path)
    largest = other.space.decode(other.space.largest()[0])
    specs = load_supernet(other).inputs(largest).values()
    samples = taught.data.validation.take(np.arange(4))
    (as_its_own,) = resize(input_tensors(other.data, samples), specs)
    (found,) = teacher.prepared(input_tensors(taught.data, samples))
    torch.testing.assert_close(found, as_its_own, atol=1e-4, rtol=1e-4)
    assert teacher((found,)).shape == (4, other.data.num_classes)


def test_several_teachers_come_in_the_order_of_their_names(taught, digits_run):
    names = (f"{HERE}:ten_classes", str(digits_run.path))
    assert tuple(teacher.name for teacher in load(taught, *names)) == names
    assert load(taught) == ()


def test_texts_are_taught_by_texts(tmp_path):
    other = new_run(tmp_path / "teacher", trained=2, **OWN_TEXTS)
    run = new_run(tmp_path / "taught", [str(other.path)], **OWN_TEXTS)
    (teacher,) = load_teachers(run)
    ids, mask = input_tensors(run.data, run.data.validation)
    assert teacher((ids, mask)).shape == (len(ids), 2)


@pytest.mark.parametrize("epochs", [None, 0, 1])
def test_a_run_that_is_not_trained_to_the_end_is_refused(taught, tmp_path, epochs):
    other = new_run(tmp_path / "other", trained=epochs)
    words = r"no checkpoint" if epochs is None else rf"trained for {epochs} of 2 epochs"
    with pytest.raises(InputError, match=rf"training\.teachers: .*other.*{words}.*nas train"):
        load(taught, other.path)


def test_a_folder_that_is_no_run_is_refused(taught, tmp_path):
    with pytest.raises(InputError, match=r"training\.teachers: .*nowhere is not a run"):
        load(taught, tmp_path / "nowhere")


def test_a_run_does_not_teach_itself(taught):
    with pytest.raises(InputError, match=r"training\.teachers: .*the run itself"):
        load(taught, taught.path)


def test_a_run_of_other_classes_says_how_many(taught, tmp_path):
    other = new_run(tmp_path / "other", trained=2, data=images(tmp_path / "x.npz", classes=7))
    with pytest.raises(InputError, match=r"other is for 7 classes, the data has 10"):
        load(taught, other.path)


def test_a_run_of_other_channels_is_refused(taught, tmp_path):
    other = new_run(tmp_path / "other", trained=2, data=images(tmp_path / "x.npz", channels=3))
    with pytest.raises(InputError, match=r"other is for 3 input channels, the data has 1"):
        load(taught, other.path)


def test_a_run_of_texts_does_not_teach_images(taught, tmp_path):
    other = new_run(tmp_path / "other", trained=2, **OWN_TEXTS)
    with pytest.raises(InputError, match=r"other takes texts, the data are images"):
        load(taught, other.path)


def test_a_run_of_another_vocabulary_is_refused(tmp_path):
    other = new_run(tmp_path / "other", trained=2, **OWN_TEXTS)
    data = {**OWN_TEXTS["data"], "vocabulary": 200}
    run = new_run(tmp_path / "run", **{**OWN_TEXTS, "data": data})
    with pytest.raises(InputError, match=r"other is for 4096 vocabulary, the data has 200"):
        load(run, other.path)


def test_a_run_of_other_ids_or_of_another_order_of_classes_is_refused(taught, digits_run):
    data = taught.data
    backwards = replace(data, class_names=data.class_names[::-1])
    with pytest.raises(InputError, match=r"run has the classes in another order.*9, 8.*0, 1"):
        _check_meaning("run", backwards, data)
    _check_meaning("run", replace(data, class_names=tuple("abcdefghij")), data)
    with pytest.raises(InputError, match="another tokenizer"):
        _check_meaning("run", replace(data, tokenizer="{1}"), replace(data, tokenizer="{2}"))
    _check_meaning("run", replace(data, tokenizer="{1}"), data)


def test_a_run_with_two_outputs_is_refused_on_either_side(taught, tmp_path):
    sections = {
        "space": {"name": f"{own_families.HERE}:two_headed"},
        "task": {
            "loss": f"{own_families.HERE}:both_losses",
            "metric": f"{own_families.HERE}:both_right",
        },
    }
    other = new_run(tmp_path / "other", trained=2, **sections)
    with pytest.raises(InputError, match=r"other has the outputs logits, parity; one"):
        load(taught, other.path)
    with pytest.raises(InputError, match=r"one output, own-two-headed@1 has logits, parity"):
        load(other, f"{HERE}:ten_classes")


# --- functions ------------------------------------------------------------------------------------


def test_a_function_gives_a_module_of_the_users_own(taught):
    before = torch.get_rng_state()
    (teacher,) = load(taught, f"{HERE}:ten_classes")
    assert torch.equal(torch.get_rng_state(), before)
    inputs = input_tensors(taught.data, taught.data.validation)
    assert torch.equal(teacher(inputs), teacher(inputs)), "neither dropout nor statistics act"
    assert teacher(inputs).shape == (len(taught.data.validation), 10)
    assert teacher.sha256 == source_sha256(f"{HERE}:ten_classes")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nine_classes", "is for 9 classes, the data has 10"),
        ("larger_images", "raised RuntimeError"),
        ("a_map", r"expected outputs 2 x 10 for 2 samples, got \(2, 10, 6, 6\)"),
        ("two_outputs", "expected one output, a tensor, got 2"),
        ("no_module", "expected a torch module, got Tensor"),
        ("raising", "raised RuntimeError: no weights here"),
        ("absent", "can be imported"),
    ],
)
def test_functions_that_give_no_teacher_are_refused_in_one_line(taught, name, words):
    with pytest.raises(InputError, match=rf"training\.teachers: {HERE}:{name}.*{words}") as error:
        load(taught, f"{HERE}:{name}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "nowhere is not a run"),
        (f"{HERE}:absent", "can be imported"),
        ("untrained", "no checkpoint"),
        ("of_seven", "is for 7 classes, the data has 10"),
    ],
)
def test_no_run_is_made_for_a_teacher_that_cannot_teach(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    new_run(tmp_path / "untrained")
    new_run(tmp_path / "of_seven", trained=2, data=images(tmp_path / "x.npz", classes=7))
    with pytest.raises(InputError, match=rf"training\.teachers: .*{words}"):
        create_run(tmp_path / "run", check_recipe({"training": {"teachers": [name]}}))
    assert not (tmp_path / "run").exists()


def test_names_of_another_form_are_refused():
    with pytest.raises(InputError, match=r"training\.teachers.*python:package\.module:function"):
        check_recipe({"training": {"teachers": ["python:module"]}})


def test_teachers_are_part_of_the_recipe_that_a_run_is_made_from(tmp_path, taught):
    copy = shutil.copytree(taught.path, tmp_path / "run")
    assert json.loads((copy / "run.json").read_text())["recipe"]["training"]["teachers"] == []
    with pytest.raises(InputError, match=r"differs in training\.teachers"):
        new_run(copy, [f"{HERE}:ten_classes"])
