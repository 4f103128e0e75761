"""Fixtures: a browser, a client of a service, and what fills its history."""

from collections.abc import Callable, Iterator

import peewee
import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, expect, sync_playwright

from contract.readings import Reading
from history.readings_table import Writer
from tests.support.parts import CHROMIUM_OPTIONS, require
from tests.support.web import make_client, parts

ATTACK, PROXY = "evil.example", "meters.home.arpa"

expect.set_options(timeout=30_000)  # as long as wait_until: the machine may be busy


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


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of all modules here: each opens a context of its own.

    The names of test_origins.py and test_proxies.py lead it to this machine.
    """
    path = require("chromium")
    names = (ATTACK, f"*.{ATTACK}", PROXY)
    rules = ", ".join(f"MAP {name} 127.0.0.1" for name in names)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*CHROMIUM_OPTIONS, f"--host-resolver-rules={rules}"]
        )
        yield browser
        browser.close()
