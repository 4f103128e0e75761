"""The page of one meter in a real browser: total, phases, the last minutes, all quantities."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Page, expect

from contract.quantities import BY_NAME
from tests.web.test_dashboard import (
    PHONE,
    THREE_PHASES,
    House,
    OpenPage,
    card,
    opened_pages,
    running_house,
)

WALL = {"width": 1920, "height": 1080}
LEAST_HERO_PX = 160


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("house")) as running:
        yield running


@pytest.fixture
def open_page(chromium: Browser, house: House) -> Iterator[OpenPage]:
    yield from opened_pages(chromium, house)


def phase(page: Page, line: str) -> str:
    """Return the text of a phase's panel."""
    return " ".join(page.locator(f'.phase[data-line="{line}"]').inner_text().split())


@pytest.mark.browser
def test_the_page_shows_total_phases_and_what_they_differ_by(
    house: House, open_page: OpenPage
) -> None:
    house.read("1", **THREE_PHASES, power_factor_l1=0.98, power_factor_l2=0.9, power_factor_l3=0.75)
    page = open_page("/meter/1")

    expect(page.locator("#large")).to_have_text("1,234")
    expect(page.locator("#direction")).to_have_text("importing")
    expect(page.locator("#most")).to_have_text("most on L1: 800\N{NARROW NO-BREAK SPACE}W")
    assert phase(page, "l1") == "L1 800 W Voltage 231.3V Current 3.50A Power factor 0.98"
    # Currents of 3.5, 1.25 and 0.5 A: their mean is 1.75 A, and L1 is twice that.
    expect(page.locator("#imbalance")).to_have_text(
        "Imbalance 100%: most on L1, 3.50\N{NARROW NO-BREAK SPACE}A"
    )
    widths = page.locator(".gauge i").evaluate_all("all => all.map(each => each.style.transform)")
    assert widths == ["scaleX(0.8)", "scaleX(0.3)", "scaleX(0.134)"]


@pytest.mark.browser
def test_an_exporting_phase_keeps_its_hue_and_turns_its_bar(
    house: House, open_page: OpenPage
) -> None:
    page = open_page("/meter/2")
    house.read("2", power_l1=700.0, power_l2=-300.0, power_l3=0.0, power=400.0)
    expect(page.locator("#large")).to_have_text("400")

    bars = page.locator('.phase[data-line="l2"] .gauge i, #shares [data-line="l2"]')
    expect(bars).to_have_count(2)
    for bar in bars.all():
        expect(bar).to_have_attribute("data-direction", "export")
    first, second = (
        page.locator(f'.phase[data-line="{line}"] .gauge i').evaluate(
            "each => getComputedStyle(each).backgroundColor"
        )
        for line in ("l1", "l2")
    )
    house.read("2", power_l1=700.0, power_l2=300.0, power_l3=0.0, power=1000.0)
    expect(page.locator("#large")).to_have_text("1,000")
    expect(page.locator('.phase[data-line="l2"] .gauge i')).to_have_css("background-color", second)
    assert first != second


@pytest.mark.browser
def test_a_phase_of_many_kilowatts_names_its_unit(house: House, open_page: OpenPage) -> None:
    page = open_page("/meter/3")

    house.read("3", **THREE_PHASES | {"power_l2": 64_230.0})

    expect(card(page, "3", "power_l2")).to_have_text("64.23")
    expect(page.locator('[data-quantity="power_l2"] + .unit')).to_have_text("kW")


@pytest.mark.browser
def test_what_a_meter_does_not_send_takes_no_room(house: House, open_page: OpenPage) -> None:
    house.say("meters/esp1/power", "123")
    page = open_page("/meter/esp1")

    expect(page.locator("#large")).to_have_text("123")
    expect(page.locator(".quantities th")).to_have_text(["Power"])
    for nothing in ("#facts div", "#phases > *", "#shares", "#imbalance:not(:empty)"):
        expect(page.locator(nothing).locator("visible=true")).to_have_count(0)
    expect(page.locator("#trace .u-wrap")).to_be_visible()


@pytest.mark.browser
def test_a_meter_without_power_shows_what_it_has(house: House, open_page: OpenPage) -> None:
    house.read("heat", energy=512.5)
    page = open_page("/meter/heat")

    expect(page.locator("#large-label")).to_have_text(BY_NAME["energy"].label)
    expect(page.locator("#large")).to_have_text("512.5")
    expect(page.locator("#trace")).to_be_hidden()


@pytest.mark.browser
def test_facts_and_quantities_carry_labels_units_and_age(house: House, open_page: OpenPage) -> None:
    house.read("10", power=5.0, energy_import=1.25, frequency=50.0, voltage=230.0)
    page = open_page("/meter/10")

    names = ("energy_import", "voltage", "frequency")
    expect(page.locator("#facts dt")).to_have_text([BY_NAME[name].label for name in names])
    expect(page.locator("#facts .unit")).to_have_text(["kWh", "V", "Hz"])
    row = page.locator('.quantities [data-of="energy_import"] td')
    expect(row).to_have_text(["1.25", "kWh", re.compile(r"now|\d+ s ago")])


@pytest.mark.browser
def test_no_more_digits_than_the_meter_gives(house: House, open_page: OpenPage) -> None:
    house.read("5", voltage=230.0, current=5.2, power=1200.0, energy=1500.0)
    page = open_page("/meter/5")
    expect(card(page, "5", "current")).to_have_text("5.2")
    expect(card(page, "5", "voltage")).to_have_text("230")
    expect(card(page, "5", "energy")).to_have_text("1,500")

    house.read("5", voltage=230.27, current=5.25, power=1200.4, energy=1500.1234)

    expect(card(page, "5", "current")).to_have_text("5.25")
    expect(card(page, "5", "voltage")).to_have_text("230.3")
    expect(card(page, "5", "energy")).to_have_text("1,500.12")


@pytest.mark.browser
def test_an_offline_meter_names_itself_and_no_power_in_the_title(
    house: House, open_page: OpenPage
) -> None:
    house.say("meters/6/status", "online")
    house.read("6", power=77)
    page = open_page("/meter/6")
    expect(page).to_have_title("77\N{NARROW NO-BREAK SPACE}W · Meter 6")

    house.say("meters/6/status", "offline")

    expect(page).to_have_title("Offline · Meter 6")
    expect(page.locator("#trouble")).to_have_text(re.compile("^Meter 6: offline. Check supply"))
    expect(page.locator("#large")).to_have_text("77")


@pytest.mark.browser
def test_a_silent_meter_is_named_with_its_age(house: House, open_page: OpenPage) -> None:
    house.say("meters/7/info", json.dumps({"interval": 0.2}))
    house.read("7", power=66, age_s=8)
    page = open_page("/meter/7")

    expect(page.locator("#meter")).to_have_attribute("data-state", "stale")
    expect(page.locator("#meter time").first).to_have_text(re.compile(r"\d+ s ago"))
    expect(page.locator("#trouble")).to_have_text(re.compile("^Meter 7: silent."))
    expect(page).to_have_title("Silent · Meter 7")


@pytest.mark.browser
def test_newest_readings_unfold_and_grow(house: House, open_page: OpenPage) -> None:
    house.read("8", **THREE_PHASES)
    page = open_page("/meter/8")
    page.locator("#newest summary").click()
    expect(page.locator("#readings tbody tr").first).to_contain_text("1,234")

    house.read("8", **THREE_PHASES | {"power": 4321.0})

    expect(page.locator("#readings tbody tr").first).to_contain_text("4,321")


@pytest.mark.browser
def test_what_happened_today_stands_below_the_trace(house: House, open_page: OpenPage) -> None:
    house.read("9", power=300.0, energy_import=0.5)
    page = open_page("/meter/9")
    ends = {"from": f"{datetime.now(UTC):%Y-%m-%d}T12:00:00Z", "to": "2999-01-01T00:00:00Z"}
    mark = {"meter_id": "9", "kind": "reset", **ends, "why": None, "before": 812.5}
    summary = {"imported": 4.2, "exported": None, "cost": None, "currency": None, "marks": [mark]}
    page.route("**/meters/9/summary?*", lambda route: route.fulfill(json=summary))
    page.reload()

    expect(page.locator("#today")).to_contain_text("4.20\N{NARROW NO-BREAK SPACE}kWh")
    expect(page.locator("#marks li")).to_contain_text(
        "the counter, at 812.50\N{NARROW NO-BREAK SPACE}kWh, began again at 0; sums go on"
    )
    expect(page.locator("#live")).to_have_attribute("aria-describedby", "marks")


HELD = """async () => {
  const { Trace } = await import("/static/trace.js");
  const { ReadingTable } = await import("/static/tables.js");
  const [trace, table] = [new Trace(["power"]), new ReadingTable({ open: false }, null)];
  for (let second = 0; second < 7200; second += 1) {
    const reading = { ts: new Date(1.8e12 + 1000 * second).toISOString(), power: second };
    trace.push(reading, 900);
    table.add(reading);
  }
  return [trace.rows.length, trace.rows.at(-1)[1], table.rows.length, table.rows[0].power];
}"""


@pytest.mark.browser
def test_what_is_not_on_the_screen_holds_no_more_than_it_would_show(open_page: OpenPage) -> None:
    trace, newest, folded, top = open_page("/meter/1").evaluate(HELD)

    assert 900 <= trace <= 1.5 * 900 + 2
    assert folded == 25
    assert newest == top == 7199


@pytest.mark.browser
def test_the_wall_shows_a_meter_on_one_screen(house: House, open_page: OpenPage) -> None:
    house.read("9", **THREE_PHASES)
    page = open_page("/meter/9?kiosk", viewport=WALL)

    expect(page.locator("#large")).to_have_text("1,234")
    expect(page.locator(".top")).to_be_hidden()
    size = page.locator("#large").evaluate("each => parseFloat(getComputedStyle(each).fontSize)")
    assert size >= LEAST_HERO_PX
    box = page.locator("#trace").bounding_box()
    assert box
    assert WALL["height"] * 0.9 < box["y"] + box["height"] <= WALL["height"]
    assert page.evaluate("() => document.documentElement.scrollHeight") == WALL["height"]


@pytest.mark.browser
def test_the_page_speaks_german(house: House, open_page: OpenPage) -> None:
    house.read("11", **THREE_PHASES)
    page = open_page("/meter/11", viewport=PHONE, locale="de-DE")

    expect(page.locator("#most")).to_have_text("am meisten auf L1: 800\N{NARROW NO-BREAK SPACE}W")
    expect(page.locator("#name")).to_have_text("Zähler 11")
    expect(page.locator("#large")).to_have_text("1.234")
