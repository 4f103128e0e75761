"""Void readings: a person has taken them out of every sum and chart.

They stay in `readings_raw`. A void is a span of a meter's time, so that readings of it that arrive
later are void, too. One that has been undone keeps its record.
"""

from dataclasses import dataclass
from datetime import datetime

import peewee

from contract.times import format_time, from_epoch_ms
from history.dialect import fetch


@dataclass(frozen=True, slots=True)
class Void:
    """A span of a meter whose readings are void from `begin` to before `end`, and why."""

    meter_id: str
    begin: datetime
    end: datetime
    why: str
    made_at: datetime
    undone_at: datetime | None

    def to_dict(self) -> dict[str, str | None]:
        """Return the void for JSON, with times in ISO 8601."""
        return {
            "meter_id": self.meter_id,
            "from": format_time(self.begin),
            "to": format_time(self.end),
            "why": self.why,
            "made": format_time(self.made_at),
            "undone": format_time(self.undone_at) if self.undone_at else None,
        }


def read_voids(database: peewee.Database, meter_id: str | None = None) -> list[Void]:
    """Return the voids of a meter or all, also those undone, in the order of meters and times."""
    rows = fetch(
        database,
        "SELECT m.name, v.begin_ts, v.end_ts, v.why, v.made_at, v.undone_at FROM voids v "
        "JOIN meters m ON m.id = v.meter WHERE m.name = COALESCE(?, m.name) "
        "ORDER BY m.id, v.begin_ts, v.id",
        (meter_id,),
    )
    return [
        Void(
            name,
            from_epoch_ms(begin),
            from_epoch_ms(end),
            why,
            from_epoch_ms(made_at),
            None if undone_at is None else from_epoch_ms(undone_at),
        )
        for name, begin, end, why, made_at, undone_at in rows
    ]


def void_spans(database: peewee.Database, meter: int) -> list[tuple[int, int]]:
    """Return the spans of a meter (by its number) that are void now, in epoch ms."""
    rows = fetch(
        database,
        "SELECT begin_ts, end_ts FROM voids WHERE meter = ? AND undone_at IS NULL",
        (meter,),
    )
    return [(begin, end) for begin, end in rows]


def valid(database: peewee.Database, meter: int) -> str:
    """Return the condition that leaves the void readings of a meter out of `readings_raw`."""
    return "".join(f" AND NOT (ts >= {a} AND ts < {b})" for a, b in void_spans(database, meter))
