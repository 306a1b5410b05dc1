"""What a latency was measured on: a number means nothing without all of it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from hardware_profiles.artifact import Frozen, content_hash
from search_spaces import InputError

Precision = Literal["fp32", "fp16", "bf16", "int8"]


def _check_printable(text: str) -> str:
    """Let no control characters into names that are shown on terminals."""
    if not text.isprintable():
        raise InputError(f"expected printable characters, got {text!r}")
    return text


Printable = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_printable)]


class Target(Frozen):
    """Device, runtime and setting of a measurement."""

    device: Printable  # what computes: the CPU's, the GPU's or the board's model
    host: Annotated[str, AfterValidator(_check_printable)] = ""  # the CPU beside a GPU
    runtime: str = Field(min_length=1)
    runtime_version: str
    provider: str
    precision: Precision = "fp32"
    batch_size: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    cores: str = Field(
        default="any", max_length=4000, pattern=r"^(any|\d{1,5}(,\d{1,5})*)$"
    )  # "0,2": pinned to these
    governor: str = "unknown"  # of the clock
    operating_system: str = "unknown"
    frequency_mhz: float | None = None  # greatest, where readable
    notes: str = ""

    @property
    def id(self) -> str:
        """Short name, equal where everything that makes latencies comparable is equal."""
        return content_hash(self.model_dump(exclude={"notes", "frequency_mhz"}))[:10]

    @property
    def core_numbers(self) -> tuple[int, ...]:
        """The cores it is pinned to; empty where it is not."""
        return () if self.cores == "any" else tuple(map(int, self.cores.split(",")))

    def differences(self, other: "Target") -> list[str]:
        """Name the fields in which latencies of two targets are not comparable."""
        mine, theirs = (t.model_dump(exclude={"notes", "frequency_mhz"}) for t in (self, other))
        return [name for name, value in mine.items() if value != theirs[name]]

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        pinned = "" if self.cores == "any" else f", cores {self.cores}"
        return (
            f"{self.device}, {self.runtime} {self.runtime_version} {self.provider}, "
            f"{self.precision}, batch {self.batch_size}, {threads}{pinned}"
        )
