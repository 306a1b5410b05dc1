"""A recipe, and how it is read: unknown keys are errors that name the nearest valid one."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    model_validator,
)

from hardware_profiles.artifact import describe
from nas.config.measuring import AccuracyConfig, ProfileConfig
from nas.config.search import SearchConfig
from nas.config.section import (
    Count,
    Section,
)
from nas.config.task import DataConfig, SpaceConfig, TaskConfig
from nas.config.training import TrainingConfig
from search_spaces import InputError, unknown_name
from search_spaces.catalogue import is_file_name


class Recipe(Section):
    """Everything a run is made from."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "digits"
    seed: Count = 0
    threads: Count = 1  # of PyTorch; 0 is all cores, which helps networks larger than the digits'
    space: SpaceConfig = SpaceConfig()
    data: DataConfig = DataConfig()
    task: TaskConfig = TaskConfig()
    training: TrainingConfig = TrainingConfig()
    accuracy: AccuracyConfig = AccuracyConfig()
    profile: ProfileConfig = ProfileConfig()
    search: SearchConfig = SearchConfig()

    @model_validator(mode="after")
    def _taught(self) -> "Recipe":
        if self.task.distillation is not None and self.training.without_teacher:
            raise InputError(
                f"{self.training.strategy} learns from labels alone, so task.distillation does "
                "nothing: leave it out or name training.teachers"
            )
        return self

    @model_validator(mode="after")
    def _something_to_search(self) -> "Recipe":
        has_weights = self.training.weights is not None or is_file_name(self.space.name)
        if self.training.epochs == 0 and not has_weights:
            raise InputError(
                "expected training.epochs of at least 1, or training.weights to start from, got 0"
            )
        return self


def load_recipe(path: Path | None, overrides: Iterable[str] = ()) -> Recipe:
    """Read a TOML recipe (the embedded digits without one) and apply `section.key=value` overrides.

    Raises:
        InputError: not TOML, an unknown key (the nearest valid one is named), a bad value.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text())
        except IsADirectoryError:
            raise InputError(f"{path} is a folder but no run (no run.json in it)") from None
        except FileNotFoundError:
            raise InputError(
                f"no recipe or run {path}; the ready-made recipes are in recipes/"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected a TOML recipe: {error}") from None
        data.setdefault("name", path.stem)
    for override in overrides:
        _apply(data, override)
    return check_recipe(data)


def read_search_settings(overrides: Iterable[str]) -> dict[str, Any]:
    """Read `key=value` settings of the section `search`.

    Raises:
        InputError: another form, or an unknown key (the nearest valid one is named).
    """
    data: dict[str, Any] = {}
    for override in overrides:
        _apply(data, override)
    for key in data:
        if key not in SearchConfig.model_fields:
            raise unknown_name("search setting", key, SearchConfig.model_fields)
    return data


def read_training_settings(overrides: Iterable[str]) -> dict[str, Any]:
    """Read `training.key=value` settings.

    Raises:
        InputError: another form, another section, or an unknown key (the nearest valid one is
            named).
    """
    data: dict[str, Any] = {}
    for override in overrides:
        _apply(data, override)
    _check_keys(data, Recipe, "")
    for section in data:
        if section != "training":
            raise InputError(f"expected --set training.key=value, got one of {section!r}")
    settings: dict[str, Any] = data.get("training", {})
    return settings


def check_recipe(data: Mapping[str, Any]) -> Recipe:
    """Validate a recipe given as nested mappings.

    Raises:
        InputError: as `load_recipe`.
    """
    _check_keys(data, Recipe, "")
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise InputError(f"recipe: {describe(error)}") from None


def _check_keys(data: Mapping[str, Any], model: type[BaseModel], prefix: str) -> None:
    for key, value in data.items():
        if key not in model.model_fields:
            known = _dotted_keys(Recipe, "")
            elsewhere = [name for name in known if name.rpartition(".")[2] == key]
            if elsewhere:
                raise InputError(
                    f"unknown recipe key {prefix + key!r}; did you mean {elsewhere[0]!r}?"
                )
            raise unknown_name("recipe key", prefix + key, known)
        section = model.model_fields[key].annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            if not isinstance(value, Mapping):
                raise InputError(f"recipe: expected a section [{prefix}{key}], got {value!r}")
            _check_keys(value, section, f"{prefix}{key}.")


def _dotted_keys(model: type[BaseModel], prefix: str) -> list[str]:
    """Name every key of a recipe, sections and their settings."""
    names = []
    for key, field in model.model_fields.items():
        names.append(prefix + key)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _dotted_keys(field.annotation, f"{prefix}{key}.")
    return names


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"expected --set section.key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        value = text  # a bare word is a string
    *sections, name = key.strip().split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise InputError(f"--set {override}: {section!r} is not a section")
    data[name] = value


def differing_keys(
    first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """Name the dotted keys in which two dumped recipes differ."""
    names: list[str] = []
    for key in dict.fromkeys([*first, *second]):
        a, b = first.get(key), second.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            names += differing_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            names.append(prefix + key)
    return names
