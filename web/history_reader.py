"""Reading the history without blocking the event loop: queries run in a pool of native threads.

A query in gevent's hub stops all browsers until it ends. Each thread of the pool has a connection
of its own. On SQLite a query of a few rows by their key runs in the hub: it takes 0.05 ms, waking a
thread up to 0.3 ms. Greenlets do not switch within a query, so that they can share a connection.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import gevent
import peewee
from gevent.threadpool import ThreadPool

from history.database import exists, is_current, name_of, open_database, storage_errors
from history.dialect import dialect_of, fetch_one
from history.errors import StorageError

T = TypeVar("T")

THREADS = 4
MOST_KEPT = 100
"""Results that are kept in memory, each of a few rows."""
CHECKED_WITHIN_S = 1.0
CLOSED_WITHIN_S = 2.0


class HistoryReader:
    """Queries the history, which may not exist yet: a recorder creates it."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url, read_only=True)
        self._dialect = dialect_of(self._database)
        self._is_file = self._dialect.file is not None
        self._results: dict[Hashable, Any] = {}
        self._version: int | None = None
        self._pool, self._checks = ThreadPool(THREADS), ThreadPool(1)
        self._current = False

    def query(self, query: Callable[[peewee.Database], T], *, empty: T) -> T:
        """Return the result of `query`, or `empty` while the database does not exist.

        The query must not use the database after it returns. Raises StorageError.
        """
        result: T | StorageError = self._pool.apply(self._query, (query, empty))
        if isinstance(result, StorageError):
            raise result
        return result

    def query_now(self, query: Callable[[peewee.Database], T], *, key: Hashable, empty: T) -> T:
        """Return the same for a query of a few rows by their key, faster on SQLite.

        Its result is kept under `key` until a commit changes the file: clients poll.
        """
        if self._current and self._is_file:
            try:
                return self._kept(query, key)
            except peewee.DatabaseError:  # such as a file that another program has locked
                self._database.close()
        return self.query(query, empty=empty)

    def _kept(self, query: Callable[[peewee.Database], T], key: Hashable) -> T:
        if self._database.connect(reuse_if_open=True):
            self._dialect.fail_fast()
            self._results.clear()  # versions of two connections cannot be compared
        version = self._dialect.data_version
        if version != self._version or len(self._results) > MOST_KEPT:
            self._results.clear()
            self._version = version
        if key not in self._results:
            self._results[key] = query(self._database)
        result: T = self._results[key]
        return result

    def run(self, work: Callable[[], T]) -> T:
        """Run other long work in a thread of the pool; it must not raise."""
        result: T = self._pool.apply(work)
        return result

    def check(self) -> None:
        """Query the history, in a thread that no other query can occupy.

        Raises StorageError where it does not exist, cannot be read, or takes too long to respond.
        """
        name = name_of(self._database)
        result: bool | StorageError = StorageError(
            f"database {name}: no response within {CHECKED_WITHIN_S:g} s",
            remedy="check the server and its disk",
            transient=True,
        )
        with gevent.Timeout(CHECKED_WITHIN_S, False):
            result = self._checks.apply(self._query, (_has_meters, None))
        if isinstance(result, StorageError):
            raise result
        if result is None:
            raise StorageError(f"database {name}: does not exist yet; is the recorder running?")

    def close(self) -> None:
        """Close the connection of each thread; one that waits for the database keeps its own."""
        with gevent.Timeout(CLOSED_WITHIN_S, False):
            for pool in (self._pool, self._checks):
                together = threading.Barrier(max(pool.size, 1))
                tasks = [pool.spawn(self._close_own, together) for _ in range(together.parties)]
                for task in tasks:
                    task.get()
                pool.kill()
        self._database.close()

    def _close_own(self, together: threading.Barrier) -> None:
        together.wait(5)
        self._database.close()

    def _query(self, query: Callable[[peewee.Database], T], empty: T) -> T | StorageError:
        """Return the result or the error: the pool would print a traceback of a raised error."""
        try:
            return self._query_once(query, empty)
        except StorageError:  # a database server that was restarted has dropped our connection
            self._database.close()
        try:
            return self._query_once(query, empty)
        except StorageError as error:
            self._database.close()
            return error

    def _query_once(self, query: Callable[[peewee.Database], T], empty: T) -> T:
        with storage_errors(self._database):
            self._current = self._current or self._is_prepared()
            if not self._current:
                return empty
            self._database.connect(reuse_if_open=True)
            return query(self._database)

    def _is_prepared(self) -> bool:
        if not exists(self._database):
            return False
        self._database.connect(reuse_if_open=True)
        if "readings_raw" not in self._database.get_tables():
            return False
        if not is_current(self._database):
            raise StorageError(
                f"database {name_of(self._database)}: has the tables of another version; "
                "start the recorder of this version, which migrates them"
            )
        return True


def _has_meters(database: peewee.Database) -> bool:
    return fetch_one(database, "SELECT 1 FROM meters LIMIT 1") is not None
