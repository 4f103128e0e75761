"""Parquet: columns in their units as decimals of three places, held as integers of a thousandth.

Delta-encoded and packed, a value takes one to two bytes. Any program that reads Parquet shows
plain numbers. Pages have checksums, and so have the names of the columns. Needs the extra
`archive`.
"""

import zlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from history.errors import StorageError
from history.exchange.batches import Batch, Layout, column_thousandths, meter_name, time_ms
from service.amounts import amount

_ROWS_PER_GROUP = 20_000
_VALUE = pyarrow.decimal128(18, 3)
_WHOLE = pyarrow.decimal128(19, 0)
_THOUSANDTH = pyarrow.scalar(Decimal("0.001"), pyarrow.decimal128(4, 3))
_TIME = pyarrow.timestamp("ms", "UTC")
_CHECKSUM = b"names_crc32"
"""Key of the checksum of a file's columns; those of an older version have none."""


class ParquetWriter:
    """Writes batches to an open file; it is complete after `close`."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        self._names = tuple(names)
        fields = [
            ("ts", _TIME),
            ("meter_id", pyarrow.string()),
            *((name, _VALUE) for name in names),
        ]
        checksum = _checksum(["ts", "meter_id", *names])
        self._schema = pyarrow.schema(fields, metadata={_CHECKSUM: checksum})
        self._file = pyarrow.parquet.ParquetWriter(
            file,
            self._schema,
            compression="zstd",
            use_dictionary=["meter_id"],
            column_encoding=dict.fromkeys(("ts", *names), "DELTA_BINARY_PACKED"),
            store_decimal_as_integer=True,
            write_page_checksum=True,
        )
        self._waiting: list[Any] = []
        self._rows = 0

    def write(self, batch: Batch) -> None:
        """Append the rows of a batch, which has the names of the file."""
        times, *columns = zip(*batch.rows, strict=True)
        ids = pyarrow.array([batch.meter_id] * len(times), pyarrow.string())
        arrays = [pyarrow.array(times, _TIME), ids, *map(_decimals, columns)]
        self._waiting.append(pyarrow.record_batch(arrays, schema=self._schema))
        self._rows += len(times)
        if self._rows >= _ROWS_PER_GROUP:
            self._write_group()

    def close(self) -> None:
        """Write the remaining rows and the end of the file."""
        self._write_group()
        self._file.close()

    def _write_group(self) -> None:
        if self._waiting:
            self._file.write_table(pyarrow.Table.from_batches(self._waiting))
        self._waiting, self._rows = [], 0


class ParquetSource:
    """Reads such a file, or another with a column of times and columns named like quantities.

    With `ours`, only a file as `ParquetWriter` writes it: any other is damaged.
    """

    def __init__(
        self,
        path: Path,
        *,
        meter: str | None = None,
        zone: ZoneInfo | None = None,
        ours: bool = False,
    ) -> None:
        self._path, self._meter, self._zone = path, meter, zone
        self._ours = ours
        self.done = 0.0
        self.notes: list[str] = []

    def names(self) -> tuple[str, ...]:
        """Return the quantities in the file."""
        with self._open() as file:
            return self._layout(file.schema_arrow.names).names

    def batches(self) -> Iterator[Batch]:
        """Yield the readings; raises StorageError for a file of another form."""
        with self._open() as file:
            layout = self._layout(file.schema_arrow.names)
            if layout.ignored:
                self.notes.append(f"columns left out: {', '.join(layout.ignored)}")
            groups, missing = file.num_row_groups, file.metadata.num_rows
            for group in range(groups):
                try:
                    for batch in file.iter_batches(4000, row_groups=[group]):
                        missing -= batch.num_rows
                        yield from self._batches(batch, layout)
                except (pyarrow.ArrowException, ValueError, OSError) as error:
                    raise StorageError(f"{self._path}: {error}") from error
                self.done = (group + 1) / groups
            if missing:  # a page of another kind is passed over
                raise StorageError(f"{self._path}: is damaged: misses {amount(missing, 'row')}")

    def _open(self) -> Any:
        try:
            file = pyarrow.parquet.ParquetFile(self._path, page_checksum_verification=True)
            sound = not self._ours or _is_ours(file)
        except (pyarrow.ArrowException, ValueError, OSError) as error:
            raise StorageError(f"{self._path}: cannot be read as Parquet: {error}") from error
        if not sound:
            raise StorageError(f"{self._path}: its columns are damaged")
        return file

    def _layout(self, columns: Sequence[str]) -> Layout:
        return Layout.of(columns, str(self._path), needs_meter=self._meter is None)

    def _batches(self, batch: Any, layout: Layout) -> Iterator[Batch]:
        times = _times(batch.column(layout.ts), self._zone)
        columns = [
            column_thousandths(name, _numbers(batch.column(place)))
            for name, place in zip(layout.names, layout.places, strict=True)
        ]
        rows = list(zip(times, *columns, strict=True))
        if self._meter or layout.meter is None:
            yield Batch(self._meter or "", layout.names, rows)
            return
        ids = batch.column(layout.meter).to_pylist()
        begin = 0
        for place in range(1, len(ids) + 1):
            if place == len(ids) or ids[place] != ids[begin]:
                yield Batch(meter_name(ids[begin]), layout.names, rows[begin:place])
                begin = place


def _decimals(column: Sequence[int | None]) -> Any:
    whole = pyarrow.array(column, pyarrow.int64()).cast(_WHOLE)
    multiply = pyarrow.compute.get_function("multiply")  # type: ignore[attr-defined]  # not in __all__
    return multiply.call([whole, _THOUSANDTH]).cast(_VALUE)


def _numbers(column: Any) -> list[float | None]:
    numbers: list[float | None] = column.cast(pyarrow.float64()).to_pylist()
    return numbers


def _times(column: Any, zone: ZoneInfo | None) -> list[int]:
    if pyarrow.types.is_timestamp(column.type) and (column.type.tz or zone is None):
        in_ms = column.cast(pyarrow.timestamp("ms", column.type.tz), safe=False)
        return list(in_ms.cast(pyarrow.int64()).to_pylist())
    values = column.to_pylist()
    return [time_ms(str(v) if hasattr(v, "year") else v, zone) for v in values]


def _is_ours(file: Any) -> bool:
    """Return whether a file's columns are those of `ParquetWriter`, undamaged."""
    schema = file.schema_arrow
    types = {"ts": _TIME, "meter_id": pyarrow.string()}
    stored = (schema.metadata or {}).get(_CHECKSUM)
    return (
        schema.names[:2] == list(types)
        and all(field.type == types.get(field.name, _VALUE) for field in schema)
        and stored in (None, _checksum(schema.names).encode())
    )


def _checksum(names: Sequence[str]) -> str:
    return f"{zlib.crc32(' '.join(names).encode()):08x}"
