"""Records of training as event files that TensorBoard draws."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nas.append_log import AppendLog
from nas.training.metrics import Record, epoch_records
from search_spaces import MissingExtraError

SCALARS = {
    "loss": "loss/first of a step",
    "learning_rate": "learning rate",
    "samples_per_second": "samples a second",
    "smallest_accuracy": "validation/smallest",
    "largest_accuracy": "validation/largest",
}
"""What becomes a curve: name in a record -> tag."""


def check_tensorboard() -> None:
    """Check that the library is there.

    Raises:
        MissingExtraError: it is not.
    """
    if find_spec("tensorboard") is None:
        raise MissingExtraError(
            "training.tensorboard needs TensorBoard; pip install tensorboard, or set it to false"
        )


class TensorBoardMetrics:
    """A log whose records are also drawn: losses by role, rate, speed, figures, and events as text.

    Where training goes back, by being resumed or by a roll-back, TensorBoard is told to forget what
    curves it has of the epochs that follow; it keeps texts.

    Args:
        log: the records, which remain what counts.
        folder: of the event files.
    """

    def __init__(self, log: AppendLog, folder: Path) -> None:
        self._log, self._folder = log, folder
        self._writer: Any = None

    def keep_first(self, count: int) -> None:
        """Drop all but the first records, there and in what is drawn."""
        self._log.keep_first(count)
        kept = epoch_records(self._log.read())
        self._forget_after(max((record["epoch"] for record in kept), default=0))

    def append(self, record: Record) -> None:
        """Add a record, and draw it."""
        self._log.append(record)
        if record.get("event") == "roll-back":
            self._forget_after(record["to_epoch"])
        self._draw(record)

    def close(self) -> None:
        """End the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _forget_after(self, epoch: int) -> None:
        """Begin another event file, which says so."""
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        writer: Any = SummaryWriter  # of untyped functions
        self._writer = writer(str(self._folder), purge_step=epoch + 1)

    def _draw(self, record: Record) -> None:
        epoch = record["epoch"]
        if "event" in record:
            words = {key: value for key, value in record.items() if key not in ("event", "epoch")}
            self._writer.add_text(f"events/{record['event']}", json.dumps(words), epoch)
        else:
            values = {tag: record.get(name) for name, tag in SCALARS.items()}
            values |= {f"loss/{role}": loss for role, loss in record["losses"].items()}
            for tag, value in values.items():
                if value is not None:
                    self._writer.add_scalar(tag, value, epoch)
        self._writer.flush()


@contextmanager
def drawn(log: AppendLog, folder: Path) -> Iterator[TensorBoardMetrics]:
    """Return metrics that TensorBoard draws too; the event file is ended after the block.

    Raises:
        MissingExtraError: TensorBoard is absent.
    """
    check_tensorboard()
    metrics = TensorBoardMetrics(log, folder)
    try:
        yield metrics
    finally:
        metrics.close()
