"""The readings of one meter as sums and roll-ups see them: without those that are void."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import peewee

from history.dialect import Row, fetch, fetch_one
from history.rollups.buckets import Point, Replacement, steps
from history.rollups.replacements import ALL_COUNTERS, replacements
from history.voids import valid

Column = tuple[Sequence[int], Sequence[Any]]
"""Times (epoch ms) and values of the readings that have a quantity."""


class MeterReadings:
    """Reads the readings of a meter, within one transaction."""

    def __init__(self, database: peewee.Database, meter: int) -> None:
        self._database = database
        self._meter = meter
        self._valid = valid(database, meter)

    def between(self, names: Iterable[str], begin: int, end: int) -> dict[str, Column]:
        """Return the columns of those quantities that any reading from `begin` to `end` has.

        Those that all readings have share their times.
        """
        wanted = list(names)
        rows = fetch(
            self._database,
            f"SELECT {', '.join(['ts', *wanted])} FROM readings_raw "
            f"WHERE meter = ? AND ts >= ? AND ts < ? {self._valid} ORDER BY ts",
            (self._meter, begin, end),
        )
        if not rows:
            return {}
        times, *columns = zip(*rows, strict=True)
        present = (_present(times, column) for column in columns)
        return {name: column for name, column in zip(wanted, present, strict=True) if column}

    def before(self, ts: int, counters: Sequence[str]) -> dict[str, Point]:
        """Return each counter's last reading before a time, however long ago."""
        row = self.last_before(ts, counters) if counters else None
        if row is None:
            return {}
        found: dict[str, Point] = {}
        for name, value in zip(counters, row[1:], strict=True):
            if value is not None:
                found[name] = (row[0], value)
            elif earlier := self.last_before(ts, [name], f"AND {name} IS NOT NULL"):
                found[name] = (earlier[0], earlier[1])
        return found

    def last_before(self, ts: int, names: Iterable[str], condition: str = "") -> Row | None:
        """Return time and these values of the newest reading before a time."""
        return fetch_one(
            self._database,
            f"SELECT {', '.join(['ts', *names])} FROM readings_raw "
            f"WHERE meter = ? AND ts < ? {condition} {self._valid} ORDER BY ts DESC LIMIT 1",
            (self._meter, ts),
        )

    def steps(self, number: int, column: Column, before: Point | None) -> list[int]:
        """Return by how much a counter (a quantity's number) advanced at each of its readings."""
        replaced = self._replaced.get(number, self._replaced.get(ALL_COUNTERS, ()))
        return steps(*column, before, replaced)

    @cached_property
    def _replaced(self) -> Mapping[int, Sequence[Replacement]]:
        return replacements(self._database, self._meter)


def _present(times: Sequence[int], column: Sequence[int | None]) -> Column | None:
    """Return times and values of the readings that have a quantity, None where none has."""
    absent = column.count(None)
    if not absent:
        return times, column
    if absent == len(column):
        return None
    kept = [(ts, value) for ts, value in zip(times, column, strict=True) if value is not None]
    return [ts for ts, _ in kept], [value for _, value in kept]
