import numpy as np
import pytest

from nas.subnet.proxy_ranks import rank_proxies
from nas.subnet.proxy_scores import ProxyScore
from nas.subnet.sample import AccuracySamples
from predictors.zero_cost import WORST

ACCURACY = [0.9, 0.8, 0.7, 0.6]
LOSS = [0.5, 0.2, 0.3, 0.4]
SCORES = {
    "rising": [4.0, 3.0, 2.0, 1.0],
    "one-swap": [4.0, 3.0, WORST, 1.0],
    "constant": [1.0, 1.0, 1.0, 1.0],
}


def record(i: int, proxy: str) -> ProxyScore:
    return ProxyScore(
        architecture_id=f"equal{i}",
        values={},
        proxy=proxy,
        weights="first",
        seed=0,
        batch_sha256="b" * 64,
        score=SCORES[proxy][i],
        seconds=[0.1, 0.2, 0.4, 5.0][i],
    )


def ranked(accuracy_halves, loss_halves):
    columns = (np.array(one) for one in (ACCURACY, LOSS, accuracy_halves, loss_halves))
    samples = AccuracySamples(np.zeros((4, 1), np.int16), *columns)
    rows = [[record(i, proxy) for proxy in SCORES] for i in range(4)]
    return rank_proxies(samples, [f"net{i}" for i in range(4)], rows, "accuracy", "cross-entropy")


AGREEING = [[0.4, 0.4], [0.3, 0.3], [0.2, 0.2], [0.1, 0.1]]
NOISY = [[0.4, 0.1], [0.3, 0.2], [0.2, 0.3], [0.1, 0.4]]


def test_proxies_are_ranked_by_the_metric_where_that_repeats_better():
    report = ranked(AGREEING, NOISY)
    assert report.quality == "accuracy"
    assert report.qualities == pytest.approx(ACCURACY)
    rising, one_swap, constant = report.ranks
    assert (rising.kendall, rising.spearman) == (pytest.approx(1), pytest.approx(1))
    assert one_swap.kendall == pytest.approx(4 / 6)  # of 6 pairs 5 agree, 1 does not
    assert (constant.kendall, constant.spearman) == (None, None)
    assert [rank.unscored for rank in report.ranks] == [0, 1, 0]
    assert rising.n == 4
    assert rising.seconds == pytest.approx(0.3)


def test_proxies_are_ranked_by_the_loss_where_that_repeats_better():
    report = ranked(NOISY, AGREEING)
    assert report.quality == "-cross-entropy"
    assert report.ranks[0].kendall == pytest.approx(0)  # of 6 pairs 3 agree


def test_a_csv_holds_every_subnet(tmp_path):
    report = ranked(AGREEING, NOISY)
    report.write_csv(tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == "architecture_id,accuracy,rising,one-swap,constant"
    assert lines[3] == f"net2,0.7,2.0,{WORST},1.0"
    assert len(lines) == 5
