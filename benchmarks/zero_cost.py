"""Zero-cost proxies of NAS-Bench-201 cells, beside a published table of them.

PYTHONPATH=. python benchmarks/zero_cost.py DATA [--cells N] [--batch N] [--seed N]

DATA holds tables/nasbench201_cifar10.csv.gz, tables/nasbench201_cifar10_zero_cost.csv.gz and
cifar10/train.parquet (extra `data`). Random cells on first weights and one batch of CIFAR-10:
Kendall with the accuracy after 200 epochs, ours and the table's, and Spearman between them.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, spearmanr

from nas.benchmarking.tables import read_table
from nas.config import DataConfig
from nas.data import load_data
from nas.subnet.proxy_scores import drawn_batch
from nas.task import Task
from predictors.zero_cost import ZERO_COST, Probe, fresh_network, proxy_score
from search_spaces import build_space

PUBLISHED = {
    "parameters": "params",
    "macs": "flops",
    "gradient-norm": "grad_norm",
    "snip": "snip",
    "grasp": "grasp",
    "fisher": "fisher",
    "synflow": "synflow",
    "jacobian-covariance": "jacov",
    "naswot": "nwot",
    "zen": "zen",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    space = build_space("nasbench201")
    tables = asked.data / "tables"
    truth = read_table(tables / "nasbench201_cifar10.csv.gz", space)
    published = read_table(tables / "nasbench201_cifar10_zero_cost.csv.gz", space)
    rng = np.random.default_rng(asked.seed)
    rows = rng.choice(len(published.population), asked.cells, replace=False)
    population = published.population[rows]
    accuracy = truth.numbers("cifar10_test_acc_200ep")[truth.rows_of(population)]
    config = DataConfig(source=f"parquet:{asked.data / 'cifar10'}", max_samples=2000)
    batch = drawn_batch(load_data(config, asked.seed), Task(), asked.seed, asked.batch)
    scores = {name: np.empty(len(population)) for name in ZERO_COST}
    seconds = {name: np.empty(len(population)) for name in ZERO_COST}
    for i, genome in enumerate(population):
        probe = Probe(fresh_network(space, space.decode(genome), asked.seed), batch, asked.seed)
        for name in ZERO_COST:
            start = time.perf_counter()
            scores[name][i] = proxy_score(probe, name)
            seconds[name][i] = time.perf_counter() - start
    print(f"{asked.cells} cells, batch {asked.batch}, seed {asked.seed}")
    print(f"{'proxy':<20} {'Kendall':>8} {'theirs':>8} {'Spearman to theirs':>19} {'seconds':>8}")
    for name, ours in scores.items():
        line = f"{name:<20} {kendalltau(ours, accuracy).statistic:8.3f}"
        if name in PUBLISHED:
            theirs = published.numbers(PUBLISHED[name])[rows]
            line += f" {kendalltau(theirs, accuracy).statistic:8.3f}"
            line += f" {spearmanr(ours, theirs).statistic:19.3f}"
        else:
            line += f" {'-':>8} {'-':>19}"
        print(f"{line} {np.median(seconds[name]):8.3f}")


if __name__ == "__main__":
    main()
