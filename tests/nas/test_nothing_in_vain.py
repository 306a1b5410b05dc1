"""Settings that would do nothing are refused."""

import pytest

from nas.config import OPTIONS, load_recipe
from search_spaces import InputError

HERE = "python:tests.nas.own_teachers"
OWN_LOSS = f"task.distillation={HERE}:ten_classes"
WITHOUT_TEACHER = ("single-path", "sorted")
OTHERS = tuple(name for name in OPTIONS["strategy"] if name not in WITHOUT_TEACHER)


def refused(*overrides: str) -> str:
    with pytest.raises(InputError) as error:
        load_recipe(None, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("strategy", WITHOUT_TEACHER)
@pytest.mark.parametrize("setting", ["training.distillation=balanced", OWN_LOSS])
def test_distillation_where_nothing_teaches(strategy, setting):
    message = refused(f"training.strategy={strategy}", setting)
    for words in (strategy, setting.partition("=")[0], "training.teachers"):
        assert words in message
    taught = [f"training.strategy={strategy}", f'training.teachers=["{HERE}:ten_classes"]']
    recipe = load_recipe(None, [*taught, setting])
    assert recipe.training.teachers == (f"{HERE}:ten_classes",)


@pytest.mark.parametrize("strategy", OTHERS)
@pytest.mark.parametrize("setting", ["training.distillation=balanced", OWN_LOSS])
def test_distillation_where_the_largest_teaches_is_taken(strategy, setting):
    recipe = load_recipe(None, [f"training.strategy={strategy}", setting])
    assert recipe.training.strategy == strategy


@pytest.mark.parametrize("strategy", OPTIONS["strategy"])
def test_adaptive_dropout_of_no_dropout(strategy):
    adaptive = [f"training.strategy={strategy}", "training.adaptive_dropout=true"]
    message = refused(*adaptive)
    assert "adaptive_dropout" in message
    assert "training.dropout" in message
    assert load_recipe(None, [*adaptive, "training.dropout=0.1"]).training.adaptive_dropout


@pytest.mark.parametrize(("full", "ramp"), [(0.5, 0.6), (0.99, 0.02), (0.01, 1.0)])
def test_subnets_that_would_join_in_after_the_end(full, ramp):
    shares = [f"training.full_share={full}", f"training.ramp_share={ramp}"]
    message = refused("training.strategy=delayed", *shares)
    for words in ("full_share", "ramp_share", str(full), str(ramp)):
        assert words in message


@pytest.mark.parametrize(("full", "ramp"), [(0.5, 0.5), (0.0, 1.0), (0.99, 0.01), (0.7, 0.3)])
def test_subnets_that_join_in_at_the_end_are_taken(full, ramp):
    shares = [f"training.full_share={full}", f"training.ramp_share={ramp}"]
    assert load_recipe(None, ["training.strategy=delayed", *shares]).training.ramp_share == ramp


def test_what_does_nothing_is_refused_also_in_a_copy():
    config = load_recipe(None).training
    with pytest.raises(InputError, match="distillation"):
        config.replaced(strategy="single-path", distillation="balanced")
    with pytest.raises(InputError, match="adaptive_dropout"):
        config.replaced(adaptive_dropout=True)
