"""Opening a history: its schema brought up to date for a writer, checked for a reader."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import peewee
from playhouse.migrations import Migration, Runner

from contract.quantities import DERIVED, QUANTITIES
from history.dialect import dialect_of, run_many, transaction
from history.dialect import open_database as open_database
from history.errors import StorageError, problem_of
from history.tables import TABLES, VIEWS, add_columns, create_views, quantity_ids
from service.files import HISTORY, create_file

logging.getLogger("peewee.migrations").setLevel(logging.ERROR)  # callers of `migrate` log its steps

MIGRATIONS = Path(__file__).with_name("migrations")
FIRST_STEP = "0001_readings"
"""Step that `migrate` returns only for a new database."""


def migrate(database: peewee.Database) -> list[str]:
    """Bring the schema up to date and return the steps that were needed.

    Numbered scripts in `migrations/` run once; a quantity that is new in the catalogue gets its
    number, and on PostgreSQL its column. Raises StorageError where the database cannot be opened
    or written, belongs to another program, or was prepared by a newer version.
    """
    if file := dialect_of(database).file:
        with contextlib.suppress(OSError):  # SQLite reports it with the remedy
            _remove_remains(file)
            create_file(file, HISTORY)
    with storage_errors(database):
        database.connect(reuse_if_open=True)
        runner = Runner(database, str(MIGRATIONS))
        _refuse_others(database, runner)
        dialect = dialect_of(database)
        with transaction(database):
            dialect.lock_migrations()
            done = list(runner.up())
            _number_quantities(database)
            if not dialect.columns_on_demand:
                added = add_columns(database, (quantity.name for quantity in QUANTITIES))
                done += [f"column {name}" for name in added]
            if done:
                create_views(database)
    return done


@contextlib.contextmanager
def reading(url: str) -> Iterator[peewee.Database]:
    """Open a history for reading, until the block ends.

    Raises StorageError where there is none, or one of another program or version.
    """
    database = open_database(url, read_only=True)
    if not exists(database):
        raise StorageError(
            f"database {name_of(database)}: the file does not exist", remedy="check DATABASE_URL"
        )
    with storage_errors(database):
        database.connect()
        try:
            _refuse_others(database, Runner(database, str(MIGRATIONS)))
            if not is_current(database):
                raise StorageError(
                    f"database {name_of(database)}: not prepared for this version",
                    remedy="start the recorder, which prepares it",
                )
            yield database
        finally:
            database.close()


def is_current(database: peewee.Database) -> bool:
    """Return whether a recorder of this version has prepared the database.

    Raises peewee's errors: a database that is locked or away is not one of another version.
    """
    database.connect(reuse_if_open=True)
    pending = [m for m in _steps(Runner(database, str(MIGRATIONS))) if not m.applied]
    return not pending and not _unnumbered(database)


def exists(database: peewee.Database) -> bool:
    """Return whether there is a file to open; a server is assumed to have the database."""
    file = dialect_of(database).file
    return file is None or file.is_file()


def name_of(database: peewee.Database) -> str:
    """Return the name of a database in a message: its file, or its name on the server."""
    return dialect_of(database).name


@contextlib.contextmanager
def storage_errors(database: peewee.Database) -> Iterator[None]:
    """Turn the driver's errors into StorageError, with the name of the database and a remedy."""
    try:
        yield
    except (peewee.DatabaseError, peewee.InterfaceError, OSError, UnicodeDecodeError) as error:
        problem = problem_of(error)
        text = " ".join(str(problem.error).split())
        raise StorageError(
            f"database {name_of(database)}: {text}",
            remedy=problem.remedy,
            transient=problem.transient,
        ) from error


def _remove_remains(file: Path) -> None:
    """Remove what a deleted history has left: with -shm of another file a new one is damaged.

    SQLite itself ignores such a -wal.
    """
    if not file.exists():
        for suffix in ("-wal", "-shm"):
            file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)


def _refuse_others(database: peewee.Database, runner: Runner) -> None:
    newer = [m.name for m in _steps(runner) if m.path is None]
    if newer:
        raise StorageError(
            f"database {name_of(database)}: was prepared by a newer version ({newer[-1]})",
            remedy="update this program",
        )
    tables = set(database.get_tables())
    if dialect_of(database).shared:
        tables &= {*TABLES, *VIEWS}
    if tables and not runner.History.table_exists():
        raise StorageError(
            f"database {name_of(database)}: holds another program's tables "
            f"({', '.join(sorted(tables)[:3])})",
            remedy="move it away, then bring its readings in with meterflow import",
        )


def _steps(runner: Runner) -> list[Migration]:
    try:
        return list(runner.status())
    except TypeError as error:  # the disk has changed the type of a name
        raise peewee.DatabaseError("its list of migrations is damaged; restore a backup") from error


def _unnumbered(database: peewee.Database) -> list[str]:
    numbered = quantity_ids(database)
    names = [quantity.name for quantity in (*QUANTITIES, *DERIVED)]
    return [name for name in names if name not in numbered]


def _number_quantities(database: peewee.Database) -> None:
    names = [(name,) for name in _unnumbered(database)]
    run_many(database, "INSERT INTO quantities (name) VALUES (?)", names)
