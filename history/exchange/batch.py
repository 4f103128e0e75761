"""Readings on their way into or out of the history: some of one meter, as rows of thousandths."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import peewee

from contract.readings import Reading
from history.statements import Row, fetch
from history.times import from_ms

MOST_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Piece:
    """Some readings of a meter: rows of a time (epoch ms) and a value (thousandths) per name."""

    meter_id: str
    names: Sequence[str]
    rows: Sequence[Row]

    def readings(self) -> Iterator[Reading]:
        """Return the readings; a row without any value is none."""
        for ts, *row in self.rows:
            values = {n: v / 1000 for n, v in zip(self.names, row, strict=True) if v is not None}
            if values:
                yield Reading(self.meter_id, from_ms(ts), values)


class Source(Protocol):
    """Where readings come from. `done` tells how far `pieces` has come, from 0 to 1."""

    done: float
    notes: list[str]
    """What a person should know of it: what is left out, what is taken for what."""

    def pieces(self) -> Iterator[Piece]:
        """Return the readings, a little at a time."""


def stored_rows(
    database: peewee.Database, meter: int, names: Sequence[str], begin: int, end: int
) -> Iterator[list[Row]]:
    """Yield a meter's rows from `begin` to before `end` (epoch ms), in short queries by the key.

    A query that stayed open would keep SQLite's log from being checkpointed, and let it grow.
    """
    columns = ", ".join(["ts", *names])
    while True:
        rows = fetch(
            database,
            f"SELECT {columns} FROM readings_raw WHERE meter = ? AND ts >= ? AND ts < ? "
            "ORDER BY ts LIMIT ?",
            (meter, begin, end, MOST_ROWS),
        )
        if rows:
            yield rows
        if len(rows) < MOST_ROWS:
            return
        begin = rows[-1][0] + 1
