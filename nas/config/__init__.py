"""Recipes: one frozen, typed model per stage; unknown keys are errors; defaults live here once."""

from nas.config.measuring import AccuracyConfig, ProfileConfig, profile_config
from nas.config.recipe import (
    Recipe,
    check_recipe,
    differing_keys,
    load_recipe,
    read_search_settings,
    read_training_settings,
)
from nas.config.search import LIMITED, OBJECTIVES, SearchConfig, check_budget
from nas.config.section import chosen
from nas.config.task import DataConfig, SpaceConfig, TaskConfig
from nas.config.training import DISTILLATION_NAMES, OPTIONS, TrainingConfig

__all__ = [
    "DISTILLATION_NAMES",
    "LIMITED",
    "OBJECTIVES",
    "OPTIONS",
    "AccuracyConfig",
    "DataConfig",
    "ProfileConfig",
    "Recipe",
    "SearchConfig",
    "SpaceConfig",
    "TaskConfig",
    "TrainingConfig",
    "check_budget",
    "check_recipe",
    "chosen",
    "differing_keys",
    "load_recipe",
    "profile_config",
    "read_search_settings",
    "read_training_settings",
]
