"""`meterflow backup`: a copy of the history as it is at one moment."""

import argparse
import contextlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import peewee

from history.database import name_of, reading
from history.dialect import dialect_of
from history.errors import StorageError
from history.exchange.sqlite_files import tables_of
from recorder.commands.arguments import parser_for, progress, say
from recorder.settings import RecorderSettings
from service.amounts import size
from service.files import HISTORY, create_file, replace


def main(arguments: Sequence[str]) -> int:
    """Copy the history beside the recorder that writes it; an existing copy is replaced."""
    options = _parse(arguments)
    settings = RecorderSettings.load()
    with reading(settings.database_url) as database:
        source = dialect_of(database).file
        if source is None:
            raise StorageError(
                "copies SQLite files only",
                remedy="for PostgreSQL use pg_dump --format=custom --file=meterflow.dump "
                f"{name_of(database)}, and pg_restore to restore it",
            )
        target = options.file or source.with_name(
            f"{source.stem}-{datetime.now(settings.zone):%Y-%m-%d}.db"
        )
        if target.is_dir():
            target = target / source.name
        _refuse(source, target)
        with progress("backup"):
            _copy(database, target)
    say(f"{target}: {size(target.stat().st_size)}")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for(
        "backup",
        "Copy the history to a file, as of one moment.",
        "To restore a copy: stop the recorder, remove energy_meters.db-wal and -shm, replace\n"
        "energy_meters.db with the copy, start the recorder.\n"
        "For a history in PostgreSQL use pg_dump and pg_restore.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="file to write (default: energy_meters-<today>.db beside the history);"
        " an older copy is replaced",
    )
    return parser.parse_args(arguments)


def _refuse(source: Path, target: Path) -> None:
    if not target.exists():
        return
    if target.samefile(source):
        raise StorageError(f"{target}: is the history itself; name another file")
    if "readings_raw" not in tables_of(target):
        raise StorageError(f"{target}: is not a copy of a history; name another file")


def _copy(database: peewee.Database, target: Path) -> None:
    """Copy in one reading transaction, for which no writer has to wait."""
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        create_file(part, HISTORY)
        dialect_of(database).copy_to(part)
        replace(part, target)
    except (peewee.DatabaseError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StorageError(f"{target}: cannot be written: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
