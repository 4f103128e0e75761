"""CSV: a line per reading, times in ISO 8601 (UTC), values in their units, nothing for no value."""

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, Self
from zoneinfo import ZoneInfo

from contract.times import format_time, from_epoch_ms
from history.dialect import Row
from history.errors import StorageError
from history.exchange.batches import (
    MOST_ROWS,
    Batch,
    Layout,
    column_thousandths,
    meter_name,
    thousandths,
    time_ms,
)

Line = tuple[int, list[str]]
"""The number of a line, and its fields."""


class CsvWriter:
    """Writes batches to an open file."""

    def __init__(self, file: IO[str], names: Sequence[str]) -> None:
        self._lines = csv.writer(file, lineterminator="\n")
        self._lines.writerow(["ts", "meter_id", *names])

    def write(self, batch: Batch) -> None:
        """Append the lines of a batch."""
        self._lines.writerows(
            [format_time(from_epoch_ms(ts)), batch.meter_id]
            + ["" if value is None else value / 1000 for value in values]
            for ts, *values in batch.rows
        )

    def close(self) -> None:
        """Do nothing: every line is written already."""


class CsvSource:
    """Reads such a file, or another with a column of times and columns named like quantities."""

    def __init__(self, path: Path, *, meter: str | None, zone: ZoneInfo | None) -> None:
        self._path, self._meter, self._zone = path, meter, zone
        self.done = 0.0
        self.notes: list[str] = []

    def batches(self) -> Iterator[Batch]:
        """Yield the readings; raises StorageError that names the line that is wrong."""
        with self._path.open(newline="", encoding="utf-8-sig") as file:
            size = max(os.fstat(file.fileno()).st_size, 1)
            lines = csv.reader(_Counted(file, self, size))
            try:
                header = next(lines, [])
                layout = Layout.of(header, str(self._path), needs_meter=self._meter is None)
                if layout.ignored:
                    self.notes.append(f"columns left out: {', '.join(layout.ignored)}")
                for part in _parts(lines):
                    by_meter: dict[str, list[Row]] = {}
                    for meter_id, row in self._rows(part, layout):
                        by_meter.setdefault(meter_id, []).append(row)
                    for meter_id, rows in by_meter.items():
                        yield Batch(meter_id, layout.names, rows)
            except (ValueError, csv.Error) as error:
                raise self._wrong(lines.line_num, error) from error

    def _rows(self, part: Sequence[Line], layout: Layout) -> Iterable[tuple[str, Row]]:
        """Return the meter and the row of each line."""
        with contextlib.suppress(ValueError, IndexError):
            return self._by_column(part, layout)
        return [self._row(line, layout) for line in part]  # one is wrong, or they differ in length

    def _by_column(self, part: Sequence[Line], layout: Layout) -> Iterable[tuple[str, Row]]:
        """Return the same in half the time; raises ValueError or IndexError for a wrong line."""
        columns = list(zip(*(fields for _, fields in part), strict=True))
        ids = [self._meter] * len(part) if self._meter else columns[layout.meter or 0]
        names = {text: meter_name(text) for text in set(ids)}
        times = [time_ms(text, self._zone) for text in columns[layout.ts]]
        values = [
            column_thousandths(name, columns[place])
            for name, place in zip(layout.names, layout.places, strict=True)
        ]
        return zip(map(names.__getitem__, ids), zip(times, *values, strict=True), strict=True)

    def _row(self, line: Line, layout: Layout) -> tuple[str, Row]:
        number, fields = line
        try:
            name = self._meter or meter_name(fields[layout.meter or 0])
            values = map(thousandths, layout.names, [fields[place] for place in layout.places])
            return name, (time_ms(fields[layout.ts], self._zone), *values)
        except ValueError as error:
            raise self._wrong(number, error) from error
        except IndexError as error:
            raise self._wrong(number, "too few columns") from error

    def _wrong(self, number: int, what: object) -> StorageError:
        return StorageError(f"{self._path}, {f'line {number}' if number else 'beginning'}: {what}")


def _parts(lines: Any) -> Iterator[list[Line]]:
    """Yield the lines of a `csv.reader` that are not empty, some at a time."""
    numbered = ((lines.line_num, fields) for fields in lines if fields)
    while part := list(islice(numbered, MOST_ROWS)):
        yield part


class _Counted:
    """The lines of a file; reading them updates the progress of the source."""

    def __init__(self, file: IO[str], source: CsvSource, size: int) -> None:
        self._file, self._source, self._size = file, source, size
        self._read = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = next(self._file)
        self._read += len(line)
        self._source.done = self._read / self._size
        return line
