"""Measured quality of sampled subnets: what the accuracy predictor learns from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hardware_profiles.artifact import Frozen
from nas.append_log import AppendLog
from nas.subnet.evaluator import SubnetEvaluator
from predictors.predictor import Vector, kendall
from search_spaces import InputError, Population, SearchSpace
from search_spaces.spread import spread_sample

Quantity = Literal["error", "loss"]
ArchitectureValues = Mapping[str, int | float | str | bool]


class AccuracySample(Frozen):
    """One line of the log."""

    architecture_id: str
    values: ArchitectureValues
    supernet_sha256: str
    accuracy: float
    loss: float
    accuracy_halves: tuple[float, float]
    loss_halves: tuple[float, float]


@dataclass(frozen=True)
class AccuracySamples:
    """n subnets and their validation scores; the columns of the halves are two halves of the
    set.
    """

    population: Population  # n x d
    accuracy: Vector  # n, fractions
    loss: Vector  # n
    accuracy_halves: npt.NDArray[np.float64]  # n x 2
    loss_halves: npt.NDArray[np.float64]  # n x 2

    def repeatability(self) -> dict[str, float]:
        """Kendall between the two halves of the validation set, by quantity."""
        return {
            "accuracy": _kendall_or_zero(self.accuracy_halves),
            "loss": _kendall_or_zero(self.loss_halves),
        }

    def quantity(self) -> tuple[Quantity, Vector]:
        """Return the n values of error or loss: of what repeats better between the halves."""
        repeatability = self.repeatability()
        if repeatability["loss"] > repeatability["accuracy"]:
            return "loss", self.loss
        return "error", 1 - self.accuracy

    def evenly(self, n: int | None) -> "AccuracySamples":
        """Return `n` of the samples, spread evenly over their order; all of them with None."""
        size = len(self.accuracy)
        index = np.unique(np.linspace(0, size - 1, min(n or size, size)).round().astype(np.intp))
        columns = (self.accuracy, self.loss, self.accuracy_halves, self.loss_halves)
        return AccuracySamples(self.population[index], *(column[index] for column in columns))


def _kendall_or_zero(halves: npt.NDArray[np.float64]) -> float:
    value = kendall(halves[:, 0], halves[:, 1])
    return value if np.isfinite(value) else 0.0


def sample_accuracy(
    evaluator: SubnetEvaluator,
    space: SearchSpace,
    log: AppendLog,
    supernet_sha256: str,
    num_subnets: int,
    seed: int,
    report: Callable[[int], None] = lambda done: None,
) -> AccuracySamples:
    """Measure subnets spread over the MACs range; each is logged at once, known ones are not
    repeated.
    """
    rng = np.random.default_rng([seed, 0xACC])
    wanted = [space.decode(genome) for genome in spread_sample(space, num_subnets, rng)]
    known = {sample.architecture_id for sample in _read(log, supernet_sha256)}
    for done, architecture in enumerate(wanted):
        report(done)
        if architecture.id in known:
            continue
        score = evaluator.score(evaluator.subnet(architecture), architecture, "validation")
        sample = AccuracySample(
            architecture_id=architecture.id,
            values=architecture.values,
            supernet_sha256=supernet_sha256,
            accuracy=score.accuracy,
            loss=score.loss,
            accuracy_halves=score.accuracy_halves,
            loss_halves=score.loss_halves,
        )
        log.append(sample.model_dump())
    return load_samples(log, space, supernet_sha256)


def load_samples(log: AppendLog, space: SearchSpace, supernet_sha256: str) -> AccuracySamples:
    """Read the logged samples of one supernet.

    Raises:
        InputError: none there, or a damaged record.
    """
    samples = _read(log, supernet_sha256)
    if not samples:
        raise InputError(f"{log.path}: no samples of this supernet; resume with `nas run`")
    try:
        population = space.encode_all(space.architecture(sample.values) for sample in samples)
    except InputError as error:
        raise InputError(f"{log.path}: {error}; remove that line") from None
    return AccuracySamples(
        population,
        np.array([sample.accuracy for sample in samples]),
        np.array([sample.loss for sample in samples]),
        np.array([sample.accuracy_halves for sample in samples]),
        np.array([sample.loss_halves for sample in samples]),
    )


def _read(log: AppendLog, supernet_sha256: str) -> list[AccuracySample]:
    samples = log.read_as(AccuracySample)
    return [sample for sample in samples if sample.supernet_sha256 == supernet_sha256]
