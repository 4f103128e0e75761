"""The overview in a real browser: the house, what is missing, and the site's own time."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
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
WALL = {"width": 1920, "height": 1080}
LEAST_HERO_PX = 160


def hundredths(value: float) -> Decimal:
    """Return a value rounded as browsers do."""
    return Decimal(str(value)).quantize(Decimal("0.01"), ROUND_HALF_UP)


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

    def opened(
        path: str = "/",
        viewport: dict[str, int] = DESK,
        before: object = None,
        locale: str = "en-GB",
    ) -> Page:
        context = chromium.new_context(
            viewport=viewport, locale=locale, timezone_id="Asia/Kathmandu"
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

    energy = str(hundredths(today["consumption"]))
    expect(page.locator("#house-energy")).to_have_text(energy)
    expect(page.locator("#house-energy-unit")).to_have_text("kWh")
    cost = hundredths(today["cost"])
    expect(page.locator("#house-cost")).to_have_text(re.compile(rf"^CHF.{cost}"))
    expect(page.locator("#house-comparison")).to_have_text(
        re.compile(r"^1[123]% less than yesterday by 1[23]:\d\d$")
    )
    oven = str(hundredths(today["meters"]["oven"]["imported"]))
    expect(page.locator('#cards [data-meter="oven"] .today')).to_contain_text(oven)
    expect(page.locator('#cards [data-meter="oven"] .today')).to_contain_text("CHF")


@pytest.mark.browser
def test_the_overview_draws_the_last_24_hours_of_the_house(open_page: OpenPage) -> None:
    page = open_page()

    chart = page.locator("#day-chart")
    expect(chart.locator(".line")).to_be_attached()
    expect(chart).to_have_attribute("aria-label", re.compile(r"^Last 24 hours: .+ to 1\.00.kW$"))


@pytest.mark.browser
def test_a_meter_that_its_bridge_has_not_read_yet_is_not_shown_offline(
    site: Site, open_page: OpenPage
) -> None:
    site.say("meters/new/info", json.dumps({"name": "New", "interval": 1}))
    site.say("meters/new/status", "offline")
    page = open_page()
    expect(page.locator('#cards [data-meter="new"] .state')).to_have_text("No reading yet")

    site.read("new", power=5.0)
    site.say("meters/new/status", "online")

    expect(page.locator('#cards [data-meter="new"] .state')).to_have_text("Online")


@pytest.mark.browser
def test_times_are_those_of_the_site_and_not_of_the_browser(
    site: Site, open_page: OpenPage
) -> None:
    site.read("main", power=1.0)
    page = open_page("/meter/main")
    page.locator("#newest summary").click()

    here = datetime.now(ZoneInfo(site.zone))
    first = page.locator("#readings tbody th").first
    expect(first).to_have_text(re.compile(rf"^({here:%H}|{here + timedelta(minutes=1):%H}):"))
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
    page.locator("#newest summary").click()
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


TREE = {"role_is_assumed": False, "billing": "per_phase", "online": True, "children": []}


def branch(
    meter_id: str, role: str, *children: dict[str, Any], rest: float | None = None, **today: float
) -> dict[str, Any]:
    """Return a meter as GET /site/ has it."""
    energy = {"imported": 1.0, "exported": 0.0, "cost": 0.5, "rest": rest} | today
    more = {"power": None, "rest": None, "today": energy, "children": list(children)}
    return TREE | {"meter_id": meter_id, "name": meter_id.title(), "role": role} | more


def with_site(
    *meters: dict[str, Any], notes: Sequence[dict[str, Any]] = ()
) -> Callable[[Page], None]:
    """Return what lets a page have a house of these meters."""
    powers = dict.fromkeys(("consumption", "grid", "production", "storage", "consumers", "rest"))
    house = {
        "ts": datetime.now(UTC).isoformat(), "timezone": "Etc/UTC", "currency": "EUR",
        "measured_by": "grid", "power": powers, "today": None, "meters": meters, "notes": notes,
    }  # fmt: skip
    return lambda page: page.route("**/site/", lambda route: route.fulfill(json=house))


@pytest.mark.browser
def test_each_meter_has_a_dot_and_a_lost_one_a_sentence(site: Site, open_page: OpenPage) -> None:
    site.say("meters/pump/status", "online")
    site.read("pump", power=50.0)
    page = open_page()
    dot = page.locator('#house-dots [data-meter="pump"]')
    expect(dot.get_by_role("link", name="pump: Online")).to_be_visible()
    expect(page.locator("#house-dots li")).to_have_count(
        page.locator("#cards .card:not(.rest)").count()
    )

    site.say("meters/pump/status", "offline")

    expect(dot.get_by_role("link", name="pump: Offline")).to_be_visible()
    expect(page.locator("#trouble")).to_contain_text("pump: offline. Check supply and wiring")
    expect(page.locator("#summary")).to_have_text(re.compile(r"^\d of \d meters online$"))
    expect(page).to_have_title(re.compile(r"^\d not online · Meterflow$"))
    site.say("meters/pump/status", "")
    site.say("meters/pump/reading", "")


@pytest.mark.browser
def test_what_does_not_fit_is_noted_with_the_page_where_one_acts(open_page: OpenPage) -> None:
    of_main = {"meter_id": "main", "text": "", "other": None}
    page = open_page(
        before=with_site(
            branch("main", "grid"),
            notes=[
                of_main | {"kind": "children_exceed", "kwh": 0.6},
                of_main | {"kind": "no_price", "kwh": 5.0},
                of_main | {"kind": "new", "text": "it hums", "kwh": None},
            ],
        )
    )
    notes = page.locator("#notes li")

    expect(notes).to_have_count(3)
    expect(notes.first).to_contain_text(re.compile(r"^Main: the meters below it .* 0\.60.kWh more"))
    link = notes.first.get_by_role("link", name="Settings")
    expect(link).to_have_attribute("href", "/view/meters?meter=main")
    expect(notes.nth(1)).to_contain_text(re.compile(r"5\.00.kWh since yesterday have no price"))
    expect(notes.nth(1).get_by_role("link")).to_have_attribute("href", "/view/prices")
    expect(notes.nth(2)).to_contain_text("Main: it hums")


@pytest.mark.browser
def test_a_card_has_one_bar_of_its_phases_and_names_the_heaviest(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page()

    site.read("main", power_l1=200.0, power_l2=-900.0, power_l3=100.0, power=-600.0)

    shown = page.locator('#cards [data-meter="main"]')
    expect(shown.locator(".most")).to_have_text(
        "most on L2: \N{MINUS SIGN}900\N{NARROW NO-BREAK SPACE}W"
    )
    bar = shown.locator(".phase-bar")
    l1, l2 = (bar.locator(f'[data-line="{line}"]').bounding_box() for line in ("l1", "l2"))
    assert l1
    assert l2
    assert l2["x"] < l1["x"], "what is exported lies left of zero"
    assert 4 < l2["width"] / l1["width"] < 5
    expect(bar).to_have_attribute("aria-label", re.compile("^L1 200.W, L2 .900.W, L3 100.W$"))


@pytest.mark.browser
def test_a_house_with_production_has_a_picture_of_its_flow_and_of_what_is_not_measured(
    site: Site, open_page: OpenPage
) -> None:
    roof, oven = branch("roof", "production"), branch("oven", "consumer")
    page = open_page(before=with_site(branch("main", "grid", oven, roof, rest=0.25)))
    expect(page.locator("#flow")).to_be_visible()

    site.read("main", power=-1000.0)
    site.read("roof", power=-3000.0)
    site.read("oven", power=1600.0)

    expect(page.locator(".flows.sources li")).to_have_text(["Roof3.00\N{NARROW NO-BREAK SPACE}kW"])
    expect(page.locator(".flows.sinks li")).to_have_text(
        [
            "Oven1.60\N{NARROW NO-BREAK SPACE}kW",
            "Not measured400\N{NARROW NO-BREAK SPACE}W",
            "Main1.00\N{NARROW NO-BREAK SPACE}kW",
        ]
    )
    expect(page.locator(".flow-house")).to_have_text(
        "The house uses 2.00\N{NARROW NO-BREAK SPACE}kW"
    )
    heights = page.locator("#flow-picture rect").evaluate_all(
        "all => all.map(each => Number(each.getAttribute('height')))"
    )
    roof_px, oven_px, rest_px, grid_px, house_px = heights
    assert roof_px == pytest.approx(oven_px + rest_px + grid_px)
    assert house_px == pytest.approx(roof_px)
    rest = page.locator('[data-rest="main"]')
    expect(rest.locator(".power")).to_have_text("400W")
    expect(rest.locator(".today")).to_contain_text("0.25")
    order = page.locator("#cards .card").evaluate_all(
        "all => all.map(each => each.dataset.meter ?? `below ${each.dataset.rest}`)"
    )
    assert order[:4] == ["main", "roof", "oven", "below main"]


@pytest.mark.browser
def test_the_power_of_the_house_needs_no_history(site: Site, open_page: OpenPage) -> None:
    site.read("main", power=321.0)

    page = open_page(
        before=lambda page: page.route("**/site/", lambda route: route.fulfill(body="null"))
    )

    expect(page.locator("#house-power")).to_have_text("321")


@pytest.mark.browser
def test_a_cost_of_nothing_has_no_sign(open_page: OpenPage) -> None:
    main = branch("main", "grid", imported=0.0, cost=-0.001)
    page = open_page(before=with_site(main))

    expect(page.locator('#cards [data-meter="main"] .today')).to_contain_text(" · €0.00")


@pytest.mark.browser
def test_a_hidden_page_draws_nothing_and_is_up_to_date_when_it_is_shown(
    site: Site, open_page: OpenPage
) -> None:
    received: list[str] = []

    def before(page: Page) -> None:
        page.add_init_script(
            "Object.defineProperty(document, 'hidden', { get: () => window.isHidden ?? false });"
        )
        page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda frame: received.append(str(frame))),
        )

    site.read("main", power=10.0)
    page = open_page(before=before)
    expect(page.locator("#house-power")).to_have_text("10")
    expect(page.locator("#day-chart .line")).to_be_attached()
    page.evaluate(
        "() => { window.isHidden = true; window.changes = 0;"
        " new MutationObserver((all) => { window.changes += all.length; })"
        ".observe(document.body, { subtree: true, childList: true, characterData: true }); }"
    )

    site.read("main", power=29.0)
    wait_until(
        lambda: pumped(page) and any('"power":29' in each for each in received),
        what=f"29 W of {received[-2:]}",
    )

    assert page.evaluate("() => window.changes") == 0
    page.evaluate(
        "() => { window.isHidden = false; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    expect(page.locator("#house-power")).to_have_text("29")


def pumped(page: Page) -> bool:
    """Let Playwright deliver its events."""
    return page.evaluate("() => true") is True


@pytest.mark.browser
def test_the_wall_is_filled_without_a_header_and_scrolls_nowhere(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page("/?kiosk", viewport=WALL)
    site.read("main", **THREE_PHASES)
    expect(page.locator("#house-power")).to_have_text("1.23")
    expect(page.locator("#day-chart .line")).to_be_attached()

    expect(page.locator(".top")).to_be_hidden()
    size = page.locator("#house-power").evaluate(
        "each => parseFloat(getComputedStyle(each).fontSize)"
    )
    assert size >= LEAST_HERO_PX
    assert page.evaluate("() => document.documentElement.scrollHeight") == WALL["height"]
    boxes = [page.locator(each).bounding_box() for each in ("#house", "#day", "#cards")]
    assert all(box and box["width"] > 0.95 * WALL["width"] for box in boxes)
    assert boxes[2]
    assert 0.95 * WALL["height"] < boxes[2]["y"] + boxes[2]["height"] <= WALL["height"]


@pytest.mark.browser
def test_the_overview_speaks_german(site: Site, open_page: OpenPage) -> None:
    site.read("main", **THREE_PHASES)
    page = open_page(locale="de-DE")

    expect(page.locator("#house-title")).to_have_text("Haus jetzt")
    expect(page.locator("#house-power")).to_have_text("1,23")
    expect(page.locator("#house-direction")).to_have_text("Bezug")


@pytest.mark.browser
def test_past_eight_meters_there_are_rows_with_the_faulty_first(
    site: Site, open_page: OpenPage
) -> None:
    for number in range(9):
        site.read(f"flat{number}", power=100.0 + number)
    site.say("meters/flat7/status", "offline")
    page = open_page(viewport=SMALL_PHONE)

    expect(page.locator("#cards.rows")).to_be_visible()
    expect(page.locator('#cards [data-meter="flat7"]')).to_have_attribute("data-state", "offline")

    def states() -> list[str]:
        return page.locator("#cards .card:not(.rest)").evaluate_all(
            "all => all.map(each => each.dataset.state)"
        )

    def is_faulty_first() -> bool:
        faulty = [state in {"offline", "stale"} for state in states()]
        return faulty[0] and faulty == sorted(faulty, reverse=True)

    wait_until(is_faulty_first, what="the faulty first")
    assert page.evaluate("() => document.documentElement.scrollWidth") == SMALL_PHONE["width"]


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
