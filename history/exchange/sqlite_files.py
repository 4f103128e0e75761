"""SQLite files of others: simple loggers (`readings` or `meter_readings`), and Home Assistant."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from contract.quantities import BY_NAME
from history.dialect import Row
from history.errors import StorageError
from history.exchange.batches import MOST_ROWS, Batch, Layout, meter_name, thousandths, time_ms

TABLES = ("readings", "meter_readings")
HOUR_MS = 3_600_000
_FACTORS = {"kW": 1000.0, "MW": 1e6, "Wh": 0.001, "MWh": 1000.0, "mA": 0.001, "mV": 0.001}
_LAST_MS = HOUR_MS - 1
"""Home Assistant's counters are those of the end of an hour, its means belong to all of it."""
_HOME_ASSISTANT_NAMES = {
    "energy_total_import_export": "energy_total",
    "voltage_line_to_line_average": "voltage_ll",
    "power_demand_maximum": "power_demand_max",
    "import_power_demand": "power_import_demand",
    "import_power_demand_maximum": "power_import_demand_max",
    "export_power_demand": "power_export_demand",
    "export_power_demand_maximum": "power_export_demand_max",
    "apparent_power_demand_maximum": "apparent_power_demand_max",
    "current_demand_maximum_l1": "current_demand_max_l1",
    "current_demand_maximum_l2": "current_demand_max_l2",
    "current_demand_maximum_l3": "current_demand_max_l3",
    "current_demand_maximum_n": "current_demand_max_n",
    "voltage_thd_average": "voltage_thd",
    "current_thd_average": "current_thd",
    "voltage_thd_line_to_line_average": "voltage_thd_ll",
}
"""Ends of entity ids, as discovered sensors have them, that differ from the quantity's name."""


class LoggerSource:
    """Reads a table with a column of times and columns named like quantities, in their order."""

    def __init__(self, path: Path, table: str, *, meter: str | None, zone: ZoneInfo | None) -> None:
        self._path, self._table, self._meter, self._zone = path, table, meter, zone
        self.done = 0.0
        self.notes = [f"from the table {table}"]

    def batches(self) -> Iterator[Batch]:
        """Yield the readings in the order of their times; a row without a time is an error."""
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
                    yield from self._batches(some, layout)
                    taken += len(some)
                    self.done = taken / count
            except (ValueError, sqlite3.Error) as error:
                raise StorageError(f"{where}: {error}") from error

    def _batches(self, rows: Sequence[Row], layout: Layout) -> Iterator[Batch]:
        by_meter: dict[str, list[Row]] = {}
        for row in rows:
            name = self._meter or meter_name(row[layout.meter or 0])
            values = map(thousandths, layout.names, [row[place] for place in layout.places])
            by_meter.setdefault(name, []).append((time_ms(row[layout.ts], self._zone), *values))
        for name, part in by_meter.items():
            yield Batch(name, layout.names, part)


class HomeAssistantSource:
    """Reads Home Assistant's long-term statistics: an hour's mean, a counter at its end.

    The end of an entity's id is the name of its quantity, unless `names` maps the entity to
    meter/quantity.
    """

    def __init__(
        self, path: Path, *, meter: str | None = None, names: Mapping[str, str] | None = None
    ) -> None:
        self._path, self._meter, self._names = path, meter, names or {}
        self.done = 0.0
        self.notes: list[str] = []

    def batches(self) -> Iterator[Batch]:
        """Yield the readings hour by hour."""
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
                yield from _batches_of_hour(round(start_s * 1000), part, known)

    def _known(self, rows: sqlite3.Cursor) -> dict[int, tuple[str, str, float]]:
        """Return by its number each statistic's meter, quantity, and factor to our unit."""
        columns = [column[0] for column in rows.description]
        found = {}
        for row in rows:
            meta = dict(zip(columns, row, strict=True))
            entity = str(meta["statistic_id"])
            place = self._place(entity)
            if place is None:
                self.notes.append(
                    f"{entity}: left out, no quantity has the end of its name; see --map"
                )
                continue
            unit = meta["unit_of_measurement"]
            found[int(meta["id"])] = (*place, _FACTORS.get(unit, 1.0))
            self.notes.append(f"{entity}: imported as {place[1]} of meter {place[0]}")
        return found

    def _place(self, entity: str) -> tuple[str, str] | None:
        if entity in self._names:
            meter, _, quantity = self._names[entity].partition("/")
            return meter_name(meter), quantity
        name = entity.rpartition(".")[2]
        ends = [end for end in (*BY_NAME, *_HOME_ASSISTANT_NAMES) if name.endswith(f"_{end}")]
        if not ends:
            return None
        end = max(ends, key=len)
        meter = self._meter or name.removesuffix(f"_{end}").removeprefix("meter_")
        return meter_name(meter[:32]), _HOME_ASSISTANT_NAMES.get(end, end)


def _batches_of_hour(
    start_ms: int, rows: Iterable[Row], known: Mapping[int, tuple[str, str, float]]
) -> Iterator[Batch]:
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
        yield Batch(meter, tuple(by_name), [(ts, *by_name.values())])


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
