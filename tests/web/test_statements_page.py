"""The page of the statements in a real browser: a list, one of them, and how it prints."""

import json
import re
from datetime import UTC, timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.web.filled_site import (
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


def last_month() -> tuple[Any, Any]:
    """Return the first moments of the site's last month and of this one."""
    this = midnight().replace(day=1)
    return (this - timedelta(days=1)).replace(day=1), this


def hours() -> float:
    since, until = (moment.astimezone(UTC) for moment in last_month())
    return (until - since) / timedelta(hours=1)


def test_the_statements_of_the_last_month_are_listed(open_page: OpenPage) -> None:
    page = open_page("/view/statements")

    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(3)
    expect(page.get_by_role("button", name="Last month")).to_have_attribute("aria-pressed", "true")
    expect(rows.nth(1)).to_contain_text(
        re.compile(rf"^Main meter main{hours():.2f}.kWh€\d+\.\d\d$")
    )
    expect(rows.first).to_contain_text("The house")
    expect(rows.nth(2)).to_contain_text("not known")


def test_a_statement_has_registers_lines_and_total(site: FilledSite, open_page: OpenPage) -> None:
    page = open_page("/view/statements")
    page.get_by_role("link", name="Main meter").click()

    paper = page.locator('.paper[data-meter="main"]')
    expect(paper.get_by_role("heading", level=2)).to_have_text("Electricity statement")
    expect(paper).to_contain_text(f"{hours():.3f}\N{NARROW NO-BREAK SPACE}kWh")
    expect(paper).to_contain_text("Energy import")
    for line in ("Night", "Other times", "Base price", "VAT"):
        expect(paper).to_contain_text(line)
    with urlopen(f"{site.url}/statements/main") as answer:
        total = json.load(answer)["statements"][0]["total"]
    expect(paper.locator("tfoot")).to_have_text(f"Total{total:.2f}")
    expect(page).to_have_title(re.compile("^Electricity statement, Main meter, 1"))
    page.get_by_role("link", name="All statements").click()
    expect(page.locator("#rows")).to_be_visible()


def test_energy_without_a_price_makes_the_total_unknown(open_page: OpenPage) -> None:
    page = open_page("/view/statements?show=oven")

    expect(page.locator(".paper tfoot")).to_have_text("Totalnot known")
    expect(page.locator(".paper")).to_contain_text(
        f"{hours() / 2:.3f}\N{NARROW NO-BREAK SPACE}kWh have no price, so that the total"
    )


def test_void_readings_are_remarked(open_page: OpenPage) -> None:
    day = f"{midnight(-1):%Y-%m-%d}"
    page = open_page(f"/view/statements?show=oven&from={day}&to={day}")

    expect(page.locator(".paper")).to_contain_text("do not count: the door was open")


def test_another_tariff_is_applied(open_page: OpenPage) -> None:
    page = open_page("/view/statements?show=oven")
    page.get_by_label("Tariff").select_option("household")

    expect(page.locator(".paper tfoot")).to_have_text(re.compile(r"^Total\d+\.\d\d$"))
    expect(page).to_have_url(re.compile("tariff=household"))


def test_only_the_paper_is_printed_each_meter_on_a_page_of_its_own(open_page: OpenPage) -> None:
    page = open_page("/view/statements?show=all")
    expect(page.locator(".paper")).to_have_count(2)

    page.emulate_media(media="print")

    for hidden in (".top", ".foot", "#filter", ".actions"):
        expect(page.locator(hidden).first).to_be_hidden()
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf(prefer_css_page_size=True)))
    assert pages == 2
    assert page.locator(".paper").first.evaluate("e => getComputedStyle(e).color") == (
        "rgb(20, 24, 31)"
    )


def test_the_file_to_keep_is_the_one_that_can_be_verified(
    site: FilledSite, open_page: OpenPage
) -> None:
    page = open_page("/view/statements?show=main")
    link = page.get_by_role("link", name="File to keep")
    expect(link).to_have_attribute("href", re.compile("format=html"))

    with urlopen(site.url + (link.get_attribute("href") or "")) as answer:
        assert '<script type="application/json" id="statements">' in answer.read().decode()


def waits(page: Page) -> None:
    detail = "meter main: readings before noon wait to be rolled up; try again"
    page.route(
        "**/statements/?**", lambda route: route.fulfill(status=503, json={"detail": detail})
    )


def test_a_statement_that_cannot_be_made_says_why(open_page: OpenPage) -> None:
    page = open_page("/view/statements", expected="503", before=waits)

    expect(page.locator("#nothing")).to_contain_text("wait to be rolled up; try again")
    expect(page.locator("#list")).to_be_hidden()


def test_the_house_fits_a_phone_and_speaks_german(open_page: OpenPage) -> None:
    page = open_page(
        "/view/statements?show=house", viewport=SMALL_PHONE, locale="de-DE", color_scheme="dark"
    )

    expect(page.locator(".paper").first).to_contain_text("Verbrauch")
    expect(page.locator(".paper").nth(1)).to_contain_text("Andere Zeiten")
    expect(page.locator(".paper").nth(1)).to_contain_text("Stromabrechnung")
    assert fits(page)
