"""Readings on their way into or out of the history, and the columns of files that others made."""

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Protocol, Self
from zoneinfo import ZoneInfo

import peewee

from contract.errors import PayloadError
from contract.quantities import BY_NAME
from contract.times import epoch_ms, parse_time
from contract.topics import METER_ID
from history.dialect import Row, fetch
from history.errors import StorageError

MOST_ROWS = 2000
_TIMES = ("ts", "time", "timestamp", "datetime", "created_at")
_METERS = ("meter_id", "meter", "device_id")
_EPOCH = re.compile(r"-?\d+(\.\d*)?")


@dataclass(frozen=True, slots=True)
class Batch:
    """Some readings of a meter: rows of a time (epoch ms) and a value (thousandths) per name."""

    meter_id: str
    names: Sequence[str]
    rows: Sequence[Row]


class Source(Protocol):
    """A file of readings. `done` is how far `batches` has come, from 0 to 1."""

    done: float
    notes: list[str]
    """What a person should know of it: which columns are left out, what is taken for what."""

    def batches(self) -> Iterator[Batch]:
        """Yield the readings, a little at a time; raises StorageError for a file that is wrong."""


def stored_rows(
    database: peewee.Database, meter: int, columns: Sequence[str], begin: int, end: int
) -> Iterator[list[Row]]:
    """Yield a meter's rows from `begin` to before `end` (epoch ms), in short queries by the key.

    A query that stayed open would keep SQLite's log from being checkpointed, and let it grow.
    """
    wanted = ", ".join(["ts", *columns])
    while True:
        rows = fetch(
            database,
            f"SELECT {wanted} FROM readings_raw WHERE meter = ? AND ts >= ? AND ts < ? "
            "ORDER BY ts LIMIT ?",
            (meter, begin, end, MOST_ROWS),
        )
        if rows:
            yield rows
        if len(rows) < MOST_ROWS:
            return
        begin = rows[-1][0] + 1


# -- columns of others -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of the columns of a foreign table; `meter` is None where all rows are of one meter."""

    ts: int
    meter: int | None
    names: tuple[str, ...]
    places: tuple[int, ...]
    ignored: tuple[str, ...]

    @classmethod
    def of(cls, columns: Sequence[str], where: str, *, needs_meter: bool = True) -> Self:
        """Return the places in a list of columns; raises StorageError naming what is missing."""
        lower = [column.strip().lower() for column in columns]
        ts = next((lower.index(name) for name in _TIMES if name in lower), None)
        meter = next((lower.index(name) for name in _METERS if name in lower), None)
        places = tuple(place for place, name in enumerate(lower) if name in BY_NAME)
        if ts is None:
            raise StorageError(f"{where}: has no column ts, time or timestamp")
        if meter is None and needs_meter:
            raise StorageError(f"{where}: has no column meter_id; name the meter with --meter")
        if not places:
            raise StorageError(f"{where}: has no column named after a quantity, such as power")
        known = {*places, ts, meter, *(lower.index(n) for n in (*_TIMES, "id") if n in lower)}
        ignored = tuple(name for place, name in enumerate(columns) if place not in known)
        return cls(ts, meter, tuple(lower[place] for place in places), places, ignored)


def time_ms(value: Any, zone: ZoneInfo | None) -> int:
    """Return a time as epoch ms: text, epoch seconds or ms; text without a zone is of `zone`.

    Raises ValueError that names what is wrong.
    """
    if value is None:
        raise ValueError("has no time")
    if isinstance(value, str):
        value = float(value) if _EPOCH.fullmatch(value) else value.strip()
    try:
        return epoch_ms(parse_time(value, zone or UTC))
    except (PayloadError, TypeError) as error:
        raise ValueError(f"not a time: {value!r:.40}") from error


def meter_name(value: Any) -> str:
    """Return a meter's id; raises ValueError for text that cannot be one."""
    text = str(value)
    if not METER_ID.fullmatch(text):
        raise ValueError(
            f"not a meter id: {text!r:.40} (1 to 32 letters, digits, '_' or '-'); see --meter"
        )
    return text


def thousandths(name: str, value: Any) -> int | None:
    """Return a value as it is stored, None for none; raises ValueError for an impossible one."""
    if value is None or value == "":
        return None
    kind, number = BY_NAME[name].kind, float(value)
    if not kind.lowest <= number <= kind.highest:
        raise ValueError(f"{name}: {number:g} is outside {kind.lowest:g} … {kind.highest:g}")
    return round(number * 1000)


def column_thousandths(name: str, column: Sequence[Any]) -> list[int | None]:
    """Return a column of values as they are stored, None for none.

    Takes a third of the time of `thousandths` for each; raises ValueError where that does.
    """
    kind = BY_NAME[name].kind
    with contextlib.suppress(ValueError, TypeError):  # values that are missing, or no numbers
        numbers = list(map(float, column))
        lowest, highest = min(numbers, default=kind.lowest), max(numbers, default=kind.highest)
        if kind.lowest <= lowest and highest <= kind.highest and not math.isnan(sum(numbers)):
            return [round(number * 1000) for number in numbers]
    return [thousandths(name, value) for value in column]
