"""Opening the database that a URL names, and bringing its schema up to date."""

import contextlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import peewee
from playhouse.db_url import connect as connect_by_url
from playhouse.db_url import parse as parse_url
from playhouse.migrations import Runner

from contract.quantities import QUANTITIES
from history.columns import add_columns, present
from history.errors import StorageError
from history.tables import TABLES, QuantityNumber
from history.views import VIEWS, create_views
from service.errors import SettingsError

logger = logging.getLogger(__name__)
logging.getLogger("peewee.migrations").setLevel(logging.ERROR)  # whoever migrates tells it

BUSY_TIMEOUT_S = 5
PRAGMAS = {
    "auto_vacuum": "incremental",  # has an effect before the first table only
    "journal_mode": "wal",
    "synchronous": "normal",
    "cache_size": -16000,
    "foreign_keys": 1,
    "temp_store": "memory",
    "journal_size_limit": 67_108_864,
    # Roll-ups change a page for each series again and again: checkpoint them once, not each time.
    "wal_autocheckpoint": 4000,
}
_MIGRATING = 6_317_501
"""Any number, but always the same one: PostgreSQL lets one program at a time hold it."""
MIGRATIONS = Path(__file__).with_name("migrations")


def open_database(url: str, *, read_only: bool = False) -> peewee.Database:
    """Return the database of a URL such as sqlite:///energy_meters.db, not yet connected.

    A read-only one refuses writes, and must exist. Raises SettingsError for a URL that names no
    database.
    """
    if url.startswith("sqlite:"):
        path = parse_url(url).get("database") or ""
        if path in {"", ":memory:"}:
            raise SettingsError(f"DATABASE_URL: names no file (got {url!r})")
        return _open_sqlite(path, read_only=read_only)
    if not url.startswith(("postgres", "psycopg3")):
        raise SettingsError(
            "DATABASE_URL: should begin with sqlite:/// or postgresql:// "
            f"(got {url.partition(':')[0]!r})"
        )
    if not find_spec("psycopg"):
        raise SettingsError(
            "DATABASE_URL: PostgreSQL needs the package psycopg: install meterflow[postgres]"
        )
    try:
        database = connect_by_url(url, prefer_psycopg3=True)
    except (ImportError, ValueError, TypeError, peewee.ImproperlyConfigured) as error:
        raise SettingsError(f"DATABASE_URL: {error}") from error
    database.bind(TABLES)
    return database


def _open_sqlite(path: str, *, read_only: bool) -> peewee.Database:
    if read_only:
        database = peewee.SqliteDatabase(
            f"{Path(path).absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            pragmas={"cache_size": -64000, "temp_store": "memory", "query_only": 1},
        )
    else:
        database = peewee.SqliteDatabase(path, timeout=BUSY_TIMEOUT_S, pragmas=PRAGMAS)
    database.bind(TABLES)
    return database


def migrate(database: peewee.Database) -> list[str]:
    """Bring the schema up to date and return what was done, a line each.

    Numbered scripts in `migrations/` run once; a quantity that is new in the catalogue is given
    its number, and on PostgreSQL its column. Raises StorageError where the database cannot be
    opened or written, belongs to another program, or was prepared by a newer version.
    """
    with in_words(database):
        database.connect(reuse_if_open=True)
        runner = Runner(database, str(MIGRATIONS))
        _refuse_others(database, runner)
        with transaction(database):
            if not isinstance(database, peewee.SqliteDatabase):
                database.execute_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            done = list(runner.up())
            _number_quantities()
            if not isinstance(database, peewee.SqliteDatabase):
                added = add_columns(database, (quantity.name for quantity in QUANTITIES))
                done += [f"column {name}" for name in added]
            if done:
                create_views(database, present(database))
    return done


@contextlib.contextmanager
def reading(url: str) -> Iterator[peewee.Database]:
    """Open a database for reading as long as the block lasts.

    Raises StorageError where there is none, or one of another program or version.
    """
    database = open_database(url, read_only=True)
    name = name_of(database)
    if isinstance(database, peewee.SqliteDatabase) and not Path(name).is_file():
        raise StorageError(f"database {name}: there is no such file; DATABASE_URL names it")
    with in_words(database):
        database.connect()
        try:
            _refuse_others(database, Runner(database, str(MIGRATIONS)))
            if not is_current(database):
                raise StorageError(
                    f"database {name}: not prepared for this version; the recorder does that "
                    "when it starts"
                )
            yield database
        finally:
            database.close()


def is_current(database: peewee.Database) -> bool:
    """Tell whether a recorder of this version has prepared the database."""
    try:
        database.connect(reuse_if_open=True)
        pending = [m for m in Runner(database, str(MIGRATIONS)).status() if not m.applied]
        return not pending and not _unnumbered()
    except peewee.DatabaseError:
        return False


def transaction(database: peewee.Database) -> AbstractContextManager[Any]:
    """Return a write transaction: on SQLite one that holds the write lock from its first line.

    A transaction that first reads and then writes fails with "database is locked", without
    waiting, when another process has written in between.
    """
    if isinstance(database, peewee.SqliteDatabase):
        return cast(AbstractContextManager[Any], database.atomic("IMMEDIATE"))
    return cast(AbstractContextManager[Any], database.atomic())


@contextlib.contextmanager
def in_words(database: peewee.Database) -> Iterator[None]:
    """Turn the driver's errors into a StorageError that names the database."""
    try:
        yield
    except (peewee.DatabaseError, peewee.InterfaceError, OSError) as error:
        first = _first(error)
        raise StorageError(f"database {name_of(database)}: {first}{_remedy(first)}") from error


def name_of(database: peewee.Database) -> str:
    """Return how to call a database in a message: its file or its name."""
    name = str(database.database)
    if name.startswith("file://"):
        return unquote(name.removeprefix("file://").partition("?")[0])
    return name


def _refuse_others(database: peewee.Database, runner: Runner) -> None:
    newer = [m.name for m in runner.status() if m.path is None]
    if newer:
        raise StorageError(
            f"database {name_of(database)}: was prepared by a newer version ({newer[-1]}); "
            "update this program"
        )
    tables = set(database.get_tables())
    if not isinstance(database, peewee.SqliteDatabase):  # a server's database may be shared
        tables &= {table._meta.table_name for table in TABLES} | set(VIEWS)
    if tables and not runner.History.table_exists():
        raise StorageError(
            f"database {name_of(database)}: holds another program's tables "
            f"({', '.join(sorted(tables)[:3])}); move it away, then bring it in with "
            "python -m recorder import"
        )


def _unnumbered() -> list[str]:
    numbered = {row.name for row in QuantityNumber.select()}
    return [quantity.name for quantity in QUANTITIES if quantity.name not in numbered]


def _number_quantities() -> None:
    for name in _unnumbered():
        QuantityNumber.create(name=name)


def _first(error: BaseException) -> BaseException:
    """Return what happened before a rollback for which SQLite, on a full disk, left nothing."""
    while "cannot rollback" in str(error) and error.__context__:
        error = error.__context__
    return error


def _remedy(error: BaseException) -> str:
    text = str(error)
    if "unable to open" in text:
        return "; check that its directory exists and may be written"
    if "readonly" in text:
        return "; check who owns the file, -wal and -shm beside it, and the directory"
    if "disk is full" in text:
        return "; free some space, readings wait meanwhile"
    if "disk I/O error" in text:  # also where there is no room for the -shm beside the file
        return "; is the disk full, or does it fail?"
    if "locked" in text:
        return "; another program holds it"
    if "malformed" in text:
        return "; the file is damaged: put a backup in its place, bridges send what came since"
    if "not a database" in text:
        return "; DATABASE_URL names another program's file"
    return ""
