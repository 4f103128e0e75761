"""The archive: readings that leave the table, in a Parquet file per meter and month.

A file is written once and never changed: later readings of its month go into a file beside it
(2026-03.2.parquet). A reading may be in the table as well, so readers compare times.
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

from contract.times import epoch_ms, from_epoch_ms
from history.dialect import Row
from history.errors import StorageError
from history.exchange.batches import Batch, stored_rows
from history.exchange.files import new_file, parquet
from history.tables import Meter, stored_quantities
from service.files import HISTORY, HISTORY_DIRECTORY, make_directory

_NAME = re.compile(r"\d{4}-\d{2}(\.\d+)?\.parquet")


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
            if _is_month(path):
                files.setdefault(path.name[:7], []).append(path)
        return [Month(*month_of(_begin_ms(name)), files[name]) for name in sorted(files)]

    def names(self, meter_id: str) -> set[str]:
        """Return the quantities in the files of a meter."""
        files = [path for month in self.months(meter_id) for path in month.files]
        sources = [self._parquet.ParquetSource(path, ours=True) for path in files]
        return {name for source in sources for name in source.names()}

    def rows(self, path: Path, names: Sequence[str]) -> Iterator[Row]:
        """Yield the rows of a file in the order of time, with a value for each of `names`.

        Raises StorageError for a file that is not as it was written.
        """
        meter_id, (begin, end) = path.parent.name, month_of(_begin_ms(path.name[:7]))
        before = begin - 1
        for batch in self._parquet.ParquetSource(path, ours=True).batches():
            if batch.meter_id != meter_id:
                raise StorageError(f"{path}: has readings of meter {batch.meter_id!r}")
            places = [batch.names.index(n) + 1 if n in batch.names else None for n in names]
            for row in batch.rows:
                if not before < row[0] < end:
                    raise StorageError(f"{path}: its times are damaged")
                before = row[0]
                yield (row[0], *[None if place is None else row[place] for place in places])

    def files(self) -> list[Path]:
        """Return all files, in the order of meters and months."""
        return [path for path in sorted(self._directory.glob("*/*.parquet")) if _is_month(path)]

    def fault_of(self, path: Path) -> str | None:
        """Return what is wrong with a file, None for a sound one."""
        try:
            for _ in self.rows(path, self._parquet.ParquetSource(path, ours=True).names()):
                pass
        except StorageError as error:
            return str(error)
        return None

    def write(self, database: peewee.Database, meter: Meter, ts: int) -> Iterator[int]:
        """Write those readings of a time's month that are in no file yet.

        Yields the number of readings after each batch; the file exists once the iteration ends.
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
        batches = _new_batches(database, meter, names, begin, end, known)
        first = next(batches, None)
        if first is None:
            return
        make_directory(self._directory / meter.name, HISTORY_DIRECTORY)
        with new_file(self._free_name(meter.name, begin), HISTORY) as file:
            writer = self._parquet.ParquetWriter(file, names)
            for batch in chain([first], batches):
                writer.write(batch)
                yield len(batch.rows)
            writer.close()

    def _free_name(self, meter_id: str, begin: int) -> Path:
        stem = f"{from_epoch_ms(begin):%Y-%m}"
        names = chain([f"{stem}.parquet"], (f"{stem}.{n}.parquet" for n in count(2)))
        paths = (self._directory / meter_id / name for name in names)
        return next(path for path in paths if not path.exists())


def month_of(ts: int) -> tuple[int, int]:
    """Return the begin and the end of the UTC month of a time, all in epoch ms."""
    begin = from_epoch_ms(ts).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return epoch_ms(begin), epoch_ms((begin + timedelta(days=32)).replace(day=1))


def merged_rows(
    database: peewee.Database,
    archive: Archive | None,
    meter: Meter,
    names: Sequence[str],
    begin: int,
    end: int,
) -> Iterator[Row]:
    """Yield a meter's readings from `begin` to before `end`, archived or not, each once.

    Each row has a time (epoch ms) and a value (thousandths) for each of `names`.
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


def _new_batches(
    database: peewee.Database,
    meter: Meter,
    names: Sequence[str],
    begin: int,
    end: int,
    known: set[int],
) -> Iterator[Batch]:
    for rows in stored_rows(database, meter.id, names, begin, end):
        new = [row for row in rows if row[0] not in known]
        if new:
            yield Batch(meter.name, names, new)


def _is_month(path: Path) -> bool:
    return _NAME.fullmatch(path.name) is not None


def _begin_ms(name: str) -> int:
    return epoch_ms(datetime.strptime(f"{name}-01 +0000", "%Y-%m-%d %z"))


_ts = itemgetter(0)
