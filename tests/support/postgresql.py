"""A PostgreSQL server for the tests: a new cluster in a directory of its own, on a free port."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peewee
import psycopg
import pytest

from history.database import is_current, migrate
from history.tables import TABLES
from tests.support.parts import free_port, require, wait_until

BOTH = ("sqlite", "postgresql")
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
"""These mark a test for one of them."""

GUARDED = "guarded"
"""A role that needs a password, once a test has created it; the others need none."""
_DEBIAN = Path("/usr/lib/postgresql")
_INITDB = ("--auth=trust", "--username=tests", "--no-sync", "-E", "UTF8")
_SWITCH = ("off", "on")


class Server:
    """A server with a new cluster, and the URL of a database in it.

    PostgreSQL refuses to run as root; then it runs as the user that Debian's package brings.
    """

    def __init__(self, directory: Path, *, synchronous: bool) -> None:
        initdb, self._postgres = _program("initdb"), _program("postgres")
        self._user = "postgres" if os.getuid() == 0 else None
        self._directory = directory
        if self._user:
            shutil.chown(directory, self._user)
        self._cluster = directory / "cluster"
        subprocess.run(
            [initdb, "-D", self._cluster, *_INITDB],
            user=self._user,
            cwd=directory,
            check=True,
            capture_output=True,
        )
        rules = self._cluster / "pg_hba.conf"
        rules.write_text(f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        port = free_port()
        options = {"port": port, "listen_addresses": "127.0.0.1"}
        options |= {"unix_socket_directories": directory, "log_destination": "stderr"}
        options |= {"shared_buffers": "32MB", "jit": "off", "fsync": "off"}
        options |= dict.fromkeys(("full_page_writes", "synchronous_commit"), _SWITCH[synchronous])
        self._settings = [f"--{name}={value}" for name, value in options.items()]
        self.url = f"postgresql://tests@127.0.0.1:{port}/postgres"
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        with (self._directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._postgres, "-D", self._cluster, *self._settings],
                user=self._user,
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: _accepts(self.url), what="PostgreSQL")

    def signal(self, number: int) -> None:
        """Send a signal to all processes of the server."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)

    def kill(self) -> None:
        """Kill all processes of the server."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stop the server."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(20)


@contextmanager
def running(*, synchronous: bool = False) -> Iterator[Server]:
    """Run a server; `synchronous`: what is committed survives when it is killed."""
    directory = Path(tempfile.mkdtemp(prefix="meterflow-postgresql-"))
    it = Server(directory, synchronous=synchronous)
    try:
        yield it
    finally:
        it.stop()
        shutil.rmtree(directory)


@contextmanager
def server() -> Iterator[str]:
    """Run a server and yield the URL of a database."""
    with running() as it:
        yield it.url


def emptied(database: peewee.Database) -> peewee.Database:
    """Return a database with the schema of today and nothing in it: faster than a new one."""
    if not is_current(database):
        migrate(database)
    tables = ", ".join(table for table in TABLES if table != "quantities")
    database.execute_sql(f"TRUNCATE {tables} RESTART IDENTITY")
    return database


def _accepts(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:  # it listens a little before it is ready
        return False
    return True


def _program(name: str) -> str:
    for path in sorted(_DEBIAN.glob(f"*/bin/{name}"), reverse=True):
        return str(path)
    return require(name)
