"""How far inherited quality ranks subnets as training them alone does."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hardware_profiles.artifact import Frozen
from predictors.predictor import Vector, error_report

Matrix = npt.NDArray[np.float64]
RESAMPLES = 1000
COVERAGE = 0.9


class Agreement(Frozen):
    """Of one quantity, over n subnets; ranks from -1 to 1, None where all are equal.

    `interval` covers Kendall's tau with a probability of 0.9, by resampling the subnets. It knows
    nothing of the noise of the validation set, which `repeatability` tells: Kendall between its two
    halves.
    """

    n: int
    kendall: float | None
    interval: tuple[float, float] | None
    spearman: float | None
    top: int  # k, a quarter of the subnets
    top_overlap: float  # share of the best k that are among the best k after training
    mean_gap: float  # trained - inherited
    repeatability: Mapping[str, float | None]  # inherited, trained
    baselines: Mapping[str, float | None]  # Kendall of what is known without training

    @property
    def best_baseline(self) -> tuple[str, float]:
        """Return the baseline of the highest rank, and its Kendall."""
        known = {name: -1.0 if tau is None else tau for name, tau in self.baselines.items()}
        return max(known.items(), key=lambda item: item[1])


def agreement(
    inherited: Vector,
    trained: Vector,
    halves: Mapping[str, Matrix],
    baselines: Mapping[str, Vector],
    *,
    lower_is_better: bool,
    seed: int,
) -> Agreement:
    """Compare a quantity of n subnets with inherited weights and after training them alone.

    Args:
        halves: n x 2 of "inherited" and "trained", on two halves of the validation set.
        baselines: n values each that should grow with quality.
        seed: of the resampling.
    """
    sign = -1.0 if lower_is_better else 1.0
    compared = error_report(sign * inherited, sign * trained)
    k = max(1, len(trained) // 4)
    best = [
        set(np.argsort(-sign * one, kind="stable")[:k].tolist()) for one in (inherited, trained)
    ]
    return Agreement(
        n=len(trained),
        kendall=compared.kendall,
        interval=kendall_interval(inherited, trained, seed),
        spearman=compared.spearman,
        top=k,
        top_overlap=len(best[0] & best[1]) / k,
        mean_gap=float((trained - inherited).mean()),
        repeatability={
            name: error_report(both[:, 0], both[:, 1]).kendall for name, both in halves.items()
        },
        baselines={
            name: error_report(value, sign * trained).kendall for name, value in baselines.items()
        },
    )


def kendall_interval(first: Vector, second: Vector, seed: int) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of Kendall's tau-b between two rankings of n.

    A subnet that is drawn w times counts w times: tau-b is a ratio of sums over pairs, each
    weighted by the product of its two counts (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993). None where every resample is constant.
    """
    n = len(first)
    one, two = (np.sign(values[:, None] - values) for values in (first, second))  # n x n
    counts = np.random.default_rng([seed, 0xB007]).multinomial(n, np.full(n, 1 / n), RESAMPLES)

    def weighted(pairs: Matrix) -> Vector:
        sums: Vector = np.einsum("ri,ij,rj->r", counts, pairs, counts, optimize=True)
        return sums

    scale = np.sqrt(weighted(one**2) * weighted(two**2))
    taus = weighted(one * two)[scale > 0] / scale[scale > 0]
    if not len(taus):
        return None
    low, high = np.quantile(taus, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
