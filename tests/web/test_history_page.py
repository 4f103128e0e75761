"""The history page in a real browser, with a year whose figures are known."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from contract.meter_settings import MeterSettings
from contract.readings import Reading
from history.corrections import void
from history.database import migrate, open_database
from history.meter_settings import change
from history.readings_table import Writer
from history.retention import Retention
from history.rollups.replacements import replace_meter
from history.rollups.rollups import Rollups
from tests.support.parts import Part, free_port, listens, require, wait_until

OpenPage = Callable[..., Page]
BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)
TODAY = datetime.now(BERLIN).date()
YEAR = TODAY.year - 1
TARIFFS = f'currency = "CHF"\n[[tariff]]\nvalid_from = {YEAR - 3}-01-01\nprice = 0.5\n'
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
SPACE = "\N{NARROW NO-BREAK SPACE}"


def at(year: int, month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime.combine(date(year, month, day), time(hour), BERLIN).astimezone(UTC)


def last_sunday(month: int) -> date:
    last = date(YEAR, month, 31)
    return last - timedelta(days=(last.weekday() + 1) % 7)


BEGIN, END = at(YEAR - 1, 12), at(YEAR, 12)
GAP = at(YEAR, 10, 10), at(YEAR, 10, 20)


def readings() -> Iterator[Reading]:
    """The grid draws 1 kW, and 3 kW from 18:00 to 19:00; the roof gives 500 W in November.

    The pump draws 2 kW in October and November and is not read for ten days. The counter of each
    hour stands in the reading at its end, a moment before the next one.
    """
    counters = {"main": 0.0, "roof": 0.0, "pump": 0.0}
    ts = BEGIN
    while ts < END:
        powers = {"main": 3000.0 if ts.astimezone(BERLIN).hour == 18 else 1000.0}
        if ts >= at(YEAR, 11):
            powers["roof"] = -500.0
        if ts >= at(YEAR, 10):
            powers["pump"] = 2000.0
        for name, power in powers.items():
            counter = "energy_import" if power > 0 else "energy_export"
            for moment, counted in ((ts, 0.0), (ts + HOUR - timedelta(seconds=1), 1.0)):
                counters[name] += counted * abs(power) / 1000
                if name == "pump" and GAP[0] <= moment < GAP[1]:
                    continue
                values = {"power": power, counter: round(counters[name], 3)}
                if name == "main":
                    values["energy_export"] = 0.0
                    values["voltage"] = 230.0 + ts.astimezone(BERLIN).hour / 10
                yield Reading(name, moment, values)
        ts += HOUR


def fill(path: Path) -> None:
    """Store the year as it is once retention has deleted its readings and its 5 minutes."""
    database = open_database(f"sqlite:///{path}")
    migrate(database)
    writer, batch = Writer(database), list(readings())
    writer.write(batch)
    begin = at(TODAY.year, TODAY.month, TODAY.day) - timedelta(days=1)
    writer.write(Reading("esp", begin + n * HOUR / 4, {"power": 40.0 + n}) for n in range(96))
    writer.write(
        Reading("washer", begin + n * HOUR / 4, {"energy_import": round(start + n / 10, 3)})
        for start, some in ((100.0, range(48)), (-4.7, range(48, 72)), (-7.1, range(72, 96)))
        for n in some
    )
    replace_meter(database, "washer", begin + 18 * HOUR, {}, {})
    assert Rollups(database).run(float("inf"))
    for _ in Retention(database).steps():
        pass
    void(database, "esp", begin + 2 * HOUR, begin + 4 * HOUR, "test of a lamp")
    assert Rollups(database).run(float("inf"))
    for name, settings in {
        "main": {"role": "grid", "name": "Main meter"},
        "roof": {"role": "production", "parent": "main", "name": "Roof"},
        "pump": {"parent": "main", "name": "Heat pump"},
    }.items():
        change(database, name, MeterSettings.model_validate(settings))
    database.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a web service of a site in Berlin; no broker and no recorder run."""
    require("chromium")
    directory = tmp_path_factory.mktemp("history")
    fill(directory / "energy_meters.db")
    (directory / "tariffs.toml").write_text(TARIFFS)
    settings = {
        "MQTT_PORT": free_port(),
        "HTTP_PORT": free_port(),
        "DATABASE_URL": f"sqlite:///{directory}/energy_meters.db",
        "TARIFFS_FILE": directory / "tariffs.toml",
        "TIMEZONE": BERLIN.key,
    }
    with Part.module("web", directory=directory / "web", **settings):
        wait_until(lambda: listens(settings["HTTP_PORT"]), what="the web service")
        yield f"http://127.0.0.1:{settings['HTTP_PORT']}"


@pytest.fixture
def open_page(chromium: Browser, url: str) -> Iterator[OpenPage]:
    """Open the page; it must cause no error, no violation of the CSP, and no foreign request."""
    troubles: list[str] = []
    contexts: list[BrowserContext] = []

    def foreign(address: str) -> None:
        if not address.startswith((url, "blob:", "ws:")):
            troubles.append(address)

    def opened(query: str = "", path: str = "/view/history", **options: Any) -> Page:
        settings = {"viewport": DESK, "locale": "en-GB", "timezone_id": "Asia/Kathmandu"}
        context = chromium.new_context(**settings | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on(
            "request", lambda each: each.url.startswith((url, "blob:")) or troubles.append(each.url)
        )
        page.goto(url + path + query)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def figure(page: Page, title: str) -> Locator:
    """The card of a figure: its value and what stands below it."""
    return page.locator("#figures dl > div").filter(has=page.get_by_text(title, exact=True))


def table(page: Page) -> Locator:
    """The rows of the chart's table, unfolded."""
    expect(page.locator("#past")).to_have_attribute("aria-busy", "false")
    if page.locator("#table-panel").get_attribute("open") is None:
        page.locator("#table-panel summary").click()
    return page.locator("#table tbody tr")


def hover(page: Page, share: float) -> None:
    """Move the mouse over a place of the chart, from 0 (left) to 1."""
    over = page.locator("#chart .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)


def drag(page: Page, begin: float, end: float) -> None:
    hover(page, begin)
    page.mouse.down()
    hover(page, (begin + end) / 2)
    hover(page, end)
    page.mouse.up()


def toucher(page: Page, over: Locator) -> Callable[..., None]:
    """Return what puts fingers on places of the chart, from 0 (left) to 1, moves and lifts them."""
    session, box = page.context.new_cdp_session(page), over.bounding_box()
    assert box

    def touch(kind: str, *shares: float) -> None:
        y = box["y"] + box["height"] / 2
        points = [
            {"x": box["x"] + share * box["width"], "y": y, "id": number}
            for number, share in enumerate(shares)
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    return touch


PAINTED = """(canvas, name) => {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(--${name})`;
  const [red, green, blue] = getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number);
  probe.remove();
  const copy = document.createElement("canvas");
  Object.assign(copy, { width: canvas.width, height: canvas.height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {
    const far = Math.abs(data[at] - red) + Math.abs(data[at + 1] - green)
      + Math.abs(data[at + 2] - blue);
    if (far < 12 && data[at + 3] > 200) count += 1;
  }
  return count;
}"""


def painted(page: Page, colour: str, chart: str = "#chart") -> int:
    """How many pixels of a chart have a colour of the style sheet."""
    return int(page.locator(f"{chart} canvas").evaluate(PAINTED, colour))


@pytest.mark.browser
def test_a_month_has_a_bar_for_each_day_and_the_month_before_as_a_ghost(
    open_page: OpenPage,
) -> None:
    page = open_page(f"?of=main&span=month&at={YEAR}-11")
    expect(page.locator("#when")).to_have_text(f"November {YEAR}")
    expect(page.locator("#legend .key")).to_have_text(["Imported", "Before"])

    assert painted(page, "import") > 5000
    assert painted(page, "export") == 0
    hover(page, 10.5 / 30)

    expect(page.locator("#legend .at")).to_have_text(re.compile(rf"^\w+, 11 Nov {YEAR}$"))
    expect(page.locator("#legend .key")).to_have_text(
        [f"Imported26.00{SPACE}kWh", f"Before26.00{SPACE}kWh"]
    )
    expect(table(page)).to_have_count(30)
    expect(page.locator("#chart")).to_have_attribute(
        "aria-label", f"Energy, Main meter, November {YEAR}. Imported: 780.00{SPACE}kWh"
    )


@pytest.mark.browser
def test_the_figures_of_a_period_are_energy_cost_average_peak_and_base_load(
    open_page: OpenPage,
) -> None:
    page = open_page(f"?of=main&span=month&at={YEAR}-11")

    # October had a day and an hour more: 31 * 26 + 1 = 807.
    expect(figure(page, "Imported")).to_contain_text(f"780.00{SPACE}kWh")
    expect(figure(page, "Imported")).to_contain_text("3% less than before")
    expect(figure(page, "Cost")).to_contain_text(re.compile("CHF.390.00"))
    expect(figure(page, "Average")).to_contain_text(f"1.08{SPACE}kW")
    expect(figure(page, "Average")).to_contain_text(f"26.00{SPACE}kWh a day")
    expect(figure(page, "Peak")).to_contain_text(f"3.00{SPACE}kW")
    expect(figure(page, "Peak")).to_contain_text(re.compile(rf"\w+, 1 Nov {YEAR}, 18:00"))
    expect(figure(page, "Base load")).to_contain_text(f"1.00{SPACE}kW")


@pytest.mark.browser
@pytest.mark.parametrize(("month", "hours", "at_two"), [(3, 23, 0), (10, 25, 2)])
def test_a_day_on_which_the_clocks_change_has_its_own_number_of_bars(
    open_page: OpenPage, month: int, hours: int, at_two: int
) -> None:
    page = open_page(f"?of=main&at={last_sunday(month)}")

    rows = table(page)
    expect(rows).to_have_count(hours)
    expect(rows.filter(has_text=re.compile(r", 02:00"))).to_have_count(at_two)
    expect(rows.last.locator("td").first).to_have_text(f"1.00{SPACE}kWh")
    # The day before has 24 hours, and each stands behind the bar of the same hour by the clock.
    expect(rows.filter(has_text=", 18:00").locator("td")).to_have_text(
        [f"3.00{SPACE}kWh", f"3.00{SPACE}kWh"]
    )
    expect(figure(page, "Imported")).to_contain_text(f"{hours + 2}.00{SPACE}kWh")


@pytest.mark.browser
def test_a_year_has_a_bar_for_each_month_and_costs_on_request(open_page: OpenPage) -> None:
    page = open_page(f"?of=main&span=year&at={YEAR}")
    rows = table(page)
    expect(rows).to_have_count(12)
    expect(rows.nth(2).locator("td").first).to_have_text(f"805.00{SPACE}kWh")
    expect(rows.nth(2).locator("th")).to_have_text(f"March {YEAR}")

    page.get_by_role("button", name="Cost").click()

    expect(page).to_have_url(re.compile("show=cost"))
    expect(rows.nth(2).locator("td").first).to_have_text(re.compile("CHF.402.50"))
    assert painted(page, "cost") > 5000


@pytest.mark.browser
def test_ticks_fit_the_span_of_the_chart(open_page: OpenPage) -> None:
    page = open_page("?of=main")

    def ticks(begin: datetime, end: datetime) -> list[str]:
        span = [begin.timestamp(), end.timestamp()]
        found = page.evaluate(
            "async ([a, b]) => (await import('/static/history_time.js')).ticksOf(a, b, 900)", span
        )
        return [tick["text"] for tick in found]

    year = ticks(at(YEAR - 1, 11), at(YEAR, 11))
    assert (year[0], year[1], year[2]) == (f"Nov {YEAR - 1}", "Dec", f"Jan {YEAR}")
    assert len(year) == 12
    week = ticks(at(YEAR, 3, 2), at(YEAR, 3, 9))
    monday = date(YEAR, 3, 2)
    assert week[:3] == [f"{monday:%a} 2", "12:00", f"{monday + timedelta(days=1):%a} 3"]
    day = ticks(at(YEAR, 11, 3), at(YEAR, 11, 4))
    assert day[1:3] == ["02:00", "04:00"]
    assert not any(re.search(r"\d:\d\d:\d\d", text) for text in [*year, *week, *day])


@pytest.mark.browser
def test_a_week_whose_fine_levels_are_gone_is_drawn_from_what_is_kept(open_page: OpenPage) -> None:
    page = open_page(f"?of=main&span=week&at={YEAR}-02-10&show=voltage")

    expect(page.locator("#past")).to_have_attribute("aria-busy", "false")
    assert painted(page, "import") > 800
    expect(table(page).nth(150)).to_be_attached()
    expect(page.locator("#nothing")).to_be_hidden()

    page = open_page("", path="/meter/main")
    page.locator(".more").get_by_role("link", name="History").click()
    expect(page.locator("#subject")).to_have_value("main")


@pytest.mark.browser
def test_power_is_a_line_within_the_band_of_its_extremes(open_page: OpenPage) -> None:
    page = open_page(f"?of=main&span=year&at={YEAR}&show=power")
    expect(page.locator("#chart")).to_have_attribute(
        "aria-label",
        f"Power, Main meter, {YEAR}. Power: 1,000{SPACE}W to 3,000{SPACE}W",
    )

    hover(page, 0.5)

    expect(page.locator("#legend .key").first).to_have_text(
        re.compile(r"^Power1,\d\d\d.W \(1,000.W . 3,000.W\)$")
    )


@pytest.mark.browser
def test_a_time_without_readings_is_hatched_and_named(open_page: OpenPage) -> None:
    page = open_page(f"?of=pump&span=month&at={YEAR}-10")
    expect(page.locator("#marks")).to_have_text(
        re.compile(rf"^\w+, 20 Oct {YEAR} includes what was counted before it while there were no")
    )

    hover(page, 14.5 / 31)

    expect(page.locator("#legend")).to_contain_text("no readings")
    expect(page.locator("#legend .key").first).to_have_text(re.compile("^Imported.$"))


@pytest.mark.browser
def test_an_empty_period_says_so_and_leads_to_the_first_reading(open_page: OpenPage) -> None:
    page = open_page(f"?of=pump&span=month&at={YEAR}-04")
    expect(page.locator("#nothing")).to_contain_text(
        re.compile(rf"The readings of Heat pump begin on \w+, 1 Oct {YEAR}\.")
    )

    page.get_by_role("button", name="Go there").click()

    expect(page.locator("#when")).to_have_text(f"October {YEAR}")
    expect(page.locator("#nothing")).to_be_hidden()


@pytest.mark.browser
def test_dragging_shows_finer_data_and_the_way_back(open_page: OpenPage) -> None:
    page = open_page(f"?of=main&span=month&at={YEAR}-11")
    expect(table(page)).to_have_count(30)

    drag(page, 10.2 / 30, 11.8 / 30)

    expect(page).to_have_url(re.compile(r"&from=\d+&to=\d+$"))
    expect(table(page)).to_have_count(48)
    expect(figure(page, "Imported")).to_contain_text(f"52.00{SPACE}kWh")
    page.keyboard.press("Escape")
    expect(page.locator("#when")).to_have_text(f"November {YEAR}")
    page.go_back()
    expect(table(page)).to_have_count(48)
    page.go_back()
    expect(table(page)).to_have_count(30)

    hover(page, 4.5 / 30)
    page.mouse.down()
    page.mouse.up()

    expect(page.locator("#when")).to_have_text(re.compile(rf"^\w+, 5 Nov {YEAR}$"))


@pytest.mark.browser
def test_a_finger_zooms_by_dragging_sideways(open_page: OpenPage) -> None:
    page = open_page(f"?of=main&span=month&at={YEAR}-11", viewport=PHONE, has_touch=True)
    over = page.locator("#chart .u-over")
    over.scroll_into_view_if_needed()
    touch = toucher(page, over)

    touch("touchStart", 10.4 / 30)
    touch("touchMove", 11.0 / 30)
    touch("touchMove", 12.6 / 30)
    touch("touchEnd")

    expect(page).to_have_url(re.compile(r"&from=\d+&to=\d+$"))
    expect(table(page)).to_have_count(72)


@pytest.mark.browser
def test_two_fingers_stretch_what_is_shown(open_page: OpenPage) -> None:
    page = open_page(f"?of=main&span=month&at={YEAR}-11", viewport=PHONE, has_touch=True)
    over = page.locator("#chart .u-over")
    expect(page.locator("#past")).to_have_attribute("aria-busy", "false")
    over.scroll_into_view_if_needed()
    touch = toucher(page, over)

    touch("touchStart", 0.4)
    touch("touchStart", 0.4, 0.6)
    touch("touchMove", 0.3, 0.7)
    touch("touchMove", 0.2, 0.8)
    touch("touchEnd")

    expect(page).to_have_url(re.compile(r"&from=\d+&to=\d+$"))
    expect(page.locator("#when")).to_have_text(re.compile(rf"^11\W+20 Nov {YEAR}$"))
    expect(table(page)).to_have_count(10)


@pytest.mark.browser
def test_what_happened_to_a_counter_is_marked_with_words(open_page: OpenPage) -> None:
    yesterday = at(TODAY.year, TODAY.month, TODAY.day) - 24 * HOUR
    reset, replaced = ((yesterday + n * HOUR).astimezone(BERLIN) for n in (12, 18))
    again = f"the counter, at 104.70{SPACE}kWh, began again at 0; sums go on"
    page = open_page(f"?of=washer&at={yesterday.astimezone(BERLIN):%Y-%m-%d}")

    expect(page.locator("#marks li")).to_have_text(
        [
            re.compile(rf", {reset:%H:%M}.{reset:%H}:05: {re.escape(again)}$"),
            re.compile(rf", {replaced:%H:%M}: the meter was replaced; sums go on$"),
        ]
    )
    expect(table(page).filter(has_text="began again")).to_have_count(1)
    expect(table(page).filter(has_text="began again").locator("td").last).to_have_text(again)
    expect(table(page).filter(has_text="was replaced").locator("th")).to_contain_text(
        f"{replaced:%H:%M}"
    )

    page = open_page(f"?of=washer,pump&at={yesterday.astimezone(BERLIN):%Y-%m-%d}")
    expect(page.locator("#marks li").first).to_contain_text(f"washer: {again}")


@pytest.mark.browser
def test_keys_move_and_zoom(open_page: OpenPage) -> None:
    page = open_page(f"?of=main&span=month&at={YEAR}-11")
    title = page.locator("#when")
    expect(title).to_have_text(f"November {YEAR}")

    for key, shown in (
        ("ArrowLeft", f"October {YEAR}"),
        ("ArrowRight", f"November {YEAR}"),
        ("-", f"{YEAR}"),
        ("+", f"January {YEAR}"),
        ("+", re.compile(r"Dec|Jan")),
    ):
        page.keyboard.press(key)
        expect(title).to_have_text(shown)
    expect(page).to_have_url(re.compile("span=week"))


@pytest.mark.browser
def test_several_meters_and_the_house_are_compared(open_page: OpenPage) -> None:
    page = open_page(f"?span=month&at={YEAR}-11")
    page.locator("#compare").select_option(label="Heat pump")
    page.locator("#compare").select_option(label="Main meter")

    expect(page).to_have_url(re.compile(r"\?of=\*,pump,main&"))
    expect(page.locator("#legend .key")).to_have_text(["House", "Heat pump", "Main meter"])
    expect(page.locator("#figures tbody tr").nth(0)).to_contain_text(f"1,140{SPACE}kWh")
    expect(page.locator("#figures tbody tr").nth(1)).to_contain_text(f"1,440{SPACE}kWh")
    expect(table(page).first.locator("td")).to_have_text(
        [f"{each}.00{SPACE}kWh" for each in (38, 48, 26)]
    )
    assert min(painted(page, colour) for colour in ("c1", "c2", "c3")) > 1000

    page.get_by_role("button", name="Leave out Heat pump").click()

    expect(page).to_have_url(re.compile(r"\?of=\*,main&"))


@pytest.mark.browser
def test_the_house_shows_what_of_its_production_it_uses(open_page: OpenPage) -> None:
    page = open_page(f"?span=month&at={YEAR}-11")

    expect(page.locator("#legend .key")).to_have_text(["Imported", "From the roof", "Before"])
    expect(figure(page, "Used")).to_contain_text(f"1,140{SPACE}kWh")
    expect(figure(page, "Produced")).to_contain_text(f"360.00{SPACE}kWh")
    expect(figure(page, "Self-consumption")).to_contain_text("100%")
    expect(figure(page, "Self-consumption")).to_contain_text("32% of the use is own")
    expect(figure(page, "Peak")).to_contain_text(f"3.50{SPACE}kW")
    expect(figure(page, "Peak")).to_contain_text(
        re.compile(rf"\w+, \d+ Nov {YEAR}, 18:00, mean of 60 min")
    )
    expect(figure(page, "Base load")).to_contain_text(f"1.50{SPACE}kW")
    assert painted(page, "own") > 2000


@pytest.mark.browser
def test_the_heat_map_shows_each_hour_of_each_day(open_page: OpenPage) -> None:
    page = open_page(f"?of=main&span=month&at={YEAR}-11")
    page.locator("#heat").click()
    expect(page).to_have_url(re.compile("heat=yes"))
    expect(page.locator("#heat-chart")).to_have_attribute(
        "aria-label", f"Heat map of the hours: most at 18:00, 3.00{SPACE}kWh on average"
    )

    page.locator("#heat-chart .u-over").scroll_into_view_if_needed()
    box = page.locator("#heat-chart .u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 2.5 / 30, box["y"] + box["height"] * 18.5 / 24)

    expect(page.locator("#heat-readout")).to_have_text(
        re.compile(rf"^\w+, 3 Nov {YEAR}, 18:00 · 3\.00.kWh$")
    )


@pytest.mark.browser
def test_a_chart_is_there_as_a_file(open_page: OpenPage) -> None:
    page = open_page(f"?of=main&span=year&at={YEAR}")
    expect(page.locator("#past")).to_have_attribute("aria-busy", "false")

    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()

    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0] == "from,to,imported,before"
    assert len(lines) == 13
    assert lines[12].split(",")[0] == f"{YEAR}-11-30T23:00:00.000Z"
    assert lines[11].split(",")[2] == "780"


@pytest.mark.browser
def test_a_meter_without_a_counter_shows_its_power_and_what_was_voided(open_page: OpenPage) -> None:
    yesterday = TODAY - timedelta(days=1)
    page = open_page(f"?of=esp&at={yesterday}")

    expect(page.locator('[data-show="power"]')).to_have_attribute("aria-pressed", "true")
    expect(figure(page, "Peak")).to_contain_text(f"135{SPACE}W")
    expect(page.locator("#marks")).to_contain_text("are void: test of a lamp")

    page.get_by_role("button", name="Energy").click()

    expect(page.locator("#nothing")).to_contain_text("esp: no energy was counted in this period.")


@pytest.mark.browser
def test_the_page_speaks_german(open_page: OpenPage) -> None:
    page = open_page(f"?of=main&span=month&at={YEAR}-11", locale="de-DE")

    expect(page.locator("h1")).to_have_text("Verlauf")
    expect(page.get_by_role("button", name="Monat")).to_have_attribute("aria-pressed", "true")
    expect(figure(page, "Bezogen")).to_contain_text(f"780,00{SPACE}kWh")
    expect(figure(page, "Bezogen")).to_contain_text(re.compile("3.% weniger als davor"))


@pytest.mark.browser
def test_a_small_phone_needs_no_sideways_scrolling(open_page: OpenPage) -> None:
    small = {"width": 320, "height": 640}
    for query in (f"?span=month&at={YEAR}-11&heat=yes", f"?of=main,pump,roof&at={YEAR}-11-03"):
        page = open_page(query, viewport=small)
        table(page)
        page.locator("#past[data-ready]").wait_for()
        assert page.evaluate("() => document.documentElement.scrollWidth") == 320
