"""Files of readings: what a file is, and how one is written."""

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import IO, Any
from zoneinfo import ZoneInfo

from contract.quantities import BY_NAME
from history.errors import StorageError
from history.exchange.batches import Source
from history.exchange.csv_files import CsvSource
from history.exchange.sqlite_files import TABLES, HomeAssistantSource, LoggerSource, tables_of
from service.errors import SettingsError
from service.files import PRIVATE, replacing


def parquet() -> ModuleType:
    """Return the module for Parquet files; raises SettingsError where its library is missing."""
    try:
        return importlib.import_module("history.exchange.parquet_files")
    except ImportError as error:
        raise SettingsError(
            "Parquet needs pyarrow: python3 -m pip --python .venv/bin/python install 'pyarrow>=21'"
        ) from error


def source_of(
    path: Path,
    *,
    meter: str | None = None,
    zone: ZoneInfo | None = None,
    names: Mapping[str, str] | None = None,
) -> Source:
    """Return the source for a file, by its content; raises StorageError for an unknown kind.

    `meter` is the meter of all readings where the file names none; `zone` is that of times without
    one (default: UTC); `names` maps Home Assistant's entities to meter/quantity.
    """
    beginning = _beginning(path)
    for entity, place in (names or {}).items():
        if place.partition("/")[2] not in BY_NAME:
            raise SettingsError(f"--map {entity}={place}: should be entity=meter/quantity")
    if beginning.startswith(b"PAR1"):
        source: Source = parquet().ParquetSource(path, meter=meter, zone=zone)
        return source
    if not beginning.startswith(b"SQLite format 3\0"):
        return CsvSource(path, meter=meter, zone=zone)
    tables = tables_of(path)
    if {"statistics", "statistics_meta"} <= tables:
        return HomeAssistantSource(path, meter=meter, names=names)
    table = next((table for table in TABLES if table in tables), None)
    if table is None:
        raise StorageError(
            f"{path}: has neither a table readings or meter_readings nor Home Assistant's "
            f"statistics (but {', '.join(sorted(tables)[:4]) or 'nothing'})"
        )
    return LoggerSource(path, table, meter=meter, zone=zone)


@contextlib.contextmanager
def new_file(path: Path, mode: int = PRIVATE, *, text: bool = False) -> Iterator[IO[Any]]:
    """Open a file for writing that appears under its name, or replaces one, when it is complete.

    Nothing is left of a file that breaks off. Raises StorageError where it cannot be written.
    """
    try:
        with replacing(path, mode, text=text) as file:
            yield file
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
