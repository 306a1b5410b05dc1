"""What `metrics.jsonl` holds: a record an epoch, and one of every event."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

Record = Mapping[str, Any]


class Metrics(Protocol):
    """What the trainer writes records to: an `AppendLog`, or something around one."""

    def append(self, record: Record) -> None:
        """Add one record."""

    def keep_first(self, count: int) -> None:
        """Drop all but the first `count` records: training goes on from there."""


def epoch_records(records: Iterable[Record]) -> list[Record]:
    """Return the records of epochs in order; of an epoch that was repeated the last one."""
    return list({record["epoch"]: record for record in records if "event" not in record}.values())


def event_records(records: Iterable[Record]) -> list[Record]:
    """Return the records of events: skipped steps, roll-backs, sorted channels."""
    return [record for record in records if "event" in record]
