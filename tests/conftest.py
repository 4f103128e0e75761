"""Fixtures: real parts, each on a free port and in a directory of its own."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import peewee
import pytest

from history.database import migrate, open_database
from tests.support.parts import Part, free_port, listens, wait_until
from tests.support.postgresql import emptied
from tests.support.postgresql import server as postgresql_server

# No deadline: the machine may be busy. The same examples each time where nobody looks on.
hypothesis.settings.register_profile(
    "project", deadline=None, derandomize=os.environ.get("CI") == "true"
)
hypothesis.settings.load_profile("project")

# Tests look at rows soon after their readings arrive.
os.environ["COMMIT_INTERVAL"] = "1"

# Tests must not meet the users of a service that runs from this directory.
os.environ["WEB_USERS_FILE"] = os.devnull

# What a test starts must receive Ctrl-C, also where the tests run in the background of a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of modules that define `DATABASES = BOTH` on each of them."""
    names = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "database" in metafunc.fixturenames and "database" not in names:
        kinds = getattr(metafunc.module, "DATABASES", ())
        if kinds:
            metafunc.parametrize("database", kinds, indirect=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL database."""
    with postgresql_server() as url:
        yield url


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[peewee.Database]:
    """An empty database with the schema of today: SQLite, or what the test asks for."""
    if getattr(request, "param", "sqlite") == "postgresql":
        opened = emptied(open_database(request.getfixturevalue("postgresql")))
    else:
        opened = open_database(f"sqlite:///{tmp_path}/energy_meters.db")
        migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    """The port of a broker of this test alone."""
    port = free_port()
    with Part.module("broker", directory=tmp_path / "broker", MQTT_PORT=port):
        wait_until(lambda: listens(port), what="the broker")
        yield port
