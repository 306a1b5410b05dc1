"""Validates subnets for searches that measure quality instead of predicting it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from nas.artifacts import load_supernet, subnet_evaluator, supernet_hash
from nas.run_directory import Run, open_run
from nas.searching.measured_log import Answer, MeasuredLog
from nas.searching.workers import Evaluate, Workers
from nas.subnet.evaluator import SubnetEvaluator
from nas.subnet.sample import load_samples
from search_spaces import Architecture


@contextmanager
def validations(
    run: Run, evaluator: SubnetEvaluator, number: int, name: str, search: str
) -> Iterator[MeasuredLog]:
    """Yield what validates populations: `n x d` to n x 1 losses or errors (1 - metric).

    What was validated before, accuracy samples included, is not validated again.

    Args:
        number: of processes side by side.
        name: "loss" or "error".
        search: hash of the search that asks.
    """

    def start_here() -> Evaluate:
        return partial(_score, evaluator)

    start = start_here if number == 1 else partial(_start, str(run.path))
    with Workers(start, number) as workers:
        made_from = supernet_hash(run)
        log = MeasuredLog(run.validations, run.space, made_from, search, [name], workers)
        samples = load_samples(run.accuracy_samples, run.space, supernet_hash(run))
        for genome, accuracy, loss in zip(
            samples.population, samples.accuracy, samples.loss, strict=True
        ):
            log.remember(genome[None], {"error": 1 - float(accuracy), "loss": float(loss)})
        yield log


def _start(path: str) -> Evaluate:
    """Load a run's supernet and data in a process of its own."""
    torch.set_num_threads(1)
    run = open_run(Path(path))
    return partial(_score, subnet_evaluator(run, load_supernet(run)))


def _score(evaluator: SubnetEvaluator, architecture: Architecture) -> Answer:
    score = evaluator.score(evaluator.subnet(architecture), architecture, "validation")
    return {"error": 1 - score.accuracy, "loss": score.loss}
