"""How well zero-cost proxies order subnets of measured quality."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hardware_profiles.artifact import Frozen, write_atomic
from nas.subnet.proxy_scores import ProxyScore
from nas.subnet.sample import AccuracySamples
from predictors.predictor import Vector, error_report
from predictors.zero_cost import WORST


class ProxyRank(Frozen):
    """One proxy against the measured quality; ranks from -1 to 1, None for a constant."""

    proxy: str
    kendall: float | None
    spearman: float | None
    n: int
    unscored: int  # of them, networks that the proxy can say nothing of
    seconds: float  # median of an architecture


class ProxyReport(Frozen):
    """Proxies of n measured subnets, in the order they were asked for."""

    quality: str  # what is ranked: the metric, or the loss where it repeats better, negated
    ranks: tuple[ProxyRank, ...]
    architecture_ids: tuple[str, ...]  # n
    qualities: tuple[float, ...]  # n, greater is better
    scores: tuple[tuple[float, ...], ...]  # n x proxies

    def write_csv(self, path: Path) -> None:
        """Write one subnet a row: its id, its quality, its proxies."""
        header = ["architecture_id", self.quality, *(rank.proxy for rank in self.ranks)]
        columns = zip(self.architecture_ids, self.qualities, self.scores, strict=True)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([name, quality, *scores] for name, quality, scores in columns)
        write_atomic(path, text.getvalue().encode())


def rank_proxies(
    samples: AccuracySamples,
    ids: Sequence[str],
    rows: Sequence[Sequence[ProxyScore]],
    metric: str,
    loss: str,
) -> ProxyReport:
    """Compare the scores of n subnets by k proxies with what was measured.

    Args:
        samples: the n measured subnets.
        ids: theirs; records may be of other architectures that are the same networks.
        rows: n x k.
        metric, loss: what they are called.
    """
    quantity, lower_is_better = samples.quantity()
    quality: Vector = -lower_is_better if quantity == "loss" else samples.accuracy
    scores = np.array([[record.score for record in row] for row in rows])  # n x k
    seconds = np.array([[record.seconds for record in row] for row in rows])
    ranks = []
    for column, record in enumerate(rows[0]):
        compared = error_report(scores[:, column], quality)
        ranks.append(
            ProxyRank(
                proxy=record.proxy,
                kendall=compared.kendall,
                spearman=compared.spearman,
                n=len(rows),
                unscored=int((scores[:, column] == WORST).sum()),
                seconds=float(np.median(seconds[:, column])),
            )
        )
    return ProxyReport(
        quality=f"-{loss}" if quantity == "loss" else metric,
        ranks=tuple(ranks),
        architecture_ids=tuple(ids),
        qualities=tuple(quality.tolist()),
        scores=tuple(tuple(row) for row in scores.tolist()),
    )
