"""How a subnet is trained alone, as it follows from the recipe of its supernet."""

from collections.abc import Mapping
from typing import Any

from nas.config import OPTIONS, TrainingConfig
from search_spaces import InputError, unknown_name

RATE_SHARE = 0.1  # of the recipe's learning rate, from inherited weights
OF_SUPERNETS = (
    "strategy",
    *dict.fromkeys(name for options in OPTIONS["strategy"].values() for name in options),
    "weights",
    "kernel_transform",
    "zero_last_norm",
    "teachers",
)
_ONE_NETWORK: Mapping[str, Any] = {
    "strategy": "single-path",
    "weights": None,
    "kernel_transform": False,
    "zero_last_norm": False,
    "teachers": (),
}


def fine_tuning(
    recipe: TrainingConfig,
    epochs: int,
    learning_rate: float | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainingConfig:
    """Return how inherited weights are trained on: without warm-up, the rate a cosine to 0.

    Args:
        learning_rate: a tenth of the recipe's without.
        settings: others of the recipe's section `training`.

    Raises:
        InputError: an unknown setting, one that is of supernets, or a bad value.
    """
    changes = dict(settings or {})
    for name in changes:
        if name not in TrainingConfig.model_fields:
            known = [key for key in TrainingConfig.model_fields if key not in OF_SUPERNETS]
            raise unknown_name("setting of fine-tuning", name, known)
        if name in OF_SUPERNETS:
            raise InputError(
                f"training.{name} is of supernets, and fine-tuning trains one architecture: "
                "leave it out"
            )
    rate = recipe.learning_rate * RATE_SHARE if learning_rate is None else learning_rate
    own = {"epochs": epochs, "learning_rate": rate, "warm_up_epochs": 0, "schedule": "cosine"}
    return recipe.replaced(**{**_ONE_NETWORK, **own, **changes})


def from_scratch(recipe: TrainingConfig, epochs: int) -> TrainingConfig:
    """Return how fresh weights are trained: as the recipe says, its epochs scaled to `epochs`."""
    share = epochs / recipe.epochs if recipe.epochs else 0.0
    scaled: dict[str, Any] = {"epochs": epochs, "warm_up_epochs": recipe.warm_up_epochs * share}
    if recipe.decay_epochs is not None and share:
        scaled["decay_epochs"] = recipe.decay_epochs * share
    return recipe.replaced(**{**_ONE_NETWORK, **scaled})


def written(config: TrainingConfig) -> dict[str, Any]:
    """Return the settings as files hold them, without those of supernets."""
    dumped: dict[str, Any] = config.model_dump(mode="json")
    return {name: value for name, value in dumped.items() if name not in OF_SUPERNETS}


def read(settings: Mapping[str, Any]) -> TrainingConfig:
    """Return what `written` wrote."""
    return TrainingConfig.model_validate({**settings, **_ONE_NETWORK})
