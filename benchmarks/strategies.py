"""Which training strategy makes the best supernet in equal time?

    PYTHONPATH=. python benchmarks/strategies.py OUT --source parquet:DIR [--minutes 6] [--seeds 0]
        [--strategies sandwich delayed ...] [--space resnet-cifar-small]

Every strategy first takes some steps, one strategy after the other, at several places of its
training; that gives the number of epochs that it can have in the same time, alone on one thread.
Then each trains for so long, two at once, and the table says what validation accuracy and
cross-entropy its smallest, its largest and twenty random subnets have, and how well inherited
accuracy ranks subnets that were fine-tuned alone (`nas audit`). A run that is there is not done
again.
"""

import argparse

from nas.config import Recipe, load_recipe

NUM_RANDOM = 20
AUDITED = 12
PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares of the training at which steps are timed
STEPS = 6
COLUMNS = (
    "strategy",
    "seed",
    "epochs",
    "seconds",
    *(
        f"{who}_{what}"
        for what in ("accuracy", "loss")
        for who in ("smallest", "random", "largest")
    ),
    "least_random_accuracy",
    "audit_kendall",
    "audit_subnets",
)


def recipe(arguments: argparse.Namespace, strategy: str, seed: int, epochs: int) -> Recipe:
    """One recipe for all; a strategy has its own options at their defaults."""
    return load_recipe(
        None,
        [
            f"seed={seed}",
            f"space.name={arguments.space}",
            f"data.source={arguments.source}",
            "data.validation_share=0.1",
            f"training.strategy={strategy}",
            f"training.epochs={epochs}",
            "training.batch_size=128",
            f"training.learning_rate={arguments.learning_rate}",
            "training.warm_up_epochs=0.5",
            "training.weight_decay=5e-4",
            "training.shift=0.125",
            "training.rotate=0",
            "training.scale=0",
            "training.flip=true",
            "training.evaluate_every=1000",
            "training.device=cpu",
            "accuracy.calibration_samples=2048",
        ],
    )
