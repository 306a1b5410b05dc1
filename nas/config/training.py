"""The section of a recipe on training."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hardware_profiles.artifact import describe
from nas.config.section import (
    Count,
    NonNegative,
    Positive,
    PositiveInt,
    Section,
    chosen,
    function_name,
)
from search_spaces import InputError, unknown_name

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

    @field_validator("strategy")
    @classmethod
    def _known_strategy(cls, name: str) -> str:
        if name not in OPTIONS["strategy"]:
            raise unknown_name("training strategy", name, OPTIONS["strategy"])
        return name

    @field_validator("distillation")
    @classmethod
    def _known_distillation(cls, name: str) -> str:
        if name not in DISTILLATION_NAMES:
            raise unknown_name("distillation", name, DISTILLATION_NAMES)
        return name

    @field_validator("teachers", mode="before")
    @classmethod
    def _one_or_several(cls, names: Any) -> Any:
        return (names,) if isinstance(names, str) else names

    @field_validator("teachers")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(function_name(name) for name in names)

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
    def _nothing_in_vain(self) -> "TrainingConfig":
        """Refuse settings that would do nothing here."""
        if self.distillation != "kl" and self.without_teacher:
            raise InputError(
                f"{self.strategy} learns from labels alone, so training.distillation does nothing: "
                "leave it out or name training.teachers"
            )
        if self.adaptive_dropout and not self.dropout:
            raise InputError("adaptive_dropout is of training.dropout, which is 0: set that too")
        if (self.full_share or 0) + (self.ramp_share or 0) > 1:
            raise InputError(
                f"expected full_share + ramp_share of at most 1, so that the others join in, got "
                f"{self.full_share} + {self.ramp_share}"
            )
        return self

    @property
    def without_teacher(self) -> bool:
        """Tell whether nothing learns from a teacher."""
        return self.strategy in ("single-path", "sorted") and not self.teachers

    @model_validator(mode="after")
    def _something_to_search(self) -> "TrainingConfig":
        if self.epochs == 0 and self.weights is None:
            raise InputError(
                "expected training.epochs of at least 1, or training.weights to start from, got 0"
            )
        return self
