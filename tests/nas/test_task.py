"""Losses, metrics and distillation, built in and of the user's own."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nas.config import check_recipe
from nas.distillation import DISTILLATIONS
from nas.reporting.predictor_facts import quantities
from nas.results import metric_text
from nas.task import Task, make_task
from search_spaces import InputError, build_space
from tests.nas import own_families
from tests.nas.own_families import HERE


def own(label_smoothing: float = 0.0, **task: str) -> Task:
    """A task whose functions lie in `own_families`."""
    named = {key: f"{HERE}:{name}" for key, name in task.items()}
    training = {"label_smoothing": label_smoothing}
    return make_task(check_recipe({"task": named, "training": training}))


def answers(n: int = 30, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, classes, generator=generator, requires_grad=True)
    return logits, torch.randint(0, classes, (n,), generator=generator)


# --- built in -------------------------------------------------------------------------------------


def test_without_settings_classes_are_learnt_and_counted():
    task = make_task(check_recipe({"training": {"label_smoothing": 0.1}}))
    logits, labels = answers()
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    assert torch.equal(task.training_loss(logits, labels), expected)
    assert (task.metric, task.classification) == ("accuracy", True)
    logits = logits.detach()
    score = task.score(logits, labels)
    right = logits.argmax(1) == labels
    assert score.accuracy == pytest.approx(float(right.float().mean()))
    assert score.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)
    for half in (0, 1):
        assert score.accuracy_halves[half] == pytest.approx(float(right[half::2].float().mean()))
        loss = float(F.cross_entropy(logits[half::2], labels[half::2]))
        assert score.loss_halves[half] == pytest.approx(loss, rel=1e-5)


def test_distillation_is_the_cross_entropy_to_the_teachers_probabilities():
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    teacher = torch.tensor([[0.2, 0.4, -0.3], [2.0, 0.0, 1.0]])
    total = 0.0
    for row, guide in zip(logits.tolist(), teacher.tolist(), strict=True):
        norm = math.log(sum(math.exp(value) for value in row))
        mass = sum(math.exp(value) for value in guide)
        total -= sum(
            math.exp(g) / mass * (value - norm) for value, g in zip(row, guide, strict=True)
        )
    assert float(Task().distillation_loss(logits, teacher)) == pytest.approx(total / 2, rel=1e-6)


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_the_distillation_of_the_recipe_is_used(name):
    task = make_task(check_recipe({"training": {"distillation": name}}))
    outputs, _ = answers()
    teacher = outputs.detach().flip(0)
    expected = DISTILLATIONS[name](outputs, teacher)
    assert torch.equal(task.distillation_loss(outputs, teacher), expected)
    assert torch.equal(task.distillation_loss((outputs,), (teacher,)), expected)


def test_a_teacher_of_other_classes_is_refused():
    outputs, _ = answers(classes=4)
    with pytest.raises(InputError, match=r"\(30, 4\).*\(30, 5\)"):
        Task().distillation_loss(outputs, torch.zeros(30, 5))


# --- of the user's own ----------------------------------------------------------------------------


def test_functions_of_the_users_own_are_called():
    task = own(loss="squared_error", metric="r2")
    rng = np.random.default_rng(0)
    targets = torch.from_numpy(rng.normal(size=(40, 2)).astype(np.float32))
    outputs = (targets + 0.1).requires_grad_()
    assert (task.metric, task.classification) == ("r2", False)
    assert float(task.training_loss(outputs, targets).detach()) == pytest.approx(0.01, rel=1e-4)
    score = task.score(outputs.detach(), targets)
    assert score.accuracy == pytest.approx(float(own_families.r2(outputs.detach(), targets)))
    assert score.loss == pytest.approx(0.01, rel=1e-4)
    first = float(own_families.r2(outputs.detach()[::2], targets[::2]))
    assert score.accuracy_halves[0] == pytest.approx(first)


def test_several_outputs_are_given_as_a_tuple():
    task = own(loss="both_losses", metric="both_right")
    digit, labels = answers(classes=10)
    parity, _ = answers(classes=2)
    loss = task.training_loss((digit, parity), labels)
    expected = F.cross_entropy(digit, labels) + F.cross_entropy(parity, labels % 2)
    assert torch.equal(loss, expected)
    assert 0 <= task.score((digit.detach(), parity.detach()), labels).accuracy <= 1


def test_distillation_beside_another_loss_is_the_squared_error_of_all_outputs():
    task = own(loss="both_losses", metric="both_right")
    found = (torch.zeros(3, 2), torch.zeros(3, 4, requires_grad=True))
    teacher = (torch.ones(3, 2), torch.full((3, 4), 3.0))
    assert float(task.distillation_loss(found, teacher).detach()) == pytest.approx((1 + 9) / 2)


def test_maps_of_a_lower_resolution_are_held_against_the_teachers_size():
    task = own(loss="pixel_loss", metric="pixel_accuracy")
    small, large = torch.ones(2, 3, 4, 4), torch.ones(2, 3, 8, 8)
    assert float(task.distillation_loss(small, large)) == 0.0
    with pytest.raises(InputError, match=r"task\.distillation"):
        task.distillation_loss(torch.ones(2, 3), torch.ones(2, 4))


def test_distillation_of_the_users_own():
    task = own(loss="squared_error", metric="r2", distillation="squared_error")
    found = torch.zeros(3, 2, requires_grad=True)
    assert float(task.distillation_loss(found, torch.full((3, 2), 2.0)).detach()) == 4.0


def test_a_function_called_accuracy_is_not_the_built_in_one():
    """Its values may not be fractions, so that they must not be shown in percent."""
    config = check_recipe({"task": {"metric": "python:mine:accuracy"}}).task
    assert config.metric_name == "mine:accuracy"
    assert quantities(config)["error"].unit == ""
    assert metric_text(config.metric_name, 3.0) == "3"


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raising", "raised RuntimeError: mine"),
        ("one_each", r"scalar.*shape \(30,\)"),
        ("a_word", "scalar.*str"),
        ("forgetful", "forgot"),
        ("not_a_number", "scalar.*float"),
    ],
)
def test_losses_that_are_none_are_refused_in_one_line(name, words):
    with pytest.raises(InputError, match=words) as error:
        own(loss=name, metric="r2").training_loss(*answers())
    assert f"{HERE}:{name}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raising", "raised RuntimeError: mine"),
        ("one_each", r"number.*shape \(30,\)"),
        ("a_word", "number.*str"),
        ("not_a_number", "finite number, got nan"),
    ],
)
def test_metrics_that_are_none_are_refused_in_one_line(name, words):
    logits, labels = answers()
    with pytest.raises(InputError, match=words) as error:
        own(loss="squared_error", metric=name).score(logits.detach(), labels)
    assert "\n" not in str(error.value)


def test_a_loss_of_no_number_is_refused_when_judging():
    logits, labels = answers()
    with pytest.raises(InputError, match="finite number"):
        own(loss="not_a_number", metric="not_a_number").score(logits.detach(), labels)


@pytest.mark.parametrize(("kind", "first"), [("metric", "loss"), ("loss", "metric")])
@pytest.mark.parametrize(("rare", "half"), [(4, "second half"), (5, "first half")])
def test_what_is_not_finite_on_a_half_says_on_which(kind, first, rare, half):
    """A class that is missing there, say: on all samples the number is finite."""
    logits, labels = answers()
    labels[:] = 0
    labels[rare] = 1
    task = own(**{first: "a_constant", kind: "share_of_class_1"})
    with pytest.raises(InputError, match=rf"finite number, got inf on the {half}.*15 of 30"):
        task.score(logits.detach(), labels)


@pytest.mark.parametrize("setting", ["loss", "metric", "distillation"])
@pytest.mark.parametrize("name", ["absent", "HERE", "np.nothing"])
def test_functions_that_are_not_there_are_refused(setting, name):
    with pytest.raises(InputError, match=r"own_families:"):
        own(**{setting: name})


@pytest.mark.parametrize("name", ["crossentropy", "python:module", "python::f", "python:m:", ""])
@pytest.mark.parametrize("setting", ["loss", "metric", "distillation"])
def test_names_of_another_form_are_refused(setting, name):
    with pytest.raises(InputError, match=rf"task\.{setting}.*python:package\.module:function"):
        check_recipe({"task": {setting: name}})


def test_label_smoothing_beside_another_loss_is_refused():
    with pytest.raises(InputError, match=r"training\.label_smoothing"):
        own(label_smoothing=0.1, loss="squared_error")


@pytest.mark.parametrize("setting", ["loss", "distillation"])
def test_a_distillation_of_classes_beside_a_function_is_refused(setting):
    named = {setting: f"{HERE}:squared_error"}
    recipe = check_recipe({"task": named, "training": {"distillation": "balanced"}})
    with pytest.raises(InputError, match=r"training\.distillation balanced.*kl.*squared_error"):
        make_task(recipe)


def test_an_unknown_distillation_names_the_nearest():
    with pytest.raises(InputError, match=r"training\.distillation.*'alpha-divergence'"):
        check_recipe({"training": {"distillation": "alpha-divergance"}})


def test_built_in_functions_take_one_output():
    space = own_families.two_headed()
    with pytest.raises(InputError, match=r"logits, parity.*task\.loss"):
        Task().check_space(space)
    own(loss="both_losses", metric="both_right").check_space(space)
    Task().check_space(build_space("mobilenet-digits"))
