"""Fixtures: real parts, each on a free port and in a directory of its own."""

import os
import shutil
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

TESTS = Path(__file__).parent
LONGEST = (
    "web/test_openapi.py",
    "system/test_hostile_clients.py",
    "web/test_resilience.py",
    "web/test_access.py",
    "recorder/test_recorder.py",
    "web/test_proxies.py",
    "system/test_run.py",
    "web/test_socket_io.py",
    "recorder/test_group_replay.py",
    "web/test_history_page.py",
    "web/test_dashboard.py",
    "gateway_bridge/test_bus_line.py",
    "gateway_bridge/test_doctor.py",
    "web/test_live.py",
    "system/test_chaos.py",
    "gateway_bridge/test_replay.py",
    "web/test_origins.py",
    "gateway_bridge/test_bridge.py",
    "web/test_overview.py",
)
"""Files that take longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that all workers end together; then share the browser."""

    def turn(item: pytest.Item) -> int:
        file = item.path.relative_to(TESTS).as_posix()
        if file in LONGEST:
            return LONGEST.index(file)
        return len(LONGEST) + (not file.startswith("web/"))

    items.sort(key=turn)


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


@pytest.fixture(scope="session")
def empty_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema of today: a copy takes a tenth of the time of a new one."""
    path = tmp_path_factory.mktemp("empty") / "energy_meters.db"
    created = open_database(f"sqlite:///{path}")
    migrate(created)
    created.close()
    return path


@pytest.fixture
def database(
    request: pytest.FixtureRequest, empty_history: Path, tmp_path: Path
) -> Iterator[peewee.Database]:
    """An empty database with the schema of today: SQLite, or what the test asks for."""
    if getattr(request, "param", "sqlite") == "postgresql":
        opened = emptied(open_database(request.getfixturevalue("postgresql")))
    else:
        shutil.copy(empty_history, tmp_path)
        opened = open_database(f"sqlite:///{tmp_path}/energy_meters.db")
        opened.connect()
    yield opened
    opened.close()


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    """The port of a broker of this test alone."""
    port = free_port()
    with Part.module("broker", directory=tmp_path / "broker", MQTT_PORT=port):
        wait_until(lambda: listens(port), what="the broker")
        yield port
