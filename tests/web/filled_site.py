"""A site with a known past, and pages of it in a browser that must cause no trouble."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, Request

from contract.meter_settings import MeterSettings
from contract.prices import KwhPrice
from contract.readings import Reading
from history import corrections, prices
from history.database import migrate, open_database
from history.meter_settings import change
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.web.test_dashboard import DESK, House

OpenPage = Callable[..., Page]
PHONE = {"width": 390, "height": 844}
SMALL_PHONE = {"width": 320, "height": 640}
ZONE = "Europe/Berlin"
DAYS = 75
PASSWORD = "correct horse"
TARIFFS = """
currency = "EUR"

[meters]
oven = "spot"

[[tariff]]
name = "household"
valid_from = 2020-01-01
price = 0.32
feed_in = 0.08

[[tariff.window]]
name = "night"
from = "22:00"
to = "06:00"
days = ["mon", "tue", "wed", "thu", "fri"]
price = 0.24

[[tariff.standing]]
name = "base price"
per = "month"
price = 12.5

[[tariff.tax]]
name = "VAT"
percent = 19

[[tariff]]
name = "household"
valid_from = 2999-01-01
price = 0.4

[[tariff]]
name = "spot"
valid_from = 2020-01-01
dynamic = true
markup = 0.1
"""


def midnight(days: int = 0) -> datetime:
    """Return the start of the site's today, or of a day some days later."""
    today = datetime.now(ZoneInfo(ZONE)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=days)).astimezone(ZoneInfo(ZONE))


def fill(url: str) -> None:
    """Store 75 days of a main meter at 1,000 W until now, with an oven that draws half of it.

    An hour of the oven yesterday is void. The prices of today are known from 10:00 on and those of
    tomorrow from 10:00 to 12:00 are not.
    """
    now = datetime.now(UTC)
    end = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    readings = []
    for step in range(DAYS * 96):
        ts, kwh = end - timedelta(minutes=15 * step), (DAYS * 96 - step) / 4
        values = {"power": 1000.0, "energy_import": kwh, "energy_export": 5.0, "voltage": 230.5}
        readings.append(Reading("main", ts, values))
        readings.append(Reading("oven", ts, {"power": 500.0, "energy_import": kwh / 2}))
    database = open_database(url)
    migrate(database)
    Writer(database).write(readings)
    assert Rollups(database).run(float("inf"))
    yesterday = midnight(-1).replace(hour=14)
    corrections.void(
        database, "oven", yesterday, yesterday + timedelta(hours=1), "the door was open"
    )
    assert Rollups(database).run(float("inf"))
    change(database, "main", MeterSettings.model_validate({"role": "grid", "name": "Main meter"}))
    change(database, "oven", MeterSettings.model_validate({"parent": "main"}))
    prices.store(database, "spot", dict(_prices()))
    database.close()


def _prices() -> Iterator[tuple[int, KwhPrice]]:
    for begin, hours in ((midnight().replace(hour=10), range(14)), (midnight(1), range(24))):
        for hour in hours:
            at = begin.replace(hour=begin.hour + hour)
            if begin != midnight(1) or hour not in {10, 11}:
                for quarter in range(4):
                    price = 0.10 + 0.01 * at.hour
                    yield int(at.timestamp()) + 900 * quarter, KwhPrice(price, None)


class FilledSite(House):
    """A broker, a recorder and a web service on that past; `settings` are further ones."""

    def __init__(self, directory: Path, stack: ExitStack, **settings: Any) -> None:
        mqtt_port, http_port = free_port(), free_port()
        super().__init__(mqtt_port, f"http://127.0.0.1:{http_port}")
        url = f"sqlite:///{directory}/energy_meters.db"
        fill(url)
        (directory / "tariffs.toml").write_text(TARIFFS)
        environment = {
            "MQTT_PORT": mqtt_port,
            "HTTP_PORT": http_port,
            "DATABASE_URL": url,
            "TARIFFS_FILE": directory / "tariffs.toml",
            "TIMEZONE": ZONE,
        } | settings
        stack.enter_context(Part.module("broker", directory=directory / "broker", **environment))
        recorder = Part.module("recorder", directory=directory / "recorder", **environment)
        stack.enter_context(recorder).wait_for("connected")
        web = Part.module("web", directory=directory / "web", **environment)
        stack.enter_context(web).wait_for("connected")
        wait_until(lambda: listens(http_port), what="the web service")


@contextmanager
def opener(chromium: Browser, url: str) -> Iterator[OpenPage]:
    """Open pages that must cause no error, no violation of the CSP and no foreign request.

    `expected` is part of a line of the console that a page may cause, `user` logs in first, and
    `before` gets the page before it opens.
    """
    troubles: list[str] = []

    def note(text: str, expected: str) -> None:
        if not (expected and expected in text):
            troubles.append(text)

    def note_request(request: Request) -> None:
        asked = urlsplit(request.url)
        if asked.scheme not in {"data", "blob"} and asked.netloc != urlsplit(url).netloc:
            troubles.append(f"foreign request: {request.url}")

    with ExitStack() as contexts:

        def opened(
            path: str = "/",
            viewport: dict[str, int] = DESK,
            locale: str = "en-GB",
            expected: str = "",
            user: str = "",
            before: Callable[[Page], object] = id,
            **options: Any,
        ) -> Page:
            context = chromium.new_context(
                viewport=viewport, locale=locale, timezone_id="Asia/Kathmandu", **options
            )
            contexts.callback(context.close)
            page = context.new_page()
            page.on("console", lambda line: note(f"{line.type}: {line.text}", expected))
            page.on("pageerror", lambda error: note(f"error: {error}", expected))
            page.on("request", note_request)
            before(page)
            if user:
                page.goto(f"{url}/login?next={quote(path)}")
                page.locator('[name="name"]').fill(user)
                page.locator('[name="password"]').fill(PASSWORD)
                page.locator('[type="submit"]').click()
            else:
                page.goto(url + path)
            return page

        yield opened
    assert troubles == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilledSite]:
    require("mosquitto")
    with ExitStack() as stack:
        yield FilledSite(tmp_path_factory.mktemp("site"), stack)


@pytest.fixture
def open_page(chromium: Browser, site: FilledSite) -> Iterator[OpenPage]:
    with opener(chromium, site.url) as opened:
        yield opened


def fits(page: Page) -> bool:
    """Return whether a page is no wider than its window."""
    return page.evaluate(
        "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
