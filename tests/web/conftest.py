"""Fixtures: a browser, a client of a service, and what fills its history."""

from collections.abc import Callable, Iterator

import peewee
import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, sync_playwright

from contract.readings import Reading
from history.readings_table import Writer
from tests.support.parts import CHROMIUM_OPTIONS, require
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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()
