"""What an engine is to be, beside which network it is. Needs neither torch nor TensorRT."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from hardware_profiles.artifact import Frozen, describe
from search_spaces import InputError, unknown_name

GREATEST_WORKSPACE_MB = 1 << 20  # 1 TiB: more than any GPU has
DEFAULT_WORKSPACE_MB = 4096

HardwareCompatible = Literal["none", "same-compute-capability", "ampere-plus"]
"""Other GPUs that an engine is to run on: none, those of its compute capability, all from 8.0 on.
"""


class BatchRange(Frozen):
    """Batch sizes that an engine takes; it is fastest at the typical one."""

    least: int = 1
    typical: int = 1
    most: int = 1

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not 1 <= self.least <= self.typical <= self.most:
            raise InputError(
                f"expected batch sizes 1 <= least <= typical <= most, got {self.least}, "
                f"{self.typical}, {self.most}"
            )
        return self

    def __contains__(self, batch_size: int) -> bool:
        return self.least <= batch_size <= self.most

    def __str__(self) -> str:
        if self.least == self.most:
            return str(self.typical)
        return f"{self.least} to {self.most}, typically {self.typical}"

    @classmethod
    def of(cls, batch_size: int) -> "BatchRange":
        """Return the range of one batch size."""
        return cls(least=batch_size, typical=batch_size, most=batch_size)

    @classmethod
    def parse(cls, text: str) -> "BatchRange":
        """Read "8" or "1,8,32": one batch size, or the least, the typical and the most.

        Raises:
            InputError: another form, or sizes out of order.
        """
        parts = text.split(",")
        if len(parts) not in (1, 3) or not all(part.strip().isdecimal() for part in parts):
            raise InputError(
                f'expected one batch size ("8") or least, typical and most ("1,8,32"), got {text!r}'
            )
        sizes = [int(part) for part in parts]
        try:
            return cls(least=sizes[0], typical=sizes[len(sizes) // 2], most=sizes[-1])
        except ValidationError as error:
            raise InputError(describe(error)) from None


class EngineOptions(Frozen):
    """How an engine is built. TF32 is always off, and types are those of the ONNX file.

    Args:
        workspace_mb: MiB of GPU memory that a layer may take for itself.
        batch: sizes it takes; a file of a fixed batch takes that one alone.
        version_compatible: it also runs in later TensorRT versions, perhaps slower. It carries code
            of TensorRT for that, which whoever loads it has to trust.
        hardware_compatible: it also runs on other GPUs, perhaps slower.
        timing_cache: a file that keeps what kernels were timed to take, so that other builds are
            faster and choose alike; None keeps nothing.
    """

    workspace_mb: Annotated[int, Field(ge=1, le=GREATEST_WORKSPACE_MB)] = DEFAULT_WORKSPACE_MB
    batch: BatchRange = BatchRange()
    version_compatible: bool = False
    hardware_compatible: HardwareCompatible = "none"
    timing_cache: Path | None = None

    @field_validator("hardware_compatible", mode="before")
    @classmethod
    def _check_level(cls, level: Any) -> Any:
        if level not in get_args(HardwareCompatible):
            known = get_args(HardwareCompatible)
            raise unknown_name("hardware compatibility", level, known)
        return level

    @field_validator("timing_cache")
    @classmethod
    def _check_cache(cls, path: Path | None) -> Path | None:
        if path is not None and path.is_dir():
            raise InputError(f"expected a file for timings, {path} is a folder")
        return path


DEFAULTS = EngineOptions()


def engine_options(settings: Mapping[str, Any]) -> EngineOptions:
    """Check options of an engine.

    Raises:
        InputError: an unknown option or a bad value; the message names it.
    """
    try:
        return EngineOptions.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"tensorrt: {describe(error)}") from None
