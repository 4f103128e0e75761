"""The overview in a real browser: the house, what is missing, and the site's own time."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from contract.meter_settings import MeterSettings
from contract.readings import Reading
from history.database import migrate, open_database
from history.meter_settings import change
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.web.test_dashboard import DESK, House

OpenPage = Callable[..., Page]
TARIFFS = 'currency = "CHF"\n[[tariff]]\nvalid_from = 2020-01-01\nprice = 0.5\n'
THREE_PHASES = {
    "voltage_l1": 231.2, "voltage_l2": 229.5, "voltage_l3": 230.7,
    "current_l1": 3.5, "current_l2": 1.25, "current_l3": 0.5,
    "power_l1": 800.0, "power_l2": 300.0, "power_l3": 134.0, "power": 1234.0,
}  # fmt: skip
SMALL_PHONE = {"width": 320, "height": 640}


def zone_at_noon() -> str:
    """Return a time zone where it is between 12:00 and 13:00."""
    hours = 12 - datetime.now(UTC).hour
    return "Etc/UTC" if hours == 0 else f"Etc/GMT{-hours:+d}"


def fill(path: Path, zone: str) -> None:
    """Store two days of a house that uses 12 % less today than yesterday, half of it in an oven."""
    now = datetime.now(UTC)
    midnight = now.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    ts, kwh, readings = midnight - timedelta(days=1), 100.0, []
    while ts < now:
        power = 1000.0 if ts < midnight else 880.0
        for name, share in (("main", 1.0), ("oven", 0.5)):
            values = {"power": share * power, "energy_import": round(share * kwh, 4)}
            readings.append(Reading(name, ts.astimezone(UTC), values))
        ts, kwh = ts + timedelta(minutes=5), kwh + power / 12_000
    database = open_database(f"sqlite:///{path}")
    migrate(database)
    Writer(database).write(readings)
    assert Rollups(database).run(float("inf"))
    change(database, "main", MeterSettings.model_validate({"role": "grid", "name": "Main meter"}))
    change(database, "oven", MeterSettings.model_validate({"parent": "main"}))
    database.close()


class Site(House):
    """A house with a history and tariffs, whose recorder can be stopped."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        mqtt_port, http_port = free_port(), free_port()
        super().__init__(mqtt_port, f"http://127.0.0.1:{http_port}")
        self.zone = zone_at_noon()
        fill(directory / "energy_meters.db", self.zone)
        (directory / "tariffs.toml").write_text(TARIFFS)
        settings = {
            "MQTT_PORT": mqtt_port,
            "HTTP_PORT": http_port,
            "DATABASE_URL": f"sqlite:///{directory}/energy_meters.db",
            "TARIFFS_FILE": directory / "tariffs.toml",
            "TIMEZONE": self.zone,
        }
        stack.enter_context(Part.module("broker", directory=directory / "broker", **settings))
        self.recorder = Part.module("recorder", directory=directory / "recorder", **settings)
        stack.enter_context(self.recorder)
        web = stack.enter_context(Part.module("web", directory=directory / "web", **settings))
        self.recorder.wait_for("connected")
        web.wait_for("connected")
        wait_until(lambda: listens(http_port), what="the web service")

    def answer(self) -> dict[str, Any]:
        """Return the house as REST has it."""
        with urlopen(f"{self.url}/site/") as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require("mosquitto")
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("site"), stack)


@pytest.fixture
def open_page(chromium: Browser, site: Site) -> Iterator[OpenPage]:
    """Open pages that must cause no error and no violation of the CSP, far from the site."""
    troubles: list[str] = []
    contexts: list[BrowserContext] = []

    def opened(path: str = "/", viewport: dict[str, int] = DESK, before: object = None) -> Page:
        context = chromium.new_context(
            viewport=viewport, locale="en-GB", timezone_id="Asia/Kathmandu"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        if callable(before):
            before(page)
        page.goto(site.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.mark.browser
def test_the_overview_shows_the_power_of_the_house_and_where_it_flows(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page()

    site.read("main", **THREE_PHASES)

    expect(page.locator("#house-power")).to_have_text("1.23")
    expect(page.locator("#house-unit")).to_have_text("kW")
    expect(page.locator("#house-direction")).to_have_text("importing")
    expect(page.locator("#house-phase")).to_have_text("most on L1: 800\N{NARROW NO-BREAK SPACE}W")

    site.read("main", power=-64_230.0, power_l1=-64_230.0, power_l2=0.0, power_l3=0.0)

    expect(page.locator("#house-power")).to_have_text("\N{MINUS SIGN}64.23")
    expect(page.locator("#house-direction")).to_have_text("exporting")


@pytest.mark.browser
def test_the_overview_shows_energy_and_cost_of_today_and_compares_them_with_yesterday(
    site: Site, open_page: OpenPage
) -> None:
    answer = site.answer()
    today = answer["today"]["now"]

    page = open_page(
        before=lambda page: page.route("**/site/", lambda route: route.fulfill(json=answer))
    )

    energy = f"{today['consumption']:.2f}"
    expect(page.locator("#house-energy")).to_have_text(energy)
    expect(page.locator("#house-energy-unit")).to_have_text("kWh")
    cost = Decimal(str(today["cost"])).quantize(Decimal("0.01"), ROUND_HALF_UP)  # as browsers do
    expect(page.locator("#house-cost")).to_have_text(re.compile(rf"^CHF.{cost}"))
    expect(page.locator("#house-comparison")).to_have_text(
        re.compile(r"^1[123].% less than yesterday by 1[23]:\d\d$")
    )
    oven = f"{today['meters']['oven']['imported']:.2f}"
    expect(page.locator('[data-meter="oven"] .today')).to_contain_text(oven)
    expect(page.locator('[data-meter="oven"] .today')).to_contain_text("CHF")


@pytest.mark.browser
def test_the_overview_draws_the_last_24_hours_of_the_house(open_page: OpenPage) -> None:
    page = open_page()

    chart = page.locator("#day-chart")
    expect(chart.locator("canvas")).to_be_visible()
    expect(chart).to_have_attribute("aria-label", re.compile(r"^Last 24 hours: .+ to 1\.00.kW$"))


@pytest.mark.browser
def test_a_phase_of_many_kilowatts_stays_in_the_unit_of_its_row(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page()

    site.read("main", **THREE_PHASES | {"power_l2": 64_230.0})

    value = page.locator('[data-meter="main"] [data-quantity="power_l2"]')
    expect(value).to_have_text("64,230")


@pytest.mark.browser
def test_a_meter_that_its_bridge_has_not_read_yet_is_not_shown_offline(
    site: Site, open_page: OpenPage
) -> None:
    site.say("meters/new/info", json.dumps({"name": "New", "interval": 1}))
    site.say("meters/new/status", "offline")
    page = open_page()
    expect(page.locator('[data-meter="new"] .state')).to_have_text("No reading yet")

    site.read("new", power=5.0)
    site.say("meters/new/status", "online")

    expect(page.locator('[data-meter="new"] .state')).to_have_text("Online")


@pytest.mark.browser
def test_times_are_those_of_the_site_and_not_of_the_browser(
    site: Site, open_page: OpenPage
) -> None:
    site.read("main", power=1.0)
    page = open_page("/meter/main?range=day")

    here = datetime.now(ZoneInfo(site.zone))
    first = page.locator("#readings tbody th").first
    expect(first).to_have_text(re.compile(rf"^({here:%H}|{here + timedelta(minutes=1):%H}):"))
    page.locator("#history canvas").wait_for()
    drawn = page.evaluate(
        "async () => (await import('/static/catalogue.js')).timeTick(Date.now() / 1000, 1)"
    )
    assert drawn.startswith(("12:", "13:"))


@pytest.mark.browser
def test_a_reading_stored_while_the_page_loads_stands_once_in_the_table(
    site: Site, open_page: OpenPage
) -> None:
    site.read("main", power=4321.0)

    def newest() -> float:
        with urlopen(f"{site.url}/readings/main?limit=1") as answer:
            return json.load(answer)[0]["power"]

    def between(route: Route) -> None:
        response = route.fetch()
        site.read("main", power=4322.0)
        wait_until(lambda: newest() == 4322.0, what="the reading in the history")
        page_routes.append(route)
        route.fulfill(response=response)

    page_routes: list[Route] = []
    page = open_page("/meter/main", before=lambda page: page.route("**/meters/", between, times=1))
    expect(page.locator("#readings tbody tr").first).to_contain_text("4,322")
    site.read("main", power=4323.0)
    expect(page.locator("#readings tbody tr").first).to_contain_text("4,323")

    assert page_routes
    assert page.locator("#readings tbody tr").filter(has_text="4,322").count() == 1


@pytest.mark.browser
def test_a_bridge_that_is_offline_is_named_with_what_is_lost(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page()

    site.say("meters/_bridge/cellar/status", "offline")

    expect(page.locator("#missing")).to_have_text(
        "Bridge cellar is offline: its meters are not read until it runs."
    )
    site.say("meters/_bridge/cellar/status", "online")
    expect(page.locator("#missing")).to_be_hidden()


@pytest.mark.browser
def test_the_command_for_a_first_value_names_the_broker_and_the_header_fits(
    chromium: Browser, tmp_path: Path
) -> None:
    settings = {"MQTT_PORT": free_port(), "HTTP_PORT": free_port()}
    page = chromium.new_page(viewport=SMALL_PHONE)
    with Part.module("web", directory=tmp_path, **settings):
        wait_until(lambda: listens(settings["HTTP_PORT"]), what="the web service")
        page.goto(f"http://127.0.0.1:{settings['HTTP_PORT']}/")
        expect(page.locator("#connection")).to_have_text("Broker offline")
        expect(page.locator("#command")).to_contain_text(f"-h 127.0.0.1 -p {settings['MQTT_PORT']}")
        expect(page.locator("#house")).to_be_hidden()
        assert page.evaluate("() => document.documentElement.scrollWidth") == 320
        page.get_by_role("button", name="Copy").click()
        expect(page.locator("#copy")).to_have_text("Copied")
    page.close()


@pytest.mark.browser
def test_a_dead_recorder_is_named_with_what_is_lost(site: Site, open_page: OpenPage) -> None:
    page = open_page(viewport=SMALL_PHONE)
    expect(page.locator("#connection")).to_have_text("Live")

    site.recorder.stop()

    expect(page.locator("#connection")).to_have_text("Recorder offline")
    expect(page.locator("#missing")).to_have_text(
        "Recorder main is offline: readings are not stored until it runs."
    )
    assert page.evaluate("() => document.documentElement.scrollWidth") == 320
