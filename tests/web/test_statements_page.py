"""The page of the statements in a real browser: a list, one of them, and how it prints."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import Locator, Page, expect

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


def test_the_running_month_is_shown_so_far(site: FilledSite, open_page: OpenPage) -> None:
    page = open_page("/view/statements")
    page.get_by_role("button", name="This month").click()

    # In the first hour of a month there is none yet.
    so_far, nothing = page.locator("#so-far"), page.locator("#nothing")
    expect(so_far.or_(nothing).filter(visible=True)).to_have_text(
        re.compile("^So far, until .* Not final: the period ends on|no hour of this period")
    )
    with urlopen(f"{site.url}/meters/main/energy?period=month") as answer:
        until_now = json.load(answer)["running"]["now"]["imported"]
    if so_far.is_visible():
        page.get_by_role("link", name="Main meter").click()
        paper = page.locator('.paper[data-meter="main"]')
        expect(paper.locator(".so-far")).to_contain_text("Not final")
        with urlopen(f"{site.url}/statements/main?so_far=true") as answer:
            (found,) = json.load(answer)["statements"]
        assert until_now - 2 <= found["imported"] <= until_now


def utility_form(page: Page) -> Locator:
    page.get_by_role("link", name="Enter what the utility").click()
    form = page.locator("#utility form")
    expect(form).to_be_in_viewport()
    expect(form.get_by_label("Meter")).to_have_value("main")
    return form


def enter(form: Locator, value: str, when: datetime) -> None:
    form.get_by_label("It shows, in kWh").fill(value)
    form.get_by_label("When").fill(f"{when:%Y-%m-%dT%H:%M}")
    form.get_by_role("button", name="Save").click()


def test_readings_of_the_utility_are_entered_corrected_and_removed(open_page: OpenPage) -> None:
    page = open_page("/view/statements")
    form, entries = utility_form(page), page.locator(".utility-list li")
    status = form.get_by_role("status")

    enter(form, "84,210.5", midnight(-1).replace(hour=12))
    expect(entries).to_have_count(1)
    expect(entries.first).to_contain_text("The first one: the next is compared with it.")
    expect(form.get_by_label("It shows, in kWh")).to_have_value("")

    enter(form, "84225.5", midnight())
    expect(entries).to_have_count(2)
    expect(entries.first).to_contain_text(
        re.compile(r"ours 12\.0.kWh, utility 15\.0.kWh: .20\.00.%")  # at 1 kW for 12 hours
    )
    expect(entries.first).to_contain_text("check this number, and the wiring")

    entries.first.get_by_role("button", name="Correct").press("Enter")
    expect(form.get_by_label("It shows, in kWh")).to_be_focused()
    expect(form.get_by_label("It shows, in kWh")).to_have_value("84225.5")
    enter(form, "84222.45", midnight())
    expect(entries.first).to_contain_text(re.compile(r"utility 12\.0.kWh: \+0\.42.%"))
    expect(entries.first).not_to_contain_text("wiring")
    expect(status).to_contain_text(re.compile("^Saved: .*84,222.45.kWh"))

    entries.first.get_by_role("button", name="Remove").click()
    expect(entries).to_have_count(1)
    expect(status).to_contain_text("Removed")
    expect(status.get_by_role("button", name="Undo")).to_be_focused()
    status.get_by_role("button", name="Undo").click()
    expect(entries).to_have_count(2)
    for left in (1, 0):
        entries.first.get_by_role("button", name="Remove").click()
        expect(entries).to_have_count(left)


def test_the_page_of_the_meters_leads_to_the_form(open_page: OpenPage) -> None:
    page = open_page("/view/meters?meter=oven", viewport=PHONE)
    page.get_by_role("link", name="Enter what the utility").filter(visible=True).click()

    form = page.locator("#utility form")
    expect(form.get_by_label("Meter")).to_have_value("oven")
    expect(form.get_by_label("It shows, in kWh")).to_be_focused()
    expect(form.get_by_label("It shows, in kWh")).to_be_in_viewport()

    enter(form, "100", midnight(-1).replace(hour=14, minute=50))  # its readings are void
    entry = page.locator(".utility-list li")
    expect(entry).to_contain_text("Our meter has no readings from")
    entry.get_by_role("button", name="Remove").click()
    expect(entry).to_have_count(0)


def test_a_mistake_in_an_entry_stands_at_its_field(open_page: OpenPage) -> None:
    page = open_page("/view/statements", expected="422")
    form = utility_form(page)
    value, wrong = form.get_by_label("It shows, in kWh"), form.locator('[data-wrong="value"]')

    form.get_by_role("button", name="Save").click()
    expect(wrong).to_have_text("Enter what the meter shows.")
    expect(value).to_be_focused()
    enter(form, "12a", midnight())
    expect(wrong).to_have_text("Enter a number, such as 12,345.6.")
    expect(value).to_have_attribute("aria-invalid", "true")
    enter(form, "12", midnight(2))

    expect(form.locator('[data-wrong="ts"]')).to_have_text("This time is in the future.")
    expect(wrong).to_be_empty()
    expect(page.locator(".utility-list li")).to_have_count(0)


@pytest.mark.parametrize(
    ("locale", "typed"),
    [
        (
            "en-GB",
            {"1,236": "1,236.0", "1,236.5": "1,236.5", "1236,5": "1,236.5", "1 236": "1,236.0"}
            | {"1.236,5": "1,236.5", "1.2345": "1.235", "1,23,4": "", "1.2.3": "", "kWh": ""},
        ),
        (
            "de-DE",
            {
                "1.236": "1.236,0",
                "1.236,5": "1.236,5",
                "1236.5": "1.236,5",
                "12345.678": "12.345,678",
            }
            | {"1.234.567": "1.234.567,0", "1,236": "1,236"},
        ),
    ],
)
def test_numbers_are_understood_as_they_are_written(
    open_page: OpenPage, locale: str, typed: dict[str, str]
) -> None:
    page = open_page("/view/statements", viewport=PHONE, locale=locale, color_scheme="dark")
    form = page.locator("#utility form")

    for text, shown in typed.items():
        form.locator('[name="value"]').fill(text)
        expected = f"= {shown}\N{NARROW NO-BREAK SPACE}kWh" if shown else ""
        expect(form.locator(".understood")).to_have_text(expected)
    assert fits(page)


def test_the_house_fits_a_phone_and_speaks_german(open_page: OpenPage) -> None:
    page = open_page(
        "/view/statements?show=house", viewport=SMALL_PHONE, locale="de-DE", color_scheme="dark"
    )

    expect(page.locator(".paper").first).to_contain_text("Verbrauch")
    expect(page.locator(".paper").nth(1)).to_contain_text("Andere Zeiten")
    expect(page.locator(".paper").nth(1)).to_contain_text("Stromabrechnung")
    assert fits(page)
