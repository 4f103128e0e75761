"""SQLite files of others: loggers with a table `readings` or `meter_readings`, Home Assistant's."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from contract.quantities import BY_NAME, QUANTITIES
from history.errors import StorageError
from history.exchange.batch import MOST_ROWS, Piece
from history.exchange.layout import Layout, meter_name, thousandths, time_ms
from history.statements import Row

TABLES = ("readings", "meter_readings")
HOUR_MS = 3_600_000
_FACTORS = {"kW": 1000.0, "MW": 1e6, "Wh": 0.001, "MWh": 1000.0, "mA": 0.001, "mV": 0.001}
_LAST_MS = HOUR_MS - 1
"""Home Assistant's counters are those of the end of an hour, its means belong to all of it."""


def slug(text: str) -> str:
    """Return a name as Home Assistant writes it in an entity's id."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


_SUFFIXES = {slug(q.label): q.name for q in QUANTITIES} | {q.name: q.name for q in QUANTITIES}


class LoggerSource:
    """Reads a table with a column of times and columns named like quantities, in their order."""

    def __init__(self, path: Path, table: str, *, meter: str | None, zone: ZoneInfo | None) -> None:
        self._path, self._table, self._meter, self._zone = path, table, meter, zone
        self.done = 0.0
        self.notes = [f"from the table {table}"]

    def pieces(self) -> Iterator[Piece]:
        """Return the readings in the order of their times; a row without a time is told."""
        where = f"{self._path}, table {self._table}"
        with closing(opened(self._path)) as database:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({self._table})")]
            layout = Layout.of(columns, where, needs_meter=self._meter is None)
            if layout.ignored:
                self.notes.append(f"columns left out: {', '.join(layout.ignored)}")
            ((count,),) = database.execute(f"SELECT COUNT(*) FROM {self._table}")
            rows = database.execute(f'SELECT * FROM {self._table} ORDER BY "{columns[layout.ts]}"')
            taken = 0
            try:
                while some := rows.fetchmany(MOST_ROWS):
                    yield from self._pieces(some, layout)
                    taken += len(some)
                    self.done = taken / count
            except (ValueError, sqlite3.Error) as error:
                raise StorageError(f"{where}: {error}") from error

    def _pieces(self, rows: Sequence[Row], layout: Layout) -> Iterator[Piece]:
        by_meter: dict[str, list[Row]] = {}
        for row in rows:
            name = self._meter or meter_name(row[layout.meter or 0])
            values = map(thousandths, layout.names, [row[place] for place in layout.places])
            by_meter.setdefault(name, []).append((time_ms(row[layout.ts], self._zone), *values))
        for name, part in by_meter.items():
            yield Piece(name, layout.names, part)


class HomeAssistantSource:
    """Reads Home Assistant's long-term statistics: an hour's mean, a counter at its end.

    Which entity is which quantity is told by the end of its id, or by `names` (entity to
    meter/quantity).
    """

    def __init__(
        self, path: Path, *, meter: str | None = None, names: Mapping[str, str] | None = None
    ) -> None:
        self._path, self._meter, self._names = path, meter, names or {}
        self.done = 0.0
        self.notes: list[str] = []

    def pieces(self) -> Iterator[Piece]:
        """Return an hour's readings after the other's."""
        with closing(opened(self._path)) as database:
            known = self._known(database.execute("SELECT * FROM statistics_meta"))
            ((count,),) = database.execute("SELECT COUNT(*) FROM statistics")
            rows = database.execute(
                "SELECT start_ts, metadata_id, mean, COALESCE(state, sum) FROM statistics "
                "ORDER BY start_ts"
            )
            taken = 0
            for start_s, hour in groupby(rows, key=lambda row: row[0]):
                part = list(hour)
                taken += len(part)
                self.done = taken / count
                yield from _pieces_of_hour(round(start_s * 1000), part, known)

    def _known(self, rows: sqlite3.Cursor) -> dict[int, tuple[str, str, float]]:
        """Return by its number each statistic's meter, quantity, and factor to our unit."""
        columns = [column[0] for column in rows.description]
        found = {}
        for row in rows:
            meta = dict(zip(columns, row, strict=True))
            entity = str(meta["statistic_id"])
            place = self._place(entity)
            if place is None:
                self.notes.append(f"{entity}: left out, it ends like no quantity; see --map")
                continue
            unit = meta["unit_of_measurement"]
            found[int(meta["id"])] = (*place, _FACTORS.get(unit, 1.0))
            self.notes.append(f"{entity}: taken for {place[1]} of meter {place[0]}")
        return found

    def _place(self, entity: str) -> tuple[str, str] | None:
        if entity in self._names:
            meter, _, quantity = self._names[entity].partition("/")
            return meter_name(meter), quantity
        name = entity.rpartition(".")[2]
        ends = [end for end in _SUFFIXES if name.endswith(f"_{end}")]
        if not ends:
            return None
        end = max(ends, key=len)
        meter = self._meter or name.removesuffix(f"_{end}").removeprefix("meter_")
        return meter_name(meter[:32]), _SUFFIXES[end]


def _pieces_of_hour(
    start_ms: int, rows: Iterable[Row], known: Mapping[int, tuple[str, str, float]]
) -> Iterator[Piece]:
    values: dict[tuple[str, int], dict[str, int]] = {}
    for _, number, mean, counter in rows:
        if number not in known:
            continue
        meter, quantity, factor = known[number]
        counts = BY_NAME[quantity].kind.counter
        value = counter if counts else mean
        if value is not None:
            ts = start_ms + (_LAST_MS if counts else 0)
            stored = thousandths(quantity, value * factor)
            if stored is not None:
                values.setdefault((meter, ts), {})[quantity] = stored
    for (meter, ts), by_name in sorted(values.items()):
        yield Piece(meter, tuple(by_name), [(ts, *by_name.values())])


def tables_of(path: Path) -> set[str]:
    """Return the tables and views of an SQLite file; raises StorageError."""
    with closing(opened(path)) as database:
        rows: list[Any] = database.execute("SELECT name FROM sqlite_master").fetchall()
        return {name for (name,) in rows}


def opened(path: Path) -> sqlite3.Connection:
    """Open a foreign SQLite file for reading only; raises StorageError."""
    database: sqlite3.Connection | None = None
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        database.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        if database:
            database.close()
        raise StorageError(f"{path}: cannot be read as SQLite: {error}") from error
    return database
