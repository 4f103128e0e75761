"""The history, read without holding up anybody: every query runs in a pool of native threads.

A query that ran in the hub would stop all browsers for as long as it takes; and greenlets that
share one thread would share one database connection. So each thread of the pool has its own.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

import peewee
from gevent.threadpool import ThreadPool

from history.database import exists, is_current, name_of, open_database, storage_errors
from history.errors import StorageError

T = TypeVar("T")

THREADS = 4


class Stored:
    """Asks the history; it may not be there yet, and comes when a recorder has made it."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url, read_only=True)
        self._pool = ThreadPool(THREADS)
        self._current = False

    def ask(self, query: Callable[[peewee.Database], T], *, empty: T) -> T:
        """Return what `query` returns, or `empty` while no recorder has made the database.

        The query must be done with the database when it returns. Raises StorageError.
        """
        answer: T | StorageError = self._pool.apply(self._ask, (query, empty))
        if isinstance(answer, StorageError):
            raise answer
        return answer

    def run(self, work: Callable[[], T]) -> T:
        """Do something laborious beside the hub; it must raise nothing."""
        result: T = self._pool.apply(work)
        return result

    def check(self) -> None:
        """Raise StorageError where the history cannot be read, or is not there yet."""
        if not self.ask(lambda _: True, empty=False):
            name = name_of(self._database)
            raise StorageError(f"database {name}: not there yet; is the recorder running?")

    def close(self) -> None:
        """Close the connection of each thread of the pool."""
        together = threading.Barrier(max(self._pool.size, 1))
        for task in [self._pool.spawn(self._close_own, together) for _ in range(together.parties)]:
            task.get()
        self._pool.kill()

    def _close_own(self, together: threading.Barrier) -> None:
        together.wait(5)
        self._database.close()

    def _ask(self, query: Callable[[peewee.Database], T], empty: T) -> T | StorageError:
        """Return the answer or the error: the pool would print a traceback of what is raised."""
        try:
            return self._ask_once(query, empty)
        except StorageError:  # a server that was started anew has dropped our connection
            self._database.close()
        try:
            return self._ask_once(query, empty)
        except StorageError as error:
            self._database.close()
            return error

    def _ask_once(self, query: Callable[[peewee.Database], T], empty: T) -> T:
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
                f"database {name_of(self._database)}: made by another version; "
                "start the recorder of this one"
            )
        return True
