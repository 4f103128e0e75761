"""Fixtures: real parts, each on a free port and in a directory of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import peewee
import pytest

from history.database import migrate, open_database
from tests.parts import Part, free_port, listens, wait_until

# No deadline: the machine may be busy. The same examples each time where nobody looks on.
hypothesis.settings.register_profile(
    "project", deadline=None, derandomize=os.environ.get("CI") == "true"
)
hypothesis.settings.load_profile("project")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[peewee.Database]:
    """An empty SQLite database with the schema of today."""
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
