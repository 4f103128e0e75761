"""The dashboard in a real browser, fed over a real broker: what a person sees."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def running_house(directory: Path) -> Iterator[House]:
    """Run a broker, a recorder and a web service with an empty history."""
    require("mosquitto")
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


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("house")) as running:
        yield running


def opened_pages(chromium: Browser, house: House) -> Iterator[OpenPage]:
    """Open pages that must cause no error and no violation of the CSP, and ask no other host."""
    troubles: list[str] = []
    contexts: list[BrowserContext] = []

    def note_request(request: Request) -> None:
        asked = urlsplit(request.url)
        if asked.scheme != "data" and asked.netloc != urlsplit(house.url).netloc:
            troubles.append(f"foreign request: {request.url}")

    def opened(path: str = "/", viewport: dict[str, int] = DESK, **options: object) -> Page:
        context = chromium.new_context(viewport=viewport, **{"locale": "en-GB"} | options)
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


@pytest.fixture
def open_page(chromium: Browser, house: House) -> Iterator[OpenPage]:
    yield from opened_pages(chromium, house)


def card(page: Page, meter_id: str, quantity: str = "power") -> Locator:
    return page.locator(f'[data-meter="{meter_id}"] [data-quantity="{quantity}"]').first


@pytest.mark.browser
def test_reading_on_mqtt_appears_as_numbers_on_its_card(house: House, open_page: OpenPage) -> None:
    page = open_page()

    house.read("1", **THREE_PHASES)

    expect(card(page, "1")).to_have_text("1,234")
    expect(page.locator('#cards [data-meter="1"] .direction')).to_have_text("importing")
    expect(page.locator('#cards [data-meter="1"] .most')).to_have_text("most on L1: 800\u202fW")
    expect(page.locator('#cards [data-meter="1"] .spark .line')).to_be_attached()


@pytest.mark.browser
def test_next_reading_replaces_the_number_without_a_reload(
    house: House, open_page: OpenPage
) -> None:
    house.read("2", power=500)
    page = open_page()
    expect(card(page, "2")).to_have_text("500")

    house.read("2", power=-12_340)

    expect(card(page, "2")).to_have_text("\N{MINUS SIGN}12.34")
    expect(page.locator('#cards [data-meter="2"] .power .unit')).to_have_text("kW")
    expect(page.locator('#cards [data-meter="2"] .direction')).to_have_text("exporting")


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
    expect(page.locator('#cards [data-meter="4"]')).to_have_attribute("data-state", "online")

    house.say("meters/4/status", "offline")

    expect(page.locator('#cards [data-meter="4"]')).to_have_attribute("data-state", "offline")
    expect(page.locator('#cards [data-meter="4"] .state')).to_have_text("Offline")


@pytest.mark.browser
def test_meters_of_a_bridge_that_went_away_are_shown_offline(
    house: House, open_page: OpenPage
) -> None:
    house.say("meters/_bridge/cellar/status", "online")
    house.say("meters/5/info", json.dumps({"name": "Cellar", "bridge": "cellar", "interval": 1}))
    house.say("meters/5/status", "online")
    house.read("5", power=77)
    page = open_page()
    expect(page.locator('#cards [data-meter="5"]')).to_have_attribute("data-state", "online")

    house.say("meters/_bridge/cellar/status", "offline")

    expect(page.locator('#cards [data-meter="5"]')).to_have_attribute("data-state", "offline")
    expect(page.locator('#cards [data-meter="5"] h2')).to_have_text("Cellar")


@pytest.mark.browser
def test_silent_meter_turns_stale_and_keeps_its_last_value(
    house: House, open_page: OpenPage
) -> None:
    house.say("meters/6/info", json.dumps({"interval": 0.2}))
    page = open_page()

    house.read("6", power=66, age_s=2)

    expect(page.locator('#cards [data-meter="6"]')).to_have_attribute("data-state", "stale")
    expect(card(page, "6")).to_have_text("66")
    expect(page.locator('#cards [data-meter="6"] time')).to_have_text(re.compile(r"\d+ s ago"))


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
    asked = [answer.url.removeprefix(house.url) for answer in answers]
    assert len(asked) <= MOST_REQUESTS, "\n".join(asked)


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

    house = House(settings["MQTT_PORT"], "")
    with Part.module("web", directory=tmp_path / "web", **settings):
        with Part.module("broker", directory=tmp_path / "broker", **settings):
            expect(page.locator("#connection")).to_have_text("Live")
            house.say("meters/esp1/power", "123")
            expect(card(page, "esp1")).to_have_text("123")
            expect(page).to_have_title("123\u202fW · Meterflow")
        expect(page.locator("#missing")).to_contain_text("The broker is offline")
        expect_nobody_blamed(page)
    expect(page.locator("#missing")).to_contain_text("The web service does not respond")
    expect_nobody_blamed(page)
    page.close()


def expect_nobody_blamed(page: Page) -> None:
    """Expect that the only meter is shown with its last value, and not as the cause."""
    shown = page.locator('#cards [data-meter="esp1"]')
    expect(shown).to_have_attribute("data-state", "unknown")
    expect(shown.locator(".state")).to_have_text("Not live")
    expect(card(page, "esp1")).to_have_text("123")
    expect(page.locator("#summary")).to_have_text("Not live")
    expect(page.locator("#trouble")).to_be_hidden()
    expect(page).to_have_title("No connection · Meterflow")


def test_vendored_files_are_those_that_were_taken() -> None:
    listed = json.loads((STATIC / "vendor" / "vendor.json").read_text())
    found = {path.name for path in (STATIC / "vendor").iterdir()} - {"vendor.json"}

    assert {row["file"] for row in listed} == found
    for row in listed:
        content = (STATIC / "vendor" / row["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"], row["file"]


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_own_module_never_writes_markup(path: Path) -> None:
    source = path.read_text()

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", source)


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
