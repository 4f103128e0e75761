"""The error of the history, and what the errors of SQLite and PostgreSQL mean: by their codes."""

import errno
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from contract.errors import MeterflowError


class StorageError(MeterflowError):
    """Raised when a database or a file of readings cannot be used.

    `transient` is true where waiting helps, as with a full disk or a server that is restarting.
    Otherwise a person has to act; `remedy` is what to do, where that is known.
    """

    def __init__(self, problem: str, *, remedy: str = "", transient: bool = False) -> None:
        super().__init__(f"{problem}; {remedy}" if remedy else problem)
        self.remedy = remedy
        self.transient = transient


class Problem(NamedTuple):
    """What a driver's error means: whether waiting helps, and what a person can do."""

    error: BaseException
    transient: bool = False
    remedy: str = ""


_HELD = (True, "another program holds it")
_SQLITE_PROBLEMS = {
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_PROTOCOL: _HELD,
    sqlite3.SQLITE_FULL: (True, "free some space; readings wait meanwhile"),
    # also raised when there is no space for the -shm beside the file
    sqlite3.SQLITE_IOERR: (True, "check whether the disk is full or failing"),
    sqlite3.SQLITE_CANTOPEN: (False, "check that its directory exists and can be written"),
    sqlite3.SQLITE_READONLY: (
        False,
        "check who owns the file, -wal and -shm beside it, and the directory",
    ),
    sqlite3.SQLITE_CORRUPT: (
        False,
        "the file is damaged: replace it with a backup; bridges send what came since",
    ),
    sqlite3.SQLITE_NOTADB: (
        False,
        "DATABASE_URL names another program's file, or the file is damaged: restore a backup",
    ),
}
_POSTGRESQL_PROBLEMS = {
    "08": (True, "check the server and the network"),
    "53100": (True, "free some space on the server; readings wait meanwhile"),
    "53": (True, "the server lacks memory, disk or free connections"),
    "55P03": _HELD,
    "57P": (True, "the server is starting or stopping"),
    "58": (True, "check the server's disk"),
    "40": (True, ""),
    "25006": (False, "the server is a read-only standby; name its primary in DATABASE_URL"),
    "28": (False, "check user and password in DATABASE_URL"),
    "3D000": (False, "create the database, or correct its name in DATABASE_URL"),
    "42501": (False, "grant the user of DATABASE_URL this right"),
}
"""By SQLSTATE, or by how one begins (its class); the longest match counts."""
_FULL_OR_FAILING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


def problem_of(error: BaseException) -> Problem:
    """Return what an error of a database means, by the codes that its driver reports."""
    found = list(_driver_errors(error))
    # Where SQLite has rolled back by itself, as on a full disk, our ROLLBACK fails with the generic
    # code: the error before it is the one that matters.
    specific = (e for e in found if getattr(e, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR)
    return _problem(next(specific, found[0] if found else error))


def _driver_errors(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the driver's errors behind an error, the latest first."""
    while error:
        if isinstance(error, sqlite3.Error) or hasattr(error, "sqlstate"):
            yield error
        error = error.__context__


def _problem(error: BaseException) -> Problem:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return Problem(error, *_SQLITE_PROBLEMS.get(code, (False, "")))
    if hasattr(error, "sqlstate"):
        return _postgresql_problem(error)
    if isinstance(error, OSError) and error.errno in _FULL_OR_FAILING:
        return Problem(error, True, "check whether the disk is full or failing")
    return Problem(error)


def _postgresql_problem(error: Any) -> Problem:
    if error.sqlstate is None:
        # libpq reports no code while it connects, but whether it was asked for a password: without
        # that, the server is away, starting, or was lost on the way.
        if getattr(error.pgconn, "used_password", False):
            return Problem(error, False, "check user, password and name in DATABASE_URL")
        return Problem(error, True, "check the server and the network")
    for length in (5, 3, 2):
        if known := _POSTGRESQL_PROBLEMS.get(error.sqlstate[:length]):
            return Problem(error, *known)
    return Problem(error)
