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
    """Return the records of epochs in order, without those that a roll-back went behind."""
    found: dict[int, Record] = {}
    for record in records:
        if "event" not in record:
            found[record["epoch"]] = record
        elif "to_epoch" in record:
            found = {epoch: kept for epoch, kept in found.items() if epoch <= record["to_epoch"]}
    return list(found.values())


def event_records(records: Iterable[Record]) -> list[Record]:
    """Return the records of events: skipped steps, roll-backs, sorted channels."""
    return [record for record in records if "event" in record]
