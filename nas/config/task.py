"""Which space, which data, and what networks are judged by."""

from typing import Annotated

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from nas.config.section import Count, Fraction, Positive, Section, function_name
from search_spaces import SPACES, InputError, unknown_name
from search_spaces.catalogue import is_file_name
from search_spaces.python_name import PREFIX, is_python_name


class SpaceConfig(Section):
    """Which search space: of the catalogue, `python:package.module:function`, a builder of the
    user's own, or `file:FOLDER`, which `nas elasticize` made of a network. Classes and the sizes of
    inputs follow from the data.
    """

    name: str = "mobilenet-digits"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if is_file_name(name):
            return name
        if not is_python_name(name) and name not in SPACES:
            raise unknown_name("space", name, SPACES)
        return function_name(name)


class DataConfig(Section):
    """Where the samples come from and how they are split."""

    source: str = "digits"  # see `nas.data.load_data`
    validation_share: Fraction = 0.2
    test_share: Fraction = 0.2  # used where the source brings no test split of its own
    max_samples: Count = 0  # of training, drawn evenly from all classes; 0: all there are
    vocabulary: Annotated[int, Field(ge=3, le=1_000_000)] = 4096  # of tokens: ids are below it
    length: Annotated[int, Field(ge=2)] = 32  # of texts, in tokens; own ids keep theirs
    mean: tuple[float, ...] = ()  # of inputs, by channel (images: of 0 to 1); counted without
    std: tuple[Positive, ...] = ()

    @model_validator(mode="after")
    def _something_left(self) -> "DataConfig":
        if self.validation_share + self.test_share >= 1:
            raise InputError(
                "expected validation_share + test_share below 1, so that something is left to "
                f"train on, got {self.validation_share} + {self.test_share}"
            )
        if bool(self.mean) != bool(self.std):
            raise InputError("data.mean and data.std: state both, or neither")
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
        return function_name(name)

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
