"""A PostgreSQL server for the tests: a new cluster in a directory of its own, on a free port."""

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


@contextmanager
def server() -> Iterator[str]:
    """Run a server and yield the URL of a database.

    PostgreSQL refuses to run as root; then it runs as the user that Debian's package brings.
    """
    initdb, postgres = _program("initdb"), _program("postgres")
    user = "postgres" if os.getuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="meterflow-postgresql-"))
    if user:
        shutil.chown(directory, user)
    port = free_port()
    cluster = directory / "cluster"
    subprocess.run(
        [initdb, "-D", cluster, "--auth=trust", "--username=tests", "--no-sync", "-E", "UTF8"],
        user=user,
        cwd=directory,
        check=True,
        capture_output=True,
    )
    rules = cluster / "pg_hba.conf"
    rules.write_text(f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": directory}
    options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    options |= {"log_destination": "stderr", "shared_buffers": "32MB", "jit": "off"}
    settings = [f"--{name}={value}" for name, value in options.items()]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [postgres, "-D", cluster, *settings], user=user, cwd=directory, stdout=log, stderr=log
        )
    try:
        url = f"postgresql://tests@127.0.0.1:{port}/postgres"
        wait_until(lambda: _accepts(url), what="PostgreSQL")
        yield url
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(20)
        shutil.rmtree(directory)


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
