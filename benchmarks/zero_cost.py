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
from nas.data import input_tensors, load_data
from nas.subnet.proxy_scores import drawn_batch
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
