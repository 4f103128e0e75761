"""What leaves the table of readings, kept in a Parquet file per meter and month.

A file is written once and never changed: what a month gets afterwards goes to a file beside it
(2026-03.2.parquet). A reading may stand in the table as well, so readers look at its time.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import merge
from itertools import chain, count, groupby
from operator import itemgetter
from pathlib import Path

import peewee

from contract.readings import epoch_ms
from history.columns import stored_quantities
from history.exchange.batch import Piece, stored_rows
from history.exchange.new_file import new_file
from history.exchange.sources import parquet
from history.statements import Row
from history.tables import Meter
from history.times import from_ms

_NAME = re.compile(r"(\d{4}-\d{2})(\.\d+)?\.parquet")


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a meter (in UTC, epoch ms), and the files that hold readings of it."""

    begin: int
    end: int
    files: Sequence[Path]


class Archive:
    """The files of a directory, `<meter>/<year>-<month>.parquet`.

    Raises SettingsError where the library for Parquet is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._parquet = parquet()

    def months(self, meter_id: str) -> list[Month]:
        """Return the months that have files, in their order."""
        files: dict[str, list[Path]] = {}
        for path in sorted((self._directory / meter_id).glob("*.parquet")):
            if match := _NAME.fullmatch(path.name):
                files.setdefault(match[1], []).append(path)
        return [Month(*month_of(_begin_ms(name)), files[name]) for name in sorted(files)]

    def names(self, meter_id: str) -> set[str]:
        """Return the quantities that a meter's files have."""
        files = [path for month in self.months(meter_id) for path in month.files]
        return {name for path in files for name in self._parquet.ParquetSource(path).names()}

    def rows(self, path: Path, names: Sequence[str]) -> Iterator[Row]:
        """Yield the rows of a file in the order of time, with a value for each of `names`."""
        for piece in self._parquet.ParquetSource(path).pieces():
            places = [piece.names.index(n) + 1 if n in piece.names else None for n in names]
            for row in piece.rows:
                yield (row[0], *[None if place is None else row[place] for place in places])

    def write(self, database: peewee.Database, meter: Meter, ts: int) -> Iterator[int]:
        """Write the month of a time: those of its readings that are in no file yet.

        Yields, now and then, how many it has written; the file is there when it ends.
        """
        begin, end = month_of(ts)
        known = {
            row[0]
            for month in self.months(meter.name)
            for path in month.files
            if month.begin == begin
            for row in self.rows(path, ())
        }
        names = stored_quantities(database)
        pieces = _new_pieces(database, meter, names, begin, end, known)
        first = next(pieces, None)
        if first is None:
            return
        (self._directory / meter.name).mkdir(parents=True, exist_ok=True)
        with new_file(self._free_name(meter.name, begin)) as file:
            writer = self._parquet.ParquetWriter(file, names)
            for piece in chain([first], pieces):
                writer.write(piece)
                yield len(piece.rows)
            writer.close()

    def _free_name(self, meter_id: str, begin: int) -> Path:
        stem = f"{from_ms(begin):%Y-%m}"
        names = chain([f"{stem}.parquet"], (f"{stem}.{n}.parquet" for n in count(2)))
        paths = (self._directory / meter_id / name for name in names)
        return next(path for path in paths if not path.exists())


def month_of(ts: int) -> tuple[int, int]:
    """Return where the UTC month of a time begins and ends, all in epoch ms."""
    begin = from_ms(ts).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return epoch_ms(begin), epoch_ms((begin + timedelta(days=32)).replace(day=1))


def merged_rows(
    database: peewee.Database,
    archive: Archive | None,
    meter: Meter,
    names: Sequence[str],
    begin: int,
    end: int,
) -> Iterator[Row]:
    """Yield a meter's readings from `begin` to before `end`, archived ones and others, each once.

    Rows of a time (epoch ms) and of a value (thousandths) for each of `names`.
    """
    for month in archive.months(meter.name) if archive else ():
        if begin < month.end and month.begin < end:
            yield from _table_rows(database, meter, names, begin, month.begin)
            first, last = max(begin, month.begin), min(end, month.end)
            parts = [archive.rows(path, names) for path in month.files]  # type: ignore[union-attr]
            parts.append(_table_rows(database, meter, names, first, last))
            for _, same in groupby(merge(*parts, key=_ts), key=_ts):
                row = next(same)
                if first <= row[0] < last:
                    yield row
            begin = month.end
    yield from _table_rows(database, meter, names, begin, end)


def _table_rows(
    database: peewee.Database, meter: Meter, names: Sequence[str], begin: int, end: int
) -> Iterator[Row]:
    there = set(stored_quantities(database))
    columns = [name if name in there else f"NULL AS {name}" for name in names]
    for rows in stored_rows(database, meter.id, columns, begin, end):
        yield from rows


def _new_pieces(
    database: peewee.Database,
    meter: Meter,
    names: Sequence[str],
    begin: int,
    end: int,
    known: set[int],
) -> Iterator[Piece]:
    for rows in stored_rows(database, meter.id, names, begin, end):
        new = [row for row in rows if row[0] not in known]
        if new:
            yield Piece(meter.name, names, new)


def _begin_ms(name: str) -> int:
    return epoch_ms(datetime.strptime(f"{name}-01 +0000", "%Y-%m-%d %z"))


_ts = itemgetter(0)
