"""The sections of a recipe on what is measured of subnets."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationError,
)

from hardware_profiles.artifact import describe
from hardware_profiles.target import Precision
from nas.config.section import (
    Count,
    Positive,
    PositiveInt,
    Section,
)
from search_spaces import InputError


class AccuracyConfig(Section):
    """Subnets whose validation accuracy teaches the accuracy predictor."""

    num_subnets: Annotated[int, Field(ge=8)] = 80
    calibration_samples: PositiveInt = 512
    predictor: str = "gaussian-process"
    proxies: tuple[str, ...] = ()  # zero-cost ones that it sees of every architecture it predicts


class ProfileConfig(Section):
    """Measurements on this machine."""

    runtime: str = "onnxruntime"  # onnxruntime, torch-cpu, torch-cuda, tensorrt
    provider: str = ""  # of ONNX Runtime; its CPU provider without
    precision: Precision = "fp32"
    batch_size: PositiveInt = 1
    threads: PositiveInt = 1
    cores: tuple[Count, ...] = ()  # that the measuring process is pinned to
    minutes: Positive | None = None  # bound on everything
    accept_noise: bool = False
    options: Mapping[
        str, tuple[int | float | str, ...]
    ] = {}  # part of the space: dimension -> options
    passes: Annotated[int, Field(ge=2)] = 3
    num_calibration: Annotated[int, Field(ge=5)] = 24
    num_held_out: Count = 16
    max_specs: Count = 500  # distinct layers; 0 measures whole subnets only
    predictor: str = "auto"  # of latency


def profile_config(settings: Mapping[str, Any]) -> ProfileConfig:
    """Check settings of a profile.

    Raises:
        InputError: a bad value.
    """
    try:
        return ProfileConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"profile: {describe(error)}") from None
