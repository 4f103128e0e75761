"""SQL on SQLite and PostgreSQL: statements that both run, and everything in which they differ.

Statements are text with a `?` for each value; values are always passed as parameters. Building a
statement with peewee for every batch or chart takes longer than running it.
"""

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
import peewee

from history.errors import StorageError
from service.errors import SettingsError
from service.files import reserve_log, sync, sync_content
from service.redaction import redacted_url

Row = tuple[Any, ...]
_FIRST = itemgetter(0)

BUSY_TIMEOUT_S = 5
VACUUM_PAGES = 200
"""Pages that one step of `give_back` frees."""
_SPARE_PAGES = 1000
_FIGURES = 90
_WRITER_PRAGMAS = {
    # These two take effect only before the first table. A commit writes whole pages, and a roll-up
    # row changes a page for each quantity: pages of half the usual size halve what is written.
    "page_size": 2048,
    "auto_vacuum": "incremental",
    "journal_mode": "wal",
    "synchronous": "normal",
    "cache_size": -16000,
    "foreign_keys": 1,
    "temp_store": "memory",
    "journal_size_limit": 67_108_864,
    # Roll-ups change one page per series again and again: checkpoint those pages together.
    "wal_autocheckpoint": 8000,
}
_READER_PRAGMAS = {"cache_size": -8000, "temp_store": "memory", "query_only": 1}
_MIGRATION_LOCK = 6_317_501
"""Key of the PostgreSQL advisory lock that one migrating program holds; an arbitrary constant."""


_WRAPPER = peewee.__exception_wrapper__  # type: ignore[attr-defined]  # not in the stubs
"""Turns the driver's errors into peewee's, where the driver is called directly."""


# -- running statements ------------------------------------------------------------------------


def fetch(database: peewee.Database, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
    """Run a statement and return its rows."""
    cursor = database.execute_sql(_native(database, statement), parameters)
    with _WRAPPER:  # the driver reads most rows only now, and may find them damaged
        rows: list[Row] = cursor.fetchall()
    return rows


def fetch_named(
    database: peewee.Database, statement: str, parameters: Sequence[Any] = ()
) -> tuple[tuple[str, ...], list[Row]]:
    """Run a statement and return the names of its columns, and its rows."""
    cursor = database.execute_sql(_native(database, statement), parameters)
    with _WRAPPER:
        rows: list[Row] = cursor.fetchall()
    return tuple(map(_FIRST, cursor.description)), rows


def fetch_one(
    database: peewee.Database, statement: str, parameters: Sequence[Any] = ()
) -> Row | None:
    """Run a statement and return its first row, or None without one."""
    cursor = database.execute_sql(_native(database, statement), parameters)
    with _WRAPPER:
        row: Row | None = cursor.fetchone()
    return row


def run(database: peewee.Database, statement: str, parameters: Sequence[Any] = ()) -> int:
    """Run a statement that changes rows and return how many it changed."""
    return int(database.execute_sql(_native(database, statement), parameters).rowcount)


def run_many(database: peewee.Database, statement: str, rows: Sequence[Sequence[Any]]) -> int:
    """Run a statement for each of `rows`, the fastest way; return how many rows it changed."""
    if not rows:
        return 0
    cursor = database.cursor()
    with _WRAPPER:
        cursor.executemany(_native(database, statement), rows)
    return max(cursor.rowcount, 0)


def transaction(database: peewee.Database) -> AbstractContextManager[Any]:
    """Return a write transaction; on SQLite it holds the write lock from its first statement.

    An SQLite transaction that reads before it writes fails with "database is locked", without
    waiting, when another process has written in between.
    """
    return dialect_of(database).transaction()


def placeholders(values: Collection[object]) -> str:
    """Return what stands between the parentheses of `IN (...)` for these values."""
    return ", ".join("?" * len(values)) or "NULL"


def _native(database: peewee.Database, statement: str) -> str:
    return statement if database.param == "?" else statement.replace("?", database.param)


# -- what differs ------------------------------------------------------------------------------


class Slices(NamedTuple):
    """Equal slices of the keys from `begin` to before `end`, which are `width` apart.

    Their number is `most`, or that of the keys where those are fewer.
    """

    begin: int
    end: int
    most: int
    width: int = 1

    @property
    def keys(self) -> int:
        """The number of keys."""
        return max(-(-(self.end - self.begin) // self.width), 1)

    @property
    def number(self) -> int:
        """The number of slices."""
        return min(self.most, self.keys)


class Dialect(ABC):
    """One kind of database, for one database."""

    schemes: ClassVar[tuple[str, ...]]
    """How a URL of this kind begins."""
    for_update: ClassVar[str]
    """Ends a SELECT of rows that the same transaction is about to change."""
    thousandths: ClassVar[str]
    """A parameter of at most three decimals in whole thousandths."""
    columns_on_demand: ClassVar[bool]
    """Whether a column without values costs space, so that it is added with its first value."""
    shared: ClassVar[bool]
    """Whether other programs may keep tables in the same database."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database

    @classmethod
    @abstractmethod
    def open(cls, url: str, *, read_only: bool) -> peewee.Database:
        """Return the database of a URL, not yet connected; raises SettingsError."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the database in a message: its file, or its name on the server."""

    @property
    @abstractmethod
    def file(self) -> Path | None:
        """The file of the database, None on a server."""

    @property
    @abstractmethod
    def schema_version(self) -> int:
        """A number that changes when another connection changes the schema."""

    @property
    @abstractmethod
    def data_version(self) -> int | None:
        """A number that changes when another connection commits; None where there is no such."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Any]:
        """Return a write transaction."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Any]:
        """Return a transaction whose queries all see the database as of one moment."""

    @abstractmethod
    def fail_fast(self) -> None:
        """Make this thread's connection fail rather than wait for another program."""

    @abstractmethod
    def lock_migrations(self) -> None:
        """Let one program at a time migrate, until the transaction ends."""

    @abstractmethod
    def lock_meters(self, ids: Collection[int]) -> None:
        """Keep other writers away from these meters until the transaction ends."""

    @abstractmethod
    def iso_time(self, ts: str) -> str:
        """Return an expression that shows a column of epoch ms as ISO 8601 in UTC."""

    @abstractmethod
    def per_quantity(self, start: str, figures: str, condition: str, ids: Collection[int]) -> str:
        """Return a SELECT of `quantity`, `start` and these figures of `rollup r`.

        It has a row for each quantity `q` and value of `start`. The planner seeks once per
        quantity, independent of its statistics.
        """

    @abstractmethod
    def fetch_slices(
        self, source: str, parameters: Row, key: str, slices: Slices, figures: Sequence[str]
    ) -> list[list[Any]]:
        """Return columns: the numbers of the slices that have rows, and each of these figures.

        `source` is a table with a condition, the first figure one that only an empty slice lacks.
        """

    @abstractmethod
    def fetch_columns(
        self, columns: Sequence[str], source: str, parameters: Row, key: str
    ) -> list[list[Any]]:
        """Return columns of numbers in the order of a key, faster than row by row.

        `source` is a table with a condition.
        """

    @abstractmethod
    def prepare_log(self) -> None:
        """Prepare for a writer that stays: syncs then write little beside what is committed."""

    @abstractmethod
    def sync(self) -> None:
        """Wait until what is committed survives a power cut; raises OSError."""

    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Return the bytes that the database takes, and how many of them are free."""

    @abstractmethod
    def give_back(self) -> Iterator[int]:
        """Return free space to the file system step by step; yield the pages that are still free.

        Some pages stay free for the readings to come.
        """

    @abstractmethod
    def optimize(self) -> None:
        """Refresh the statistics of the query planner."""

    @abstractmethod
    def file_errors(self) -> list[str]:
        """Return what is damaged in the file, empty on a server, which checks its own files."""

    @abstractmethod
    def copy_to(self, path: Path) -> None:
        """Write a compact copy of the database, as of one moment, into a new file."""


class _Sqlite(Dialect):
    schemes = ("sqlite:",)
    for_update = ""  # the transaction holds the write lock of the file
    # CAST drops the fraction. The factor is four bits above 1000, more than a value and its product
    # can be too low, so that 0.001 to 1e12 thousandths come out whole. ROUND takes twice as long.
    thousandths = "CAST(? * 1000.00000000000045 AS INTEGER)"
    columns_on_demand = True
    shared = False

    @classmethod
    def open(cls, url: str, *, read_only: bool) -> peewee.Database:
        path = urlsplit(url).path[1:]
        if path in {"", ":memory:"}:
            raise SettingsError(f"DATABASE_URL: names no file (got {redacted_url(url)!r})")
        if not read_only:
            return peewee.SqliteDatabase(path, timeout=BUSY_TIMEOUT_S, pragmas=_WRITER_PRAGMAS)
        uri = f"{Path(path).absolute().as_uri()}?mode=ro"
        return peewee.SqliteDatabase(uri, uri=True, timeout=BUSY_TIMEOUT_S, pragmas=_READER_PRAGMAS)

    @property
    def name(self) -> str:
        name = str(self._database.database)
        if name.startswith("file://"):
            return unquote(name.removeprefix("file://").partition("?")[0])
        return name

    @property
    def file(self) -> Path:
        return Path(self.name)

    @property
    def schema_version(self) -> int:
        return self._pragma("schema_version")

    @property
    def data_version(self) -> int:
        return self._pragma("data_version")

    def transaction(self) -> AbstractContextManager[Any]:
        return cast(AbstractContextManager[Any], self._database.atomic("IMMEDIATE"))

    def snapshot(self) -> AbstractContextManager[Any]:
        return cast(AbstractContextManager[Any], self._database.atomic("DEFERRED"))

    def fail_fast(self) -> None:
        run(self._database, "PRAGMA busy_timeout = 0")

    def lock_migrations(self) -> None:
        pass  # the transaction holds the write lock

    def lock_meters(self, ids: Collection[int]) -> None:
        pass  # the transaction holds the write lock

    def iso_time(self, ts: str) -> str:
        return f"strftime('%Y-%m-%dT%H:%M:%fZ', {ts} / 1000.0, 'unixepoch')"

    def per_quantity(self, start: str, figures: str, condition: str, ids: Collection[int]) -> str:
        return (
            f"SELECT q.id AS quantity, {start} AS start, {figures} FROM quantities q "
            f"CROSS JOIN rollup r WHERE q.id IN ({_list(ids)}) AND {condition} "
            f"GROUP BY q.id, {start}"
        )

    def fetch_slices(
        self, source: str, parameters: Row, key: str, slices: Slices, figures: Sequence[str]
    ) -> list[list[Any]]:
        # GROUP BY would sort all rows: a seek for each slice takes half the time. A subquery has
        # one value, so its figures are packed; a function takes at most 100.
        figures = ["slice.value", *figures]
        parts = [figures[n : n + _FIGURES] for n in range(0, len(figures), _FIGURES)]
        packed = " || ".join(f"json_array({', '.join(part)})" for part in parts)
        begin, _, _, width = slices
        number, keys = slices.number, slices.keys
        first = f"(slice.value * {keys} + {number - 1}) / {number} * {width} + {begin}"
        end = f"((slice.value + 1) * {keys} + {number - 1}) / {number} * {width} + {begin}"
        [(text,)] = fetch(
            self._database,
            f"SELECT '[' || group_concat((SELECT {packed} FROM {source} "
            f"AND {key} >= {first} AND {key} < {end})) || ']' FROM json_each(?) slice",
            (*parameters, str([*range(number)])),
        )
        rows = orjson.loads(text if len(parts) == 1 else text.replace("][", ","))
        filled = (row for row in rows if row[1] is not None)
        return [[*column] for column in zip(*filled, strict=True)]

    def fetch_columns(
        self, columns: Sequence[str], source: str, parameters: Row, key: str
    ) -> list[list[Any]]:
        texts = ", ".join(f"'[' || group_concat(ifnull({name}, 'null')) || ']'" for name in columns)
        names = ", ".join(columns)
        return _unpacked(
            fetch(
                self._database,
                f"SELECT {texts} FROM (SELECT {names} FROM {source} ORDER BY {key})",
                parameters,
            )
        )

    def prepare_log(self) -> None:
        with self.transaction():
            reserve_log(self.file, self._pragma("wal_autocheckpoint"), self._pragma("page_size"))
        with contextlib.suppress(OSError):  # not every file system on a network can
            sync(self.file.parent)

    def sync(self) -> None:
        sync_content(self._log)

    def size(self) -> tuple[int, int]:
        log = self._log
        free = self._pragma("freelist_count") * self._pragma("page_size")
        return self.file.stat().st_size + (log.stat().st_size if log.exists() else 0), free

    def give_back(self) -> Iterator[int]:
        while True:
            free, pages = self._pragma("freelist_count"), self._pragma("page_count")
            if free <= max(_SPARE_PAGES, pages // 20):
                return
            # `execute` would free a single page: the pragma works row by row.
            connection = self._database.connection()
            connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            yield free

    def optimize(self) -> None:
        run(self._database, "PRAGMA optimize")

    def file_errors(self) -> list[str]:
        try:
            lines = [str(row[0]) for row in fetch(self._database, "PRAGMA integrity_check(20)")]
        except peewee.DatabaseError as error:
            return [str(error)]
        return [] if lines == ["ok"] else lines

    def copy_to(self, path: Path) -> None:
        # A connection of its own: the reader's refuses to write, also into other files.
        uri = f"{self.file.absolute().as_uri()}?mode=ro"
        with _WRAPPER, closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(path),))

    @property
    def _log(self) -> Path:
        return self.file.with_name(f"{self.file.name}-wal")

    def _pragma(self, name: str) -> int:
        return int(fetch(self._database, f"PRAGMA {name}")[0][0])


_POSTGRESQL_URL = (
    "DATABASE_URL: should be like postgresql://USER:PASSWORD@HOST/NAME; in user and password write "
    "@ as %40, / as %2F, : as %3A, ? as %3F, # as %23 and % as %25"
)


def _parse(url: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a database on a server and the options to connect; raises ValueError."""
    parts = urlsplit(url)
    name = parts.path[1:]
    if not name or "@" in name or parts.netloc.endswith("@") or parts.fragment:
        raise ValueError  # the last three: a password with / ? or #
    user, password = (text and unquote(text) for text in (parts.username, parts.password))
    given = {"user": user, "password": password, "host": parts.hostname, "port": parts.port}
    options = {option: value for option, value in given.items() if value}
    return name, options | dict(parse_qsl(parts.query, keep_blank_values=True))


class _Postgresql(Dialect):
    schemes = ("postgres", "psycopg3")
    for_update = "FOR UPDATE"
    thousandths = "ROUND(? * 1000)"
    columns_on_demand = False
    shared = True

    @classmethod
    def open(cls, url: str, *, read_only: bool) -> peewee.Database:  # noqa: ARG003  # rights do that
        if not find_spec("psycopg"):
            raise SettingsError(
                "DATABASE_URL: PostgreSQL needs the package psycopg: run make, which installs it"
            )
        try:
            name, options = _parse(url)
        except ValueError:  # its message may contain the password
            raise SettingsError(_POSTGRESQL_URL) from None
        from history.psycopg_adapter import PsycopgAdapter

        database = peewee.PostgresqlDatabase(None)
        database.psycopg2_adapter = database.psycopg3_adapter = PsycopgAdapter
        database.init(name, **options)
        return database

    @property
    def name(self) -> str:
        return str(self._database.database)

    @property
    def file(self) -> None:
        return None

    @property
    def schema_version(self) -> int:
        return 0  # all columns are there from the start

    @property
    def data_version(self) -> None:
        return None

    def transaction(self) -> AbstractContextManager[Any]:
        return cast(AbstractContextManager[Any], self._database.atomic())

    def snapshot(self) -> AbstractContextManager[Any]:
        atomic = self._database.atomic(isolation_level="REPEATABLE READ")
        return cast(AbstractContextManager[Any], atomic)

    def fail_fast(self) -> None:
        run(self._database, "SET lock_timeout = 1")

    def lock_migrations(self) -> None:
        fetch(self._database, f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")

    def lock_meters(self, ids: Collection[int]) -> None:
        if ids:
            statement = f"SELECT id FROM meters WHERE id IN ({_list(ids)}) ORDER BY id FOR UPDATE"
            fetch(self._database, statement)

    def iso_time(self, ts: str) -> str:
        utc = f"to_timestamp({ts} / 1000.0) AT TIME ZONE 'UTC'"
        return f'to_char({utc}, \'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\')'

    def per_quantity(self, start: str, figures: str, condition: str, ids: Collection[int]) -> str:
        return (
            "SELECT q.id AS quantity, each.* FROM quantities q CROSS JOIN LATERAL "
            f"(SELECT {start} AS start, {figures} FROM rollup r WHERE {condition} GROUP BY 1) each "
            f"WHERE q.id IN ({_list(ids)})"
        )

    def fetch_slices(
        self, source: str, parameters: Row, key: str, slices: Slices, figures: Sequence[str]
    ) -> list[list[Any]]:
        begin, end, _, width = slices
        rows = fetch(
            self._database,
            f"SELECT ({key} - {begin}) / {width} * {slices.number} / {slices.keys}, "
            f"{', '.join(figures)} FROM {source} AND {key} >= {begin} AND {key} < {end} "
            "GROUP BY 1 ORDER BY 1",
            parameters,
        )
        columns = zip(*rows, strict=True)
        numbers = [*next(columns, ())]
        floats = ([None if v is None else float(v) for v in column] for column in columns)
        return [numbers, *floats] if rows else []

    def fetch_columns(
        self, columns: Sequence[str], source: str, parameters: Row, key: str
    ) -> list[list[Any]]:
        texts = ", ".join(
            f"'[' || string_agg(COALESCE({name}::text, 'null'), ',') || ']'" for name in columns
        )
        names = ", ".join(columns)
        return _unpacked(
            fetch(
                self._database,
                f"SELECT {texts} FROM (SELECT {names} FROM {source} ORDER BY {key}) AS ordered",
                parameters,
            )
        )

    def prepare_log(self) -> None:
        pass  # the server does

    def sync(self) -> None:
        pass  # each commit waits for the disk

    def size(self) -> tuple[int, int]:
        return int(fetch(self._database, "SELECT pg_database_size(current_database())")[0][0]), 0

    def give_back(self) -> Iterator[int]:
        yield from ()  # autovacuum does that

    def optimize(self) -> None:
        pass  # autovacuum does that

    def file_errors(self) -> list[str]:
        return []

    def copy_to(self, path: Path) -> None:
        raise StorageError(
            f"{path}: backup copies SQLite files only",
            remedy=f"for PostgreSQL use pg_dump --format=custom --file=meterflow.dump {self.name}",
        )


def dialect_of(database: peewee.Database) -> Dialect:
    """Return what is particular to a database."""
    return (_Sqlite if isinstance(database, peewee.SqliteDatabase) else _Postgresql)(database)


def open_database(url: str, *, read_only: bool = False) -> peewee.Database:
    """Return the database of a URL such as sqlite:///energy_meters.db, not yet connected.

    An SQLite database opened read-only refuses writes and must exist. Raises SettingsError for a
    URL that names no database.
    """
    for kind in (_Sqlite, _Postgresql):
        if url.startswith(kind.schemes):
            return kind.open(url, read_only=read_only)
    raise SettingsError(
        "DATABASE_URL: should begin with sqlite:/// or postgresql:// "
        f"(got {url.partition(':')[0]!r})"
    )


def _unpacked(rows: list[Row]) -> list[list[Any]]:
    return [orjson.loads(text or "[]") for text in rows[0]]


def _list(ids: Collection[int]) -> str:
    return ", ".join(map(str, sorted(ids))) or "NULL"
