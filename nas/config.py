"""Recipes: one frozen, typed model per stage; unknown keys are errors; defaults live here once."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hardware_profiles.artifact import describe
from hardware_profiles.target import Precision
from search_spaces import SPACES, InputError, unknown_name
from search_spaces.python_name import PREFIX, is_python_name

PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Option = TypeVar("Option")


class Section(BaseModel):
    """Base of every section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class SpaceConfig(Section):
    """Which search space: of the catalogue, or `python:package.module:function`, a builder of the
    user's own. Classes and the sizes of inputs follow from the data.
    """

    name: str = "mobilenet-digits"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if not is_python_name(name) and name not in SPACES:
            raise unknown_name("space", name, SPACES)
        return _function_name(name)


class DataConfig(Section):
    """Where the samples come from and how they are split."""

    source: str = "digits"  # see `nas.data.load_data`
    validation_share: Fraction = 0.2
    test_share: Fraction = 0.2  # used where the source brings no test split of its own
    max_samples: Count = 0  # of training, drawn evenly from all classes; 0: all there are
    vocabulary: Annotated[int, Field(ge=3, le=1_000_000)] = 4096  # of tokens: ids are below it
    length: Annotated[int, Field(ge=2)] = 32  # of texts, in tokens; own ids keep theirs

    @model_validator(mode="after")
    def _something_left(self) -> "DataConfig":
        if self.validation_share + self.test_share >= 1:
            raise InputError(
                "expected validation_share + test_share below 1, so that something is left to "
                f"train on, got {self.validation_share} + {self.test_share}"
            )
        return self


class TaskConfig(Section):
    """What networks are trained for and judged by; without functions of one's own, classes."""

    loss: str = "cross-entropy"  # or python:module:function (outputs, targets) -> mean of the batch
    metric: str = "accuracy"  # or python:module:function (outputs, targets), greater is better
    distillation: str | None = None  # python:module:function (outputs, teacher's outputs)

    @field_validator("loss", "metric", "distillation")
    @classmethod
    def _known(cls, name: str | None, info: ValidationInfo) -> str | None:
        own = {"loss": "cross-entropy", "metric": "accuracy"}.get(str(info.field_name))
        if name is None or name == own:
            return name
        if not is_python_name(name):
            known = f"{own!r} or " if own else ""
            raise InputError(f"expected {known}python:package.module:function, got {name!r}")
        return _function_name(name)

    @property
    def classification(self) -> bool:
        """Tell whether targets are class numbers: something here counts classes."""
        return self.loss == "cross-entropy" or self.metric == "accuracy"

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the user's functions."""
        names = (self.loss, self.metric, self.distillation or "")
        return tuple(name for name in names if is_python_name(name))

    @property
    def metric_name(self) -> str:
        """Name of the metric on screen; "accuracy", which is shown in percent, is the built-in."""
        name = self.metric.rpartition(":")[2]
        return name if name != "accuracy" else self.metric.removeprefix(PREFIX)

    @property
    def loss_name(self) -> str:
        """Name of the loss on screen."""
        return self.loss.rpartition(":")[2]


OPTIONS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "strategy": {
        "single-path": {},
        "sandwich": {"num_random": 2},
        "progressive": {"num_random": 1, "full_share": 0.3, "sort_channels": True},
        "delayed": {"num_random": 2, "full_share": 0.5, "ramp_share": 0.02},
        "attentive": {"num_random": 2, "candidates": 3, "attend": "best", "judge": "loss"},
        "sorted": {"num_random": 3, "levels": 8},
    },
    "schedule": {
        "cosine": {},
        "exponential": {"decay": 0.97, "decay_epochs": 2.4, "constant_ending": 0.05},
    },
}
"""Settings of the training that only some of its choices take, with their defaults."""

DISTILLATION_NAMES = ("kl", "alpha-divergence", "balanced")  # in `nas.distillation`


class TrainingConfig(Section):
    """Supernet training. Settings that are None belong to another strategy or schedule."""

    strategy: str = "sandwich"
    num_random: Count | None = None  # random subnets a step
    full_share: Annotated[float, Field(ge=0, lt=1)] | None = None  # of training, the largest alone
    ramp_share: Annotated[float, Field(ge=0, le=1)] | None = None  # in which the others join in
    sort_channels: bool | None = None  # by importance, before expansions and widths become elastic
    candidates: PositiveInt | None = None  # of which one is taken
    attend: Literal["best", "worst"] | None = None
    judge: str | None = None  # of candidates: "loss" of a mini-batch, or a run whose predictor does
    levels: Annotated[int, Field(ge=2)] | None = None  # nested sub-models
    optimizer: str = "sgd"  # or adamw, which wants a learning rate near 0.001
    weights: str | None = None  # start from a file of `nas import-weights`, or a run's checkpoint
    kernel_transform: bool = False  # small kernels as learned maps of large ones (once-for-all)
    zero_last_norm: bool = False  # residual blocks begin as their shortcuts
    device: str = "auto"  # of PyTorch: a GPU where there is one; or cpu, cuda, cuda:1
    precision: Literal["fp32", "bf16"] = "fp32"  # of products; weights and losses are fp32
    epochs: Count = 30  # 0: search the weights that training starts from
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: Positive = 0.1
    warm_up_epochs: NonNegative = 2
    schedule: Literal["cosine", "exponential"] = "cosine"
    decay: Annotated[float, Field(gt=0, lt=1)] | None = None  # of the rate, each
    decay_epochs: Positive | None = None
    constant_ending: Annotated[float, Field(ge=0, lt=1)] | None = None  # least share of the rate
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # of adamw the first decay rate
    weight_decay: NonNegative = 1e-4  # not on norms and biases
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_norm: Positive = 5.0
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0  # greatest probability, at the end
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of the features that the classifier reads
    adaptive_dropout: bool = False  # of every subnet, by its size; else of the largest alone
    distillation: str = "kl"  # of classes: or alpha-divergence, or balanced (forward and reverse)
    teachers: tuple[str, ...] = ()  # runs, or python:package.module:function that return a module
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.1  # of images: share of the side
    rotate: Annotated[float, Field(ge=0, le=180)] = 10.0  # degrees
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    flip: bool = False
    evaluate_every: PositiveInt = 5  # epochs between looks at the smallest and the largest
    checkpoint_minutes: Positive = 2.0  # within long epochs; there is one after every epoch
    tensorboard: bool = False  # event files beside metrics.jsonl; needs the extra `tensorboard`

    @model_validator(mode="before")
    @classmethod
    def _options_of_the_choices(cls, values: Any) -> Any:
        """Fill in the options of what was chosen; those of something else are errors."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        for choice, takers in OPTIONS.items():
            taken = filled.get(choice, cls.model_fields[choice].default)
            own = takers.get(taken, {}) if isinstance(taken, str) else {}
            for name in dict.fromkeys(name for options in takers.values() for name in options):
                if filled.get(name) is None:
                    filled[name] = own.get(name)
                elif name not in own and taken in takers:
                    having = [taker for taker, options in takers.items() if name in options]
                    raise InputError(
                        f"{name} is an option of {', '.join(having)}, not of {taken}: leave it "
                        f"out or change training.{choice}"
                    )
        return filled

    def replaced(self, **changes: Any) -> "TrainingConfig":
        """Return a checked copy with some settings changed; another choice brings its own options.

        Raises:
            InputError: a bad value.
        """
        kept = self.model_dump()
        for choice, takers in OPTIONS.items():
            if changes.get(choice, kept[choice]) != kept[choice]:
                kept |= {name: None for options in takers.values() for name in options}
        try:
            return TrainingConfig.model_validate({**kept, **changes})
        except ValidationError as error:
            raise InputError(f"training: {describe(error)}") from None

    @field_validator("distillation")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DISTILLATION_NAMES:
            raise unknown_name("distillation", name, DISTILLATION_NAMES)
        return name

    @field_validator("teachers")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_function_name(name) for name in names)

    @model_validator(mode="after")
    def _something_to_train(self) -> "TrainingConfig":
        if self.strategy not in ("progressive", "sorted"):  # in whose steps there is nothing else
            return self
        most = math.inf if self.levels is None else self.levels
        if not 1 <= chosen(self.num_random) <= most:
            upper = f" and at most {most} (levels)" if self.levels else ""
            raise InputError(
                f"expected training.num_random of at least 1{upper} with the strategy "
                f"{self.strategy}, got {self.num_random}"
            )
        return self

    @model_validator(mode="after")
    def _something_to_search(self) -> "TrainingConfig":
        if self.epochs == 0 and self.weights is None:
            raise InputError(
                "expected training.epochs of at least 1, or training.weights to start from, got 0"
            )
        return self


def chosen(option: Option | None) -> Option:
    """Return an option of what was chosen, which is never None."""
    assert option is not None
    return option


class AccuracyConfig(Section):
    """Subnets whose validation accuracy teaches the accuracy predictor."""

    num_subnets: Annotated[int, Field(ge=8)] = 80
    calibration_samples: PositiveInt = 512
    predictor: str = "gaussian-process"
    proxies: tuple[str, ...] = ()  # zero-cost ones that it sees of every architecture it predicts


class ProfileConfig(Section):
    """Measurements on this machine."""

    runtime: str = "onnxruntime"  # onnxruntime, torch-cpu, torch-cuda, tensorrt
    provider: str = ""  # of ONNX Runtime; its CPU provider without
    precision: Precision = "fp32"
    batch_size: PositiveInt = 1
    threads: PositiveInt = 1
    cores: tuple[Count, ...] = ()  # that the measuring process is pinned to
    minutes: Positive | None = None  # bound on everything
    accept_noise: bool = False
    options: Mapping[
        str, tuple[int | float | str, ...]
    ] = {}  # part of the space: dimension -> options
    passes: Annotated[int, Field(ge=2)] = 3
    num_calibration: Annotated[int, Field(ge=5)] = 24
    num_held_out: Count = 16
    max_specs: Count = 500  # distinct layers; 0 measures whole subnets only
    predictor: str = "auto"  # of latency


OBJECTIVES = ("latency_ms", "macs", "params", "activation_bytes", "resident_bytes", "energy_mj")
LIMITED = OBJECTIVES[1:]  # each by a setting max_NAME; the latency has its budget


class SearchConfig(Section):
    """Search under a latency budget."""

    searcher: str = "auto"
    budget: StrictFloat | StrictInt | str = "50%"  # milliseconds, or a share of the reachable range
    objectives: tuple[str, ...] = ("latency_ms",)  # beside the predicted error or loss
    population: Annotated[int, Field(ge=4)] = 100
    generations: PositiveInt = 40  # population x generations architectures are evaluated
    exact_start: Count = 0  # solutions of an additive model of the predictions to begin with
    stall: Count = 0  # end after so many evaluations without a better one; 0 never does
    seconds: Positive | None = None  # end after so long
    measured_evaluations: Count = 0  # validate so many subnets, instead of predicting thousands
    workers: PositiveInt = 1  # processes that validate side by side
    coverage: Fraction = (
        0.8  # search keeps the latency's upper bound of this coverage in the budget
    )
    finalists: PositiveInt = 6  # measured each round
    rounds: PositiveInt = 3
    max_macs: Positive | None = None
    max_params: Positive | None = None
    max_activation_bytes: Positive | None = None
    max_resident_bytes: Positive | None = None  # predicted from the profile's measured subnets
    max_energy_mj: Positive | None = None  # of a run; predicted as the memory
    limits: Mapping[str, Positive] = {}  # on functions of one's own: python:module:function -> most
    device: str | None = None  # a known profile instead of the run's own
    also: Mapping[str, StrictFloat | StrictInt | str] = {}  # other known devices -> their budgets
    worst_case: bool = False  # of all devices as one objective, not one objective each

    def replaced(self, changes: Mapping[str, Any]) -> "SearchConfig":
        """Return a checked copy with some settings changed.

        Raises:
            InputError: a bad value.
        """
        try:
            return SearchConfig.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            raise InputError(f"search: {describe(error)}") from None

    @field_validator("budget")
    @classmethod
    def _budget(cls, budget: float | str) -> float | str:
        check_budget(budget)
        return budget

    @model_validator(mode="after")
    def _latency_is_there(self) -> "SearchConfig":
        if self.worst_case and "latency_ms" not in self.objectives:
            raise InputError(
                "worst_case is of latencies: expected latency_ms among the objectives, got "
                f"{', '.join(self.objectives)}"
            )
        if self.worst_case and not self.also:
            raise InputError("worst_case is of several devices: name the others with `also`")
        return self

    @field_validator("also")
    @classmethod
    def _budgets(cls, also: Mapping[str, float | str]) -> Mapping[str, float | str]:
        for budget in also.values():
            check_budget(budget)
        return also

    @field_validator("objectives", "limits")
    @classmethod
    def _quantities(cls, names: Any, info: ValidationInfo) -> Any:
        own = OBJECTIVES if info.field_name == "objectives" else ()
        if not names and info.field_name == "objectives":
            raise InputError("expected an objective beside the error or loss, got none")
        if len(set(names)) < len(names):
            raise InputError(f"expected each {info.field_name} once, got {', '.join(names)}")
        for name in names:
            if not is_python_name(name) and name not in own:
                known = [*own, "python:module:function"]
                raise unknown_name(str(info.field_name).removesuffix("s"), name, known)
            _function_name(name)
        return names


def _function_name(name: str) -> str:
    """Check the form of a `python:` name; whether it is there is seen where it is used."""
    if is_python_name(name) and not all(name.removeprefix(PREFIX).partition(":")):
        raise InputError(f"expected python:package.module:function, got {name!r}")
    return name


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


def profile_config(settings: Mapping[str, Any]) -> ProfileConfig:
    """Check settings of a profile.

    Raises:
        InputError: a bad value.
    """
    try:
        return ProfileConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"profile: {describe(error)}") from None


def check_budget(budget: float | str) -> None:
    """Check that a budget is positive milliseconds or a share like "50%".

    Raises:
        InputError: anything else.
    """
    try:
        share = isinstance(budget, str) and budget.endswith("%")
        number = float(budget[:-1] if isinstance(budget, str) and share else budget)
    except ValueError:
        number, share = -1.0, False
    if not (0 < number < float("inf")) or (share and number > 100):
        raise InputError(
            "expected a latency budget above 0 ms (2.0) or a share of the reachable range above "
            f"0% and up to 100% (50%), got {budget!r}"
        )


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
            raise InputError(f"no recipe {path}; the ready-made ones are in recipes/") from None
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
