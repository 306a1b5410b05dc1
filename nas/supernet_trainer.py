"""The trainer of a run's supernet."""

from nas.artifacts import new_supernet, subnet_evaluator
from nas.run_directory import Run
from nas.teachers import load_teachers
from nas.training import STRATEGIES
from nas.training.device import training_device
from nas.training.metrics import Metrics
from nas.training.ranks import Ranks
from nas.training.trainer import Trainer
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
        teachers=load_teachers(run),
        device=training_device(config.device),
        ranks=ranks,
    )
