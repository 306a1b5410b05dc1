"""Can a supernet be trusted for search? Some of its subnets are trained alone and compared."""

import csv
import io
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np

from hardware_profiles.artifact import Artifact, Frozen, write_atomic
from nas.finetuning.agreement import Agreement, agreement
from nas.finetuning.fine_tuned import load_inherited
from nas.finetuning.settings import fine_tuning, from_scratch
from nas.finetuning.single_training import (
    Report,
    SingleTraining,
    Start,
    planned,
    train_alone,
)
from nas.run_directory import Run
from nas.task import Score
from search_spaces import InputError, Population
from search_spaces.spread import spread_sample

AUDIT_NAME = "audit.json"
LEAST_SUBNETS = 4
ENOUGH = 8  # to say whether ranks can be trusted: of fewer, chance orders some perfectly


class AuditedSubnet(Frozen):
    """One subnet with inherited weights and after its training alone."""

    architecture_id: str
    macs: int
    num_params: int
    inherited: Score
    trained: Score


class AuditReport(Artifact):
    """`audit.json`: subnets spread over the range of MACs, smallest and largest included, each
    trained alone on labels without a teacher, and how inherited quality ranks them.
    """

    kind: Literal["audit"] = "audit"
    space: str
    supernet_sha256: str
    start: Start
    epochs: int
    seed: int
    metric: str  # greater is better
    loss: str
    validation_samples: int
    subnets: tuple[AuditedSubnet, ...]  # least MACs first
    accuracy_agreement: Agreement  # of the metric
    loss_agreement: Agreement
    verdict: str

    @property
    def budget(self) -> str:
        """The training of each, in words."""
        return budget_words(self.start, self.epochs)

    def write_csv(self, path: Path) -> None:
        """Write one subnet a row."""
        header = ["architecture_id", "macs", "num_params"]
        header += [
            f"{when}_{what}" for when in ("inherited", "trained") for what in ("accuracy", "loss")
        ]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        for one in self.subnets:
            scores = [
                s for score in (one.inherited, one.trained) for s in (score.accuracy, score.loss)
            ]
            writer.writerow([one.architecture_id, one.macs, one.num_params, *scores])
        write_atomic(path, text.getvalue().encode())


def audit_run(
    run: Run, num_subnets: int, epochs: int, start: Start, seed: int, report: Report
) -> AuditReport:
    """Train subnets alone, those that are not yet, and compare.

    Args:
        start: from inherited weights, or from fresh ones.
        seed: of the choice of subnets and of their training.

    Raises:
        InputError: the supernet is not trained to the end, or too few subnets.
    """
    if num_subnets < LEAST_SUBNETS:
        raise InputError(f"expected {LEAST_SUBNETS} subnets or more to rank, got {num_subnets}")
    make = fine_tuning if start == "inherited" else from_scratch
    config = make(run.recipe.training, epochs)
    rng = np.random.default_rng([seed, 0xA0D17])
    population = spread_sample(run.space, num_subnets, rng)
    population = population[np.argsort(run.space.layers.costs(population).macs, kind="stable")]
    name = "fine-tuned" if start == "inherited" else "alone"
    folder = run.audit_path / f"{name}-epochs-{epochs}-seed-{seed}"
    inherited = cache(partial(load_inherited, run))
    records = []
    for position, genome in enumerate(population):
        architecture = run.space.decode(genome)
        plan = planned(run, architecture, config, start=start, taught=False, seed=seed)
        advance = partial(_advance, report, position, len(population))
        records.append(train_alone(run, plan, folder / architecture.id, inherited, advance))
    found = _report(run, population, records, epochs)
    found.save(folder / AUDIT_NAME)
    return found


def _advance(report: Report, position: int, number: int, done: int, total: int, note: str) -> None:
    """Tell the progress of one training as a part of all."""
    report(position * total + done, number * total, f"subnet {position + 1} of {number}  {note}")


def _report(
    run: Run, population: Population, records: Sequence[SingleTraining], epochs: int
) -> AuditReport:
    costs = run.space.layers.costs(population)
    results = [record.result for record in records if record.result is not None]
    inherited = [result.inherited for result in results]
    trained = [result.trained for result in results]
    seed, start = records[0].seed, records[0].start
    baselines = {
        name: costs_of.astype(np.float64)
        for name, costs_of in (("parameters", costs.num_params), ("macs", costs.macs))
    }

    def compared(name: str, lower_is_better: bool) -> Agreement:
        before, after = (
            np.array([getattr(score, name) for score in scores]) for scores in (inherited, trained)
        )
        halves = {
            when: np.array([getattr(score, f"{name}_halves") for score in scores])
            for when, scores in (("inherited", inherited), ("trained", trained))
        }
        return agreement(
            before, after, halves, baselines, lower_is_better=lower_is_better, seed=seed
        )

    accuracy, loss = compared("accuracy", False), compared("loss", True)
    task, samples = run.recipe.task, results[0].validation_samples
    by_loss = _repeats(loss) > _repeats(accuracy)
    return AuditReport(
        space=run.space.name,
        supernet_sha256=records[0].supernet_sha256,
        start=start,
        epochs=epochs,
        seed=seed,
        metric=task.metric_name,
        loss=task.loss_name,
        validation_samples=samples,
        subnets=tuple(
            AuditedSubnet(
                architecture_id=record.architecture_id,
                macs=int(costs.macs[row]),
                num_params=int(costs.num_params[row]),
                inherited=inherited[row],
                trained=trained[row],
            )
            for row, record in enumerate(records)
        ),
        accuracy_agreement=accuracy,
        loss_agreement=loss,
        verdict=verdict(
            loss if by_loss else accuracy,
            task.loss_name if by_loss else task.metric_name,
            budget_words(start, epochs),
            samples,
        ),
    )


def budget_words(start: Start, epochs: int) -> str:
    """Name the training of each subnet."""
    what = "of fine-tuning" if start == "inherited" else "of training from fresh weights"
    return f"{epochs} epoch{'' if epochs == 1 else 's'} {what}"


def _repeats(one: Agreement) -> float:
    """Return the lower of the two repeatabilities."""
    return min(-1.0 if tau is None else tau for tau in one.repeatability.values())


def verdict(found: Agreement, quantity: str, budget: str, samples: int) -> str:
    """Say in one sentence what an audit means.

    Args:
        quantity: what was compared; that which repeats better.
        budget: of the training alone, in words.
        samples: of the validation set.
    """
    if found.kendall is None or found.interval is None:
        return f"Nothing can be said: {quantity} of all {found.n} subnets is the same."
    low, high = found.interval
    name, baseline = found.best_baseline
    if found.n < ENOUGH:
        words = f"{found.n} subnets are too few to say more (try {ENOUGH} or more)"
    elif low <= 0:
        words = f"{found.n} subnets do not tell these ranks from chance"
    elif found.kendall <= baseline:
        words = f"no better than ranking by {name}"
    elif low <= baseline:
        words = f"better than ranking by {name}, but {found.n} subnets do not prove it"
    else:
        words = f"better than ranking by {name}, so that a search can trust it"
    repeats = " and ".join(f"{_rank(tau)} {when}" for when, tau in found.repeatability.items())
    return (
        f"Inherited {quantity} ranks {found.n} subnets as {budget} does with Kendall "
        f"{found.kendall:.2f} (90% interval {low:.2f} to {high:.2f}; {name} {baseline:.2f}; "
        f"halves of the {samples} validation samples agree by {repeats}): {words}."
    )


def _rank(tau: float | None) -> str:
    return "n/a" if tau is None else f"{tau:.2f}"
