"""What networks are trained for and judged by: classes, or a loss and a metric of the user's."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.config import Recipe, TaskConfig
from nas.distillation import DISTILLATIONS
from search_spaces import InputError, SearchSpace
from search_spaces.python_name import call, is_python_name, python_function

Outputs = Tensor | tuple[Tensor, ...]
Function = Callable[..., Any]


@dataclass(frozen=True)
class Score:
    """Quality on one split: the metric (`accuracy`, whatever it measures; greater is better) and
    the loss. The halves are two fixed halves of the split.
    """

    accuracy: float
    loss: float
    accuracy_halves: tuple[float, float]
    loss_halves: tuple[float, float]


@dataclass(frozen=True)
class Task:
    """Loss, metric and distillation; None is the built-in one.

    Built in are cross-entropy and accuracy of one output, b x classes, and as distillation one of
    `DISTILLATIONS`, or beside another loss the mean squared error.
    """

    config: TaskConfig = field(default_factory=TaskConfig)
    label_smoothing: float = 0.0  # of the training loss
    loss_function: Function | None = None
    metric_function: Function | None = None
    distillation_function: Function | None = None
    distillation: str = "kl"  # of classes, where there is no function of the user's

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self.config.metric_name

    @property
    def classification(self) -> bool:
        """Tell whether targets are class numbers."""
        return self.config.classification

    @property
    def hint_at_functions(self) -> str:
        """Words for errors that a function of the user's may have caused."""
        return f", and look at what {self.config.loss} returns" if self.loss_function else ""

    def training_loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar that can be followed back.

        Raises:
            InputError: the user's function raised, or returned something else.
        """
        if self.loss_function is None:
            return F.cross_entropy(_single(outputs), targets, label_smoothing=self.label_smoothing)
        return _scalar(
            self.config.loss, call(self.config.loss, self.loss_function, outputs, targets)
        )

    def distillation_loss(self, outputs: Outputs, teacher: Outputs) -> Tensor:
        """Return how far outputs are from the detached outputs of the teacher (arXiv:1503.02531).

        Raises:
            InputError: the user's function raised, or returned something else; outputs of other
                sizes than the teacher's.
        """
        if self.distillation_function is not None:
            name = str(self.config.distillation)
            return _scalar(name, call(name, self.distillation_function, outputs, teacher))
        if self.loss_function is None:
            found, wanted = _single(outputs), _single(teacher)
            return DISTILLATIONS[self.distillation](_at_size(found, wanted), wanted)
        pairs = zip(as_tuple(outputs), as_tuple(teacher), strict=True)
        losses = [F.mse_loss(_at_size(found, wanted), wanted) for found, wanted in pairs]
        return torch.stack(losses).mean()

    def score(self, outputs: Outputs, targets: Tensor) -> Score:
        """Judge the outputs of n samples.

        Raises:
            InputError: a user's function raised, or returned something that is no finite number.
        """
        wholes = {
            "all": slice(None),
            "the first half": slice(0, None, 2),
            "the second half": slice(1, None, 2),
        }
        parts = [
            (_part(outputs, part), targets[part], _described(words, targets[part], targets))
            for words, part in wholes.items()
        ]
        metric, *metric_halves = [self._metric(*part) for part in parts]
        loss, *loss_halves = [self._loss(*part) for part in parts]
        return Score(
            metric,
            loss,
            (metric_halves[0], metric_halves[1]),
            (loss_halves[0], loss_halves[1]),
        )

    def _metric(self, outputs: Outputs, targets: Tensor, part: str) -> float:
        if self.metric_function is None:
            return float((_single(outputs).argmax(dim=1) == targets).double().mean())
        name = self.config.metric
        return _number(name, call(name, self.metric_function, outputs, targets), part)

    def _loss(self, outputs: Outputs, targets: Tensor, part: str) -> float:
        if self.loss_function is None:
            return float(
                F.cross_entropy(_single(outputs).double(), targets, reduction="none").mean()
            )
        name = self.config.loss
        return _number(name, call(name, self.loss_function, outputs, targets), part)

    def check_space(self, space: SearchSpace) -> None:
        """Check that the networks of a space can be judged.

        Raises:
            InputError: several outputs, of which the built-in functions can take one only.
        """
        if len(space.outputs) > 1 and self.classification:
            raise InputError(
                f"{space.name} has the outputs {', '.join(space.outputs)}; {self.config.loss_name} "
                f"with {self.config.metric_name} is of one: set task.loss and task.metric to "
                "functions of your own (python:package.module:function)"
            )


def make_task(recipe: Recipe) -> Task:
    """Return the task of a recipe, its functions imported.

    Raises:
        InputError: a function that is not there; label smoothing or a distillation of classes
            beside a loss, or a distillation, of one's own.
    """
    config, smoothing = recipe.task, recipe.training.label_smoothing
    if smoothing and config.loss != "cross-entropy":
        raise InputError(
            "training.label_smoothing is of cross-entropy; set it to 0 beside "
            f"task.loss {config.loss}"
        )
    chosen = recipe.training.distillation
    for name in (config.loss, config.distillation or ""):
        if chosen != "kl" and is_python_name(name):
            raise InputError(
                f"training.distillation {chosen} is of classes and built in; leave it at kl "
                f"beside {name}"
            )
    return Task(
        config,
        smoothing,
        python_function(config.loss) if config.loss != "cross-entropy" else None,
        python_function(config.metric) if config.metric != "accuracy" else None,
        python_function(config.distillation) if config.distillation else None,
        chosen,
    )


def as_tuple(outputs: Outputs) -> tuple[Tensor, ...]:
    """Return the outputs as a tuple, also where there is one."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def detached(outputs: Outputs) -> Outputs:
    """Return outputs that no gradient flows through."""
    if isinstance(outputs, Tensor):
        return outputs.detach()
    return tuple(one.detach() for one in outputs)


def _single(outputs: Outputs) -> Tensor:
    (one,) = as_tuple(outputs)
    return one


def _part(outputs: Outputs, part: slice) -> Outputs:
    if isinstance(outputs, Tensor):
        return outputs[part]
    return tuple(one[part] for one in outputs)


def _at_size(found: Tensor, wanted: Tensor) -> Tensor:
    """Scale maps b x c x h x w to the teacher's size, which may be of a higher resolution."""
    if found.shape == wanted.shape:
        return found
    if found.ndim == 4 and found.shape[:2] == wanted.shape[:2]:
        return F.interpolate(found, size=wanted.shape[2:], mode="bilinear")
    raise InputError(
        f"outputs {tuple(found.shape)} cannot be held against the teacher's "
        f"{tuple(wanted.shape)}; give a task.distillation of your own"
    )


def _scalar(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        got = type(value).__name__
        if isinstance(value, Tensor):
            shape = tuple(value.shape)
            got = f"one of shape {shape}" if value.numel() != 1 else "one that forgot its outputs"
        raise InputError(
            f"{name}: expected a scalar tensor computed from the outputs (the mean over the "
            f"batch), got {got}"
        )
    return value.reshape(())


def _described(words: str, part: Tensor, whole: Tensor) -> str:
    of = "" if len(part) == len(whole) else f" of {len(whole)}"
    return f"{words} of the split ({len(part)}{of} samples)"


def _number(name: str, value: Any, part: str) -> float:
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{name}: expected a number or a 0-d tensor, got {got}") from None
    if not math.isfinite(number):
        raise InputError(f"{name}: expected a finite number, got {number} on {part}")
    return number
