"""CSV: a line per reading, times in ISO 8601 (UTC), values in their units, nothing for no value."""

import csv
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import IO, Self
from zoneinfo import ZoneInfo

from contract.times import format_time, from_epoch_ms
from history.dialect import Row
from history.errors import StorageError
from history.exchange.batches import MOST_ROWS, Batch, Layout, meter_name, thousandths, time_ms


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
                yield from self._batches(lines, layout)
            except (ValueError, IndexError, csv.Error) as error:
                text = "too few columns" if isinstance(error, IndexError) else error
                line = f"line {lines.line_num}" if lines.line_num else "beginning"
                raise StorageError(f"{self._path}, {line}: {text}") from error

    def _batches(self, lines: Iterator[list[str]], layout: Layout) -> Iterator[Batch]:
        waiting: list[tuple[str, Row]] = []
        for line in lines:
            if not line:
                continue
            name = self._meter or meter_name(line[layout.meter or 0])
            values = map(thousandths, layout.names, [line[place] for place in layout.places])
            waiting.append((name, (time_ms(line[layout.ts], self._zone), *values)))
            if len(waiting) == MOST_ROWS:
                yield from _by_meter(waiting, layout.names)
                waiting.clear()
        yield from _by_meter(waiting, layout.names)


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


def _by_meter(rows: list[tuple[str, Row]], names: Sequence[str]) -> Iterator[Batch]:
    for meter_id, part in groupby(rows, key=lambda row: row[0]):
        yield Batch(meter_id, names, [row for _, row in part])
