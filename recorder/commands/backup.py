"""`python -m recorder backup`: a copy of the history as it is at one moment."""

import argparse
import contextlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import peewee

from history.database import name_of, reading
from history.errors import StorageError
from history.exchange.sqlite_files import tables_of
from recorder.commands.arguments import parser_for, progress, say
from recorder.settings import RecorderSettings
from service.terminal import size


def main(arguments: Sequence[str]) -> int:
    """Copy the history beside the recorder that writes it; a file that is there is replaced."""
    options = _parse(arguments)
    settings = RecorderSettings.load()
    with reading(settings.database_url) as database:
        if not isinstance(database, peewee.SqliteDatabase):
            raise StorageError(
                "backup copies SQLite files; for PostgreSQL: pg_dump --format=custom "
                f"--file=meterflow.dump {name_of(database)}"
            )
        source = Path(name_of(database))
    target = options.file or source.with_name(
        f"{source.stem}-{datetime.now(settings.zone):%Y-%m-%d}.db"
    )
    if target.is_dir():
        target = target / source.name
    _refuse(source, target)
    with progress("backup"):
        _copy(source, target)
    say(f"{target}: {size(target.stat().st_size)}")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for(
        "backup",
        "Copy the history into a file, as it is at one moment.",
        "To go back to it: stop the recorder, remove energy_meters.db-wal and -shm, put the copy\n"
        "in the place of energy_meters.db, start the recorder.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="where to (energy_meters-<today>.db beside the history); a copy there is replaced",
    )
    return parser.parse_args(arguments)


def _refuse(source: Path, target: Path) -> None:
    if not target.exists():
        return
    if target.samefile(source):
        raise StorageError(f"{target}: is the history itself; name another file")
    if "readings_raw" not in tables_of(target):
        raise StorageError(f"{target}: is no history of ours; name another file")


def _copy(source: Path, target: Path) -> None:
    """Copy by VACUUM INTO: one reading transaction, which a writer does not wait for."""
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        with closing(
            sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)
        ) as database:
            database.execute("VACUUM INTO ?", (str(part),))
        part.replace(target)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"{target}: cannot be written: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
