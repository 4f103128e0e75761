"""The dashboard in a real browser, fed over a real broker: what a person sees."""

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from paho.mqtt import publish
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Request,
    Response,
    expect,
)

from contract.quantities import BY_NAME
from contract.times import format_time
from tests.support.parts import (
    ROOT,
    Part,
    free_port,
    listens,
    require,
    wait_until,
)

OpenPage = Callable[..., Page]
STATIC = ROOT / "web" / "static"
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
MOST_BYTES = 75_000
MOST_REQUESTS = 15
THREE_PHASES = {
    "voltage_l1": 231.25, "voltage_l2": 229.5, "voltage_l3": 230.75,
    "current_l1": 3.5, "current_l2": 1.25, "current_l3": 0.5,
    "power_l1": 800.0, "power_l2": 300.0, "power_l3": 134.0,
    "power": 1234.0, "energy_import": 12345.678, "energy_export": 9.5,
}  # fmt: skip


@dataclass(frozen=True)
class House:
    """A broker, a recorder and a web service."""

    mqtt_port: int
    url: str

    def say(self, topic: str, payload: str) -> None:
        """Publish as a meter does: retained, and wait until the broker has it."""
        host = {"hostname": "127.0.0.1", "port": self.mqtt_port}
        publish.single(topic, payload, qos=1, retain=True, **host)

    def read(self, meter_id: str, *, age_s: float = 0, **values: float) -> None:
        """Publish a reading of now, or of a while ago."""
        ts = datetime.now(UTC) - timedelta(seconds=age_s)
        reading = {"ts": format_time(ts), "meter_id": meter_id, **values}
        self.say(f"meters/{meter_id}/reading", json.dumps(reading))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    require("mosquitto")
    directory = tmp_path_factory.mktemp("house")
    settings = {
        "MQTT_PORT": free_port(),
        "HTTP_PORT": free_port(),
        "DATABASE_URL": f"sqlite:///{directory}/energy_meters.db",
    }
    with (
        Part.module("broker", directory=directory / "broker", **settings),
        Part.module("recorder", directory=directory / "recorder", **settings) as recorder,
        Part.module("web", directory=directory / "web", **settings) as web,
    ):
        recorder.wait_for("connected")
        web.wait_for("connected")
        wait_until(lambda: listens(settings["HTTP_PORT"]), what="the web service")
        yield House(settings["MQTT_PORT"], f"http://127.0.0.1:{settings['HTTP_PORT']}")


@pytest.fixture
def open_page(chromium: Browser, house: House) -> Iterator[OpenPage]:
    """Open pages that must cause no error and no violation of the CSP, and ask no other host."""
    troubles: list[str] = []
    contexts: list[BrowserContext] = []

    def note_request(request: Request) -> None:
        asked = urlsplit(request.url)
        if asked.scheme != "data" and asked.netloc != urlsplit(house.url).netloc:
            troubles.append(f"foreign request: {request.url}")

    def opened(path: str = "/", viewport: dict[str, int] = DESK) -> Page:
        context = chromium.new_context(viewport=viewport, locale="en-GB")
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("request", note_request)
        page.goto(house.url + path)
        expect(page.locator("#connection")).to_have_text("Live")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def card(page: Page, meter_id: str, quantity: str = "power") -> Locator:
    return page.locator(f'[data-meter="{meter_id}"] [data-quantity="{quantity}"]')


@pytest.mark.browser
def test_reading_on_mqtt_appears_as_numbers_on_its_card(house: House, open_page: OpenPage) -> None:
    page = open_page()

    house.read("1", **THREE_PHASES)

    expect(card(page, "1")).to_have_text("1,234")
    expect(card(page, "1", "voltage_l2")).to_have_text("229.5")
    expect(card(page, "1", "energy_import")).to_have_text("12,345.68")
    expect(page.locator('[data-meter="1"] .direction')).to_have_text("importing")
    expect(page.locator('[data-meter="1"] .spark canvas')).to_be_visible()


@pytest.mark.browser
def test_next_reading_replaces_the_number_without_a_reload(
    house: House, open_page: OpenPage
) -> None:
    house.read("2", power=500)
    page = open_page()
    expect(card(page, "2")).to_have_text("500")

    house.read("2", power=-12_340)

    expect(card(page, "2")).to_have_text("\N{MINUS SIGN}12.34")
    expect(page.locator('[data-meter="2"] .power .unit')).to_have_text("kW")
    expect(page.locator('[data-meter="2"] .direction')).to_have_text("exporting")


@pytest.mark.browser
def test_large_power_in_the_phase_table_stays_in_the_unit_of_its_row(
    house: House, open_page: OpenPage
) -> None:
    page = open_page()

    house.read("3", **THREE_PHASES | {"power_l1": 12_345.0, "power": 12_779.0})

    expect(card(page, "3", "power_l1")).to_have_text("12,345")
    expect(page.locator('[data-meter="3"] .phases tbody th')).to_have_text(["V", "A", "W"])
    expect(card(page, "3")).to_have_text("12.78")


@pytest.mark.browser
def test_facts_of_a_meter_carry_the_labels_and_units_of_the_catalogue(
    house: House, open_page: OpenPage
) -> None:
    house.read("10", power_factor=0.5, energy_import=1.0, frequency=50.0, voltage=230.0)
    page = open_page("/meter/10")

    expect(page.locator("#facts dt")).to_have_text(
        [BY_NAME[name].label for name in ("energy_import", "voltage", "power_factor", "frequency")]
    )
    expect(page.locator("#facts .unit")).to_have_text(["kWh", "V", "", "Hz"])


@pytest.mark.browser
def test_scalar_of_an_esp32_makes_a_card_with_only_what_exists(
    house: House, open_page: OpenPage
) -> None:
    page = open_page()

    house.say("meters/esp1/power", "123")

    expect(card(page, "esp1")).to_have_text("123")
    shown = page.locator('[data-meter="esp1"] [data-quantity]').evaluate_all(
        "all => all.map(each => each.dataset.quantity)"
    )
    assert shown == ["power"]


@pytest.mark.browser
def test_meter_that_went_offline_is_shown_so(house: House, open_page: OpenPage) -> None:
    house.say("meters/4/status", "online")
    house.read("4", power=77)
    page = open_page()
    expect(page.locator('[data-meter="4"]')).to_have_attribute("data-state", "online")

    house.say("meters/4/status", "offline")

    expect(page.locator('[data-meter="4"]')).to_have_attribute("data-state", "offline")
    expect(page.locator('[data-meter="4"] .state')).to_have_text("Offline")


@pytest.mark.browser
def test_meters_of_a_bridge_that_went_away_are_shown_offline(
    house: House, open_page: OpenPage
) -> None:
    house.say("meters/_bridge/cellar/status", "online")
    house.say("meters/5/info", json.dumps({"name": "Cellar", "bridge": "cellar", "interval": 1}))
    house.say("meters/5/status", "online")
    house.read("5", power=77)
    page = open_page()
    expect(page.locator('[data-meter="5"]')).to_have_attribute("data-state", "online")

    house.say("meters/_bridge/cellar/status", "offline")

    expect(page.locator('[data-meter="5"]')).to_have_attribute("data-state", "offline")
    expect(page.locator('[data-meter="5"] h2')).to_have_text("Cellar")


@pytest.mark.browser
def test_silent_meter_turns_stale_and_keeps_its_last_value(
    house: House, open_page: OpenPage
) -> None:
    house.say("meters/6/info", json.dumps({"interval": 0.2}))
    page = open_page()

    house.read("6", power=66, age_s=2)

    expect(page.locator('[data-meter="6"]')).to_have_attribute("data-state", "stale")
    expect(card(page, "6")).to_have_text("66")
    expect(page.locator('[data-meter="6"] time')).to_have_text(re.compile(r"\d+ s ago"))


@pytest.mark.browser
def test_page_of_a_meter_shows_phases_history_and_readings(
    house: House, open_page: OpenPage
) -> None:
    house.read("7", **THREE_PHASES)
    page = open_page("/meter/7")

    expect(card(page, "7")).to_have_text("1,234")
    expect(card(page, "7", "current_l3")).to_have_text("0.50")
    expect(page.locator("#readings tbody tr").first).to_contain_text("1,234")
    expect(page.locator("#history canvas")).to_be_visible()

    house.read("7", **THREE_PHASES | {"power": 4321.0})

    expect(page.locator("#readings tbody tr").first).to_contain_text("4,321")


@pytest.mark.browser
def test_period_of_the_history_stands_in_the_address(house: House, open_page: OpenPage) -> None:
    house.read("8", power=5)
    page = open_page("/meter/8?range=week")
    expect(page.get_by_role("button", name="Week")).to_have_attribute("aria-pressed", "true")

    page.get_by_role("button", name="Day").click()
    expect(page).to_have_url(re.compile(r"\?range=day$"))
    chart = page.locator("#history .u-over")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 50, steps=3)
    page.mouse.up()

    expect(page).to_have_url(re.compile(r"\?range=day&from=\d+&to=\d+$"))
    page.get_by_role("button", name="Now").click()
    expect(page).to_have_url(re.compile(r"\?range=day$"))


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/", "/meter/9"])
def test_phone_needs_no_sideways_scrolling(house: House, open_page: OpenPage, path: str) -> None:
    house.read("9", **{name: value * 9 for name, value in THREE_PHASES.items()})
    page = open_page(path, viewport=PHONE)
    expect(card(page, "9")).to_have_text("11.11")

    for width in (PHONE["width"], 320):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("() => document.documentElement.scrollWidth") == width


@pytest.mark.browser
def test_chosen_theme_is_kept(open_page: OpenPage) -> None:
    page = open_page()
    button = page.get_by_role("button", name="Theme")
    button.click()
    button.click()

    page.reload()

    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.locator("body").evaluate("e => getComputedStyle(e).colorScheme") == "dark"


@pytest.mark.browser
def test_first_load_is_light(house: House, chromium: Browser) -> None:
    context = chromium.new_context(viewport=DESK)
    page = context.new_page()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(house.url, wait_until="networkidle")
    sizes = {
        urlsplit(each.url).path: each.request.sizes()["responseBodySize"]
        for each in answers
        if each.status == 200
    }
    context.close()

    files = {path: size for path, size in sizes.items() if path == "/" or "." in path}
    assert len(files) == 5, files
    assert sum(files.values()) <= MOST_BYTES, files
    assert len(answers) <= MOST_REQUESTS, [answer.url for answer in answers]


@pytest.mark.browser
def test_page_shows_outages_and_recovers(chromium: Browser, tmp_path: Path) -> None:
    settings = {"MQTT_PORT": free_port(), "HTTP_PORT": free_port()}
    page = chromium.new_page()
    with Part.module("web", directory=tmp_path / "web", **settings):
        wait_until(lambda: listens(settings["HTTP_PORT"]), what="the web service")
        page.goto(f"http://127.0.0.1:{settings['HTTP_PORT']}/")
        expect(page.locator("#connection")).to_have_text("Broker offline")
        expect(page.locator("#empty")).to_contain_text("mosquitto_pub -t meters/esp1/power -m 123")
    expect(page.locator("#connection")).to_have_text("Reconnecting…")

    with (
        Part.module("broker", directory=tmp_path / "broker", **settings),
        Part.module("web", directory=tmp_path / "web", **settings),
    ):
        expect(page.locator("#connection")).to_have_text("Live", timeout=15_000)
        House(settings["MQTT_PORT"], "").say("meters/esp1/power", "123")
        expect(card(page, "esp1")).to_have_text("123")
    page.close()


def test_vendored_files_are_those_that_were_taken() -> None:
    listed = json.loads((STATIC / "vendor" / "vendor.json").read_text())
    found = {path.name for path in (STATIC / "vendor").iterdir()} - {"vendor.json"}

    assert {row["file"] for row in listed} == found
    for row in listed:
        content = (STATIC / "vendor" / row["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"], row["file"]


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_own_module_is_short_and_never_writes_markup(path: Path) -> None:
    source = path.read_text()

    assert len(source.splitlines()) <= 200
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", source)
    assert len(gzip.compress(source.encode())) < 4000


@pytest.mark.browser
def test_a_name_from_mqtt_is_text_and_no_part_of_the_page(
    house: House, open_page: OpenPage
) -> None:
    name = "<img src=x onerror=document.title=1><script>document.title=1</script><b>Cellar</b>"
    house.read("named", power=1.0)
    house.say("meters/named/info", json.dumps({"name": name}))
    house.say("meters/named/<b>x</b>", "1")

    page = open_page("/meter/named")

    expect(page.locator("#name")).to_have_text(name)
    assert page.locator("#name *, img").count() == 0
    assert page.title() != "1"
