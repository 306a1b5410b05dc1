"""What subnets are worth before any training: inherited weights, calibrated norms."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nas.results import metric_text
from nas.subnet.evaluator import SubnetEvaluator
from search_spaces import SearchSpace
from search_spaces.spread import spread_sample


@dataclass(frozen=True)
class OneShotRow:
    """One subnet."""

    architecture_id: str
    macs: int
    num_params: int
    validation_accuracy: float
    validation_loss: float


@dataclass(frozen=True)
class OneShot:
    """Quality of subnets from the smallest to the largest, without training.

    Args:
        metric: what the accuracies are.
        num_samples: of the validation set.
    """

    metric: str
    num_samples: int
    rows: tuple[OneShotRow, ...]

    def table(self) -> list[tuple[str, ...]]:
        """Return a heading and a row for every subnet, as words."""
        heading = ("subnet", "MACs", "parameters", self.metric, "loss")
        return [
            heading,
            *(
                (
                    row.architecture_id,
                    f"{row.macs / 1e6:,.2f} M",
                    f"{row.num_params / 1e6:,.3f} M",
                    metric_text(self.metric, row.validation_accuracy),
                    f"{row.validation_loss:.4f}",
                )
                for row in self.rows
            ),
        ]


def one_shot_quality(
    evaluator: SubnetEvaluator,
    space: SearchSpace,
    n: int,
    seed: int,
    report: Callable[[int], None] = lambda done: None,
) -> OneShot:
    """Extract, calibrate and validate n subnets spread over the MACs of a space."""
    population = spread_sample(space, n, np.random.default_rng([seed, 0x1507]))
    costs = space.layers.costs(population)
    rows = []
    for done, i in enumerate(np.argsort(costs.macs, kind="stable"), start=1):
        architecture = space.decode(population[i])
        score = evaluator.score(evaluator.subnet(architecture), architecture, "validation")
        rows.append(
            OneShotRow(
                architecture.id,
                int(costs.macs[i]),
                int(costs.num_params[i]),
                score.accuracy,
                score.loss,
            )
        )
        report(done)
    num_samples = len(evaluator.targets("validation"))
    return OneShot(evaluator.task.metric, num_samples, tuple(rows))
