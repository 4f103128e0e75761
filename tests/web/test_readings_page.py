"""The page of the readings in a real browser, on a known past."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.support.parts import wait_until
from tests.web.filled_site import (
    PHONE,
    SMALL_PHONE,
    FilledSite,
    OpenPage,
    fits,
    midnight,
    open_page,
    site,
)

__all__ = ["open_page", "site"]  # fixtures

pytestmark = pytest.mark.browser


def yesterday() -> str:
    """Return the query for the whole of yesterday."""
    return f"from={midnight(-1):%Y-%m-%d}T00:00&to={midnight():%Y-%m-%d}T00:00"


def newest(site: FilledSite, meter_id: str) -> dict[str, Any]:
    with urlopen(f"{site.url}/readings/{meter_id}?limit=1") as answer:
        return json.load(answer)[0]


def heads(page: Page) -> list[str]:
    return page.locator("#readings thead th").all_inner_texts()


def test_the_newest_readings_of_all_meters_come_first_page_by_page(open_page: OpenPage) -> None:
    page = open_page("/view/readings")

    rows = page.locator("#readings tbody tr:not(.day)")
    expect(rows).to_have_count(100)
    expect(page.locator("#summary")).to_contain_text("100 readings")
    expect(page.locator("#connection")).to_have_text("Live")
    first = rows.first.all_inner_texts()[0]
    assert heads(page)[:2] == ["Time", "Meter"]
    expect(rows.nth(1)).to_contain_text("Main meter")
    expect(rows.nth(1)).to_contain_text("1,000")
    expect(rows.nth(1)).to_contain_text("230.5")

    page.get_by_role("link", name="Older").click()

    expect(page).to_have_url(re.compile("cursor="))
    expect(rows).to_have_count(100)
    expect(rows.first).not_to_have_text(first)
    page.get_by_role("link", name="Newer").click()
    expect(rows.first).to_contain_text(first.split("\t")[0])
    expect(page.locator("#newer")).to_have_attribute("aria-disabled", "true")


def test_void_readings_are_marked_and_say_why(open_page: OpenPage) -> None:
    page = open_page(f"/view/readings?meter=oven&{yesterday()}")

    day = midnight().astimezone(UTC) - midnight(-1).astimezone(UTC)
    quarters = day // timedelta(minutes=15)
    expect(page.locator("#readings tbody tr:not(.day)")).to_have_count(quarters)
    void = page.locator("#readings .void")
    expect(void).to_have_count(4)
    expect(void.first.locator("th")).to_have_text("14:45:00void")
    expect(void.first.locator(".mark")).to_have_attribute("title", "the door was open")
    expect(page.locator("#nothing")).to_contain_text(
        re.compile(
            r"^oven: void from .+14:00.15:00, no sum counts these readings: the door was open$"
        )
    )


def test_the_filter_chooses_meter_and_period_and_stays_in_the_address(open_page: OpenPage) -> None:
    page = open_page("/view/readings")
    page.get_by_label("Meter").select_option("oven")
    page.get_by_role("button", name="Yesterday").click()

    expect(page).to_have_url(re.compile(r"meter=oven&from=\d{4}-\d\d-\d\dT00%3A00&to="))
    expect(page.locator("#summary")).to_contain_text(f"{midnight(-1):%-d %b}")
    expect(page.get_by_role("button", name="Yesterday")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#readings th.meter")).to_have_count(0)

    page.reload()
    expect(page.get_by_label("Meter")).to_have_value("oven")
    expect(page.locator("#readings .void")).to_have_count(4)
    page.go_back()
    expect(page.get_by_role("button", name="Newest")).to_have_attribute("aria-pressed", "true")


def test_the_file_has_all_readings_of_the_filter(site: FilledSite, open_page: OpenPage) -> None:
    page = open_page(f"/view/readings?meter=main&show=power&{yesterday()}")
    link = page.get_by_role("link", name="Download CSV")
    expect(link).to_have_attribute("href", re.compile("fields=power"))

    with urlopen(site.url + (link.get_attribute("href") or "")) as answer:
        rows = list(csv.reader(io.StringIO(answer.read().decode())))

    assert rows[0] == ["ts", "meter_id", "power"]
    assert len(rows) > 91
    assert {tuple(row[1:]) for row in rows[1:]} == {("main", "1000.0")}


def test_a_quantity_that_the_newest_reading_lacks_is_offered(
    site: FilledSite, open_page: OpenPage
) -> None:
    site.read("oven", power=501.0)
    wait_until(lambda: newest(site, "oven")["power"] == 501.0, what="the reading in the history")

    page = open_page("/view/readings?meter=oven")

    expect(page.locator("#readings tbody tr:not(.day)").first).to_contain_text("501")

    expect(page.locator("#chosen")).to_have_text("2 of 2 shown")
    expect(page.locator("#readings thead th")).to_have_count(3)


def test_only_the_chosen_quantities_are_shown(open_page: OpenPage) -> None:
    page = open_page("/view/readings?meter=main")
    expect(page.locator("#chosen")).to_have_text("4 of 4 shown")
    page.get_by_text("Quantities").first.click()

    page.get_by_label("Energy export").uncheck()
    page.get_by_label("Voltage").uncheck()

    expect(page.locator("#readings thead th")).to_have_text(
        ["Time", re.compile("^Power"), re.compile("^Energy import")]
    )
    page.reload()
    expect(page.locator("#chosen")).to_have_text("2 of 4 shown")


def test_a_period_without_readings_says_so(open_page: OpenPage) -> None:
    page = open_page("/view/readings?from=2020-01-01&to=2020-02-01")

    expect(page.locator("#nothing")).to_have_text("There are no readings in this period.")
    expect(page.locator("#download")).to_be_hidden()
    expect(page.locator("#pager")).to_be_hidden()


def test_a_history_that_is_away_is_named(open_page: OpenPage) -> None:
    page = open_page(
        "/view/readings",
        expected="503",
        before=lambda page: page.route(
            "**/readings/?**",
            lambda route: route.fulfill(status=503, json={"detail": "the database is locked"}),
        ),
    )

    expect(page.locator("#notice")).to_have_text(
        "The readings are unavailable: the database is locked"
    )
    expect(page.locator("#nothing")).to_be_hidden()


def test_the_page_fits_a_phone_and_speaks_german(open_page: OpenPage) -> None:
    small = open_page("/view/readings", viewport=SMALL_PHONE)
    expect(small.locator("#readings tbody tr").first).to_be_visible()
    assert fits(small)

    page = open_page("/view/readings?meter=main", viewport=PHONE, locale="de-DE")
    expect(page.get_by_role("heading", level=1)).to_have_text("Messwerte")
    expect(page.locator("#summary")).to_contain_text("100 Messwerte")
    expect(page.locator("#readings tbody tr:not(.day)").first).to_contain_text("1.000")
    assert fits(page)


def test_entered_times_are_those_of_the_site(open_page: OpenPage) -> None:
    page = open_page("/view/readings")

    found = page.evaluate(
        """async () => {
          const { epoch, entered, dayOf } = await import("/static/site_time.js");
          const texts = ["2026-07-01T12:00", "2026-10-25", "2026-10-26", "2026-03-29T03:00"];
          return [...texts.map((text) => epoch(text)), entered(1782900000), dayOf(1793048400)];
        }"""
    )

    utc = ("2026-07-01T10:00", "2026-10-24T22:00", "2026-10-25T23:00", "2026-03-29T01:00")
    assert found == [
        *(datetime.fromisoformat(f"{text}+00:00").timestamp() for text in utc),
        "2026-07-01T12:00",
        "2026-10-26",
    ]
