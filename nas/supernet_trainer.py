"""The trainer of a run's supernet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.artifacts import new_supernet, predicting_judge, subnet_evaluator
from nas.config import Recipe, TrainingConfig
from nas.run_directory import Run
from nas.teachers import check_teachers, load_teachers
from nas.training import STRATEGIES
from nas.training.batches import shared_batch
from nas.training.device import training_device
from nas.training.metrics import Metrics
from nas.training.precision import check_precision
from nas.training.ranks import Ranks, num_processes
from nas.training.starting_weights import check_weights, weights_state
from nas.training.strategy import Judge
from nas.training.tensorboard import drawn
from nas.training.trainer import Trainer
from search_spaces import SearchSpace
from search_spaces.catalogue import is_file_name
from search_spaces.supernet import Supernet

ENDS = ("smallest_accuracy", "largest_accuracy")
"""What an epoch's record holds of both ends of the space, once looked at."""


def supernet_trainer(run: Run, metrics: Metrics, ranks: Ranks | None = None) -> Trainer:
    """Return the trainer of a new supernet, which nothing was taken up of yet.

    Raises:
        InputError: settings that the space, the data, the teachers or this machine do not fit.
    """
    config, space, supernet = run.recipe.training, run.space, new_supernet(run)
    evaluator = subnet_evaluator(run, supernet)
    ends = [space.decode(rows[0]) for rows in (space.smallest(), space.largest())]

    def evaluate(_: Supernet) -> dict[str, float]:
        accuracies = map(evaluator.validation_accuracy, ends)
        return dict(zip(ENDS, accuracies, strict=True))

    teachers = load_teachers(run)
    return Trainer(
        supernet,
        run.data,
        run.task,
        config,
        run.recipe.seed,
        STRATEGIES[config.strategy](space, config),
        checkpoint_path=run.checkpoint_path,
        metrics=metrics,
        evaluate=evaluate,
        teachers=teachers,
        judge=_judge(config, space),
        sources={f"training.teachers {one.name}": one.sha256 for one in teachers},
        device=training_device(config.device, None if ranks is None else ranks.local_rank),
        ranks=ranks,
    )


@contextmanager
def training_metrics(run: Run) -> Iterator[Metrics]:
    """Return the log of a run's training, and draw it where the recipe says so.

    Raises:
        MissingExtraError: that needs TensorBoard, which is absent.
    """
    if not run.recipe.training.tensorboard:
        yield run.metrics
        return
    with drawn(run.metrics, run.checkpoint_path.parent / "tensorboard") as metrics:
        yield metrics


def check_sources(recipe: Recipe) -> Callable[[SearchSpace], None]:
    """Check, before data are loaded, that what training takes from elsewhere is there; return the
    check that it fits the space that follows from the data.

    Raises:
        InputError: a device or precision that this machine lacks, a batch that the processes cannot
            share; weights to start from, or a run that is to judge, that are absent.
    """
    training = recipe.training
    check_precision(training.precision, training_device(training.device))
    shared_batch(training.batch_size, num_processes())
    weights = None if training.weights is None else Path(training.weights)
    if weights is not None:
        weights_state(weights)

    def fits(space: SearchSpace) -> None:
        _judge(training, space)
        check_teachers(training.teachers, space, is_file_name(recipe.space.name))
        if weights is not None:
            check_weights(weights, space, training.kernel_transform)

    return fits


def _judge(config: TrainingConfig, space: SearchSpace) -> Judge | None:
    """Return what judges candidates, where it is not the loss of a mini-batch."""
    return None if config.judge in (None, "loss") else predicting_judge(config.judge, space.name)
