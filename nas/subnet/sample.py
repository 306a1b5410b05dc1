"""Measured quality of sampled subnets: what the accuracy predictor learns from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.append_log import AppendLog
from nas.subnet.evaluator import SubnetEvaluator
from predictors.predictor import Vector, kendall
from search_spaces import InputError, Population, SearchSpace
from search_spaces.spread import spread_sample


@dataclass(frozen=True)
class AccuracySamples:
    """n subnets and their validation scores; the columns of the halves are two halves of the
    set.
    """

    population: Population  # n x d
    accuracy: Vector  # n, fractions
    cross_entropy: Vector  # n
    accuracy_halves: npt.NDArray[np.float64]  # n x 2
    cross_entropy_halves: npt.NDArray[np.float64]  # n x 2

    def repeatability(self) -> dict[str, float]:
        """Kendall between the two halves of the validation set, by quantity."""
        return {
            "accuracy": _kendall_or_zero(self.accuracy_halves),
            "cross_entropy": _kendall_or_zero(self.cross_entropy_halves),
        }


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
    known = _read(log, supernet_sha256)
    for done, architecture in enumerate(wanted):
        report(done)
        if architecture.id in known:
            continue
        score = evaluator.score(evaluator.subnet(architecture), architecture, "validation")
        record = {
            "architecture_id": architecture.id,
            "values": dict(architecture.values),
            "supernet_sha256": supernet_sha256,
            "accuracy": score.accuracy,
            "cross_entropy": score.cross_entropy,
            "accuracy_halves": score.accuracy_halves,
            "cross_entropy_halves": score.cross_entropy_halves,
        }
        log.append(record)
        known[architecture.id] = record
    return load_samples(log, space, supernet_sha256)


def load_samples(log: AppendLog, space: SearchSpace, supernet_sha256: str) -> AccuracySamples:
    """Read the logged samples of one supernet.

    Raises:
        InputError: none there, or a damaged record.
    """
    rows = list(_read(log, supernet_sha256).values())
    if not rows:
        raise InputError(f"{log.path}: no samples of this supernet; resume with `nas run`")
    try:
        columns = {
            name: np.array([row[name] for row in rows], dtype=np.float64)
            for name in ("accuracy", "cross_entropy", "accuracy_halves", "cross_entropy_halves")
        }
        architectures = [space.architecture(row["values"]) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{log.path}: a record is damaged ({error}); delete the file") from None
    return AccuracySamples(space.encode_all(architectures), **columns)


def _read(log: AppendLog, supernet_sha256: str) -> dict[str, dict[str, Any]]:
    return {
        str(record.get("architecture_id")): record
        for record in log.read()
        if record.get("supernet_sha256") == supernet_sha256
    }
