"""What a model file is to be, beside which subnet it is; its name follows from that."""

from dataclasses import dataclass
from typing import Literal, get_args

from hardware_profiles.operators import OPSET
from hardware_profiles.target import Precision
from search_spaces import InputError, unknown_name

FileFormat = Literal["onnx", "ort"]
Preprocessing = Literal["outside", "graph"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)  # that a file can be made in
LEAST_OPSET, GREATEST_OPSET = 16, 26  # that onnx converts to and ONNX Runtime opens
GREATEST_BATCH = 1024


@dataclass(frozen=True)
class ModelOptions:
    """How a model file differs from the plain one.

    Args:
        format: "ort" is what ONNX Runtime's builds for phones open.
        batch: a fixed one; None takes any.
        preprocessing: "graph" takes pixels (uint8, b x height x width x channels).

    Raises:
        InputError: an unknown word, an opset or a batch outside of what files can have.
    """

    format: FileFormat = "onnx"
    precision: Precision = "fp32"
    batch: int | None = None
    opset: int = OPSET
    preprocessing: Preprocessing = "outside"

    def __post_init__(self) -> None:
        if self.format not in get_args(FileFormat):
            raise unknown_name("format", self.format, get_args(FileFormat))
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise InputError(
                f"expected a precision that files are made in, {known} (or all), got "
                f"{self.precision}"
            )
        if self.preprocessing not in get_args(Preprocessing):
            raise unknown_name("preprocessing", self.preprocessing, get_args(Preprocessing))
        if not LEAST_OPSET <= self.opset <= GREATEST_OPSET:
            why = (
                "older ones cannot say what the networks do"
                if self.opset < LEAST_OPSET
                else "newer ones are not known to the installed onnx and ONNX Runtime"
            )
            raise InputError(
                f"expected an opset from {LEAST_OPSET} to {GREATEST_OPSET} ({OPSET} is opened by "
                f"most runtimes), got {self.opset}: {why}"
            )
        if self.batch is not None and not 1 <= self.batch <= GREATEST_BATCH:
            raise InputError(
                f"expected a fixed batch from 1 to {GREATEST_BATCH}, got {self.batch}; leave it "
                "out for a file that takes any"
            )

    @property
    def file_name(self) -> str:
        """model.onnx for the plain file; what differs stands between."""
        parts = [
            self.precision if self.precision != "fp32" else "",
            "pixels" if self.preprocessing == "graph" else "",
            f"batch{self.batch}" if self.batch is not None else "",
            f"opset{self.opset}" if self.opset != OPSET else "",
        ]
        return ".".join(["model", *filter(None, parts), self.format])


PLAIN = ModelOptions()
