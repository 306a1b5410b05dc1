"""Zero-cost proxies: guesses at the quality of an untrained network from one mini-batch. One a
file.
"""

from predictors.zero_cost.fresh_network import fresh_network
from predictors.zero_cost.probe import Batch, Probe
from predictors.zero_cost.score import WORST, ZERO_COST, proxy_score, proxy_scores

__all__ = [
    "WORST",
    "ZERO_COST",
    "Batch",
    "Probe",
    "fresh_network",
    "proxy_score",
    "proxy_scores",
]
