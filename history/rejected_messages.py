"""The newest messages that could not be used, and why; `readings_table` stores them."""

from dataclasses import dataclass
from datetime import datetime

import peewee

from contract import topics
from contract.times import from_epoch_ms
from history.dialect import fetch


@dataclass(frozen=True, slots=True)
class RejectedMessage:
    """A message that could not be used: the beginning of its payload, and why."""

    arrived: datetime
    topic: str
    reason: str
    detail: str
    payload: str


def rejected_of(
    database: peewee.Database, meter_id: str, *, limit: int = 20
) -> list[RejectedMessage]:
    """Return the newest rejected messages on a meter's topics, newest first."""
    prefix = f"{topics.ROOT}/{meter_id}/"
    rows = fetch(
        database,
        "SELECT ts, topic, reason, detail, payload FROM rejected_messages "
        "WHERE substr(topic, 1, ?) = ? ORDER BY id DESC LIMIT ?",
        (len(prefix), prefix, limit),
    )
    return [RejectedMessage(from_epoch_ms(ts), *texts) for ts, *texts in rows]
