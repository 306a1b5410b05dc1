"""Builders of spaces that a user names as `python:module:function`, and what may be wrong."""

import sys

import pytest

from search_spaces import InputError, SearchSpace, build_space, space_modality

HERE = f"python:{__name__}"


def no_defaults(num_classes, input_channels) -> SearchSpace:
    return build_space("mobilenet-digits", num_classes=num_classes, input_channels=input_channels)


def of_texts(num_classes, vocabulary, length) -> SearchSpace:
    return build_space("bert-mini", num_classes=num_classes, vocabulary=vocabulary, length=length)


def any_settings(**settings) -> SearchSpace:
    return build_space("mobilenet-digits", **settings)


def needs_more(num_classes=10, input_channels=1, *, depth) -> SearchSpace:
    raise AssertionError


def raising(num_classes=10, input_channels=1) -> SearchSpace:
    raise RuntimeError("mine\nand more")


def wrong_modality(num_classes=10, input_channels=1) -> SearchSpace:
    digits = build_space("mobilenet-digits")
    return SearchSpace("mine@1", digits.dimensions, digits.slots, modality="video")


def without_slots(num_classes=10, input_channels=1) -> SearchSpace:
    return SearchSpace("mine@1", build_space("mobilenet-digits").dimensions)


def nothing(num_classes=10, input_channels=1) -> None:
    return None


def test_builders_need_no_defaults_before_there_is_data():
    assert space_modality(f"{HERE}:no_defaults") == "image"
    assert space_modality(f"{HERE}:of_texts") == "tokens"
    space = build_space(f"{HERE}:no_defaults", num_classes=4, input_channels=1)
    assert space.settings == {"num_classes": 4, "input_channels": 1}
    assert build_space(f"{HERE}:any_settings", num_classes=4).settings["num_classes"] == 4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raising", "raised RuntimeError: mine$"),
        ("wrong_modality", "modality of image, tokens, sequence, got 'video'"),
        ("without_slots", "layers.*got none"),
        ("nothing", "returns a SearchSpace, got NoneType"),
        ("needs_more", "depth cannot be told from the data.*default"),
    ],
)
def test_builders_that_give_no_space_are_refused_in_one_line(name, words):
    with pytest.raises(InputError, match=words) as error:
        build_space(f"{HERE}:{name}")
    assert str(error.value).startswith(f"{HERE}:{name}: ")
    assert "\n" not in str(error.value)


def test_settings_that_a_builder_lacks_are_named():
    with pytest.raises(InputError, match=r"input_channels cannot be told .* gives num_classes;"):
        build_space(f"{HERE}:no_defaults", num_classes=4)
    with pytest.raises(InputError, match="expected num_classes and input_channels, got"):
        build_space(f"{HERE}:no_defaults", frames=4)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise RuntimeError('mine\\nand more')", "RuntimeError: mine$"),
        ("def f(:", "SyntaxError"),
        ("import no_such_library", "no_such_library"),
        ("raise AssertionError", "AssertionError$"),
    ],
)
def test_modules_that_raise_on_import_are_refused_in_one_line(tmp_path, monkeypatch, code, words):
    (tmp_path / "mine_raises.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine_raises", raising=False)
    with pytest.raises(InputError, match=words) as error:
        build_space("python:mine_raises:f")
    assert "\n" not in str(error.value)
