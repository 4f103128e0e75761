"""axe-core finds nothing on any page, in either theme."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from contract.readings import Reading
from history.database import migrate, open_database
from history.readings_table import Writer
from tests.support.parts import Part, free_port, listens, wait_until
from web.pages import VIEWS

ADDRESSES = [*(view.path for view in VIEWS), "/meter/house", "/login", "/nowhere"]
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a web service whose history has two days of a meter."""
    directory = tmp_path_factory.mktemp("site")
    database = open_database(f"sqlite:///{directory}/energy_meters.db")
    migrate(database)
    now = datetime.now(UTC)
    Writer(database).write(
        Reading(
            "house",
            now - timedelta(minutes=minute),
            {
                "power": 800.0,
                "power_l1": 500.0,
                "power_l2": 300.0,
                "voltage_l1": 230.0,
                "energy_import": 1000.0 - minute / 60,
            },
        )
        for minute in range(2880, 0, -5)
    )
    database.close()
    ports = {"MQTT_PORT": free_port(), "HTTP_PORT": free_port()}
    with Part.module("web", directory=directory, **ports):
        wait_until(lambda: listens(ports["HTTP_PORT"]), what="the web service")
        yield f"http://127.0.0.1:{ports['HTTP_PORT']}"


@pytest.mark.browser
@pytest.mark.parametrize("address", ADDRESSES)
def test_axe_finds_nothing(chromium: Browser, url: str, address: str) -> None:
    with closing(chromium.new_context(viewport={"width": 1280, "height": 800})) as context:
        page = context.new_page()
        page.goto(url + address, wait_until="networkidle")
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)

            found = Axe().run(page)

            assert found.violations_count == 0, f"{theme}: {found.generate_report()}"
