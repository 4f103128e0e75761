"""Fixtures: a client of a service, and what fills its history."""

from collections.abc import Callable, Iterator

import peewee
import pytest
from flask.testing import FlaskClient

from contract.readings import Reading
from history.readings_table import Writer
from tests.support.web import make_client, parts


@pytest.fixture
def client(database: peewee.Database) -> Iterator[FlaskClient]:
    """A client of a service with an empty history."""
    opened = make_client(f"sqlite:///{database.database}")
    yield opened
    parts(opened).history.close()


@pytest.fixture
def store(client: FlaskClient, database: peewee.Database) -> Callable[..., None]:
    """Put readings into the history, as a recorder does."""
    assert client

    def write(*readings: Reading) -> None:
        Writer(database).write(readings)

    return write
