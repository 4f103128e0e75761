"""The page of the prices in a real browser: dynamic ones, tariffs, and what another would cost."""

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from tests.web.filled_site import (
    PHONE,
    SMALL_PHONE,
    OpenPage,
    fits,
    midnight,
    open_page,
    site,
)  # fmt: skip

__all__ = ["open_page", "site"]  # fixtures

pytestmark = pytest.mark.browser


def at_hour(hour: int) -> int:
    """Return an hour of the site's today as epoch milliseconds."""
    return int(midnight().replace(hour=hour, minute=20).timestamp() * 1000)


def with_clock(page: Page, hour: int) -> None:
    """Let a page, and the answers that it gets, have an hour of today."""
    moment = datetime.fromtimestamp(at_hour(hour) / 1000, UTC)
    page.clock.set_fixed_time(moment)
    date = f"{moment:%a, %d %b %Y %H:%M:%S} GMT"

    def answer(route: object) -> None:
        response = route.fetch()  # type: ignore[attr-defined]
        headers = response.headers | {"date": date}
        route.fulfill(response=response, headers=headers)  # type: ignore[attr-defined]

    page.route(re.compile(r"/(tariffs|meters)/"), answer)


def test_the_price_of_now_is_named_with_its_end(open_page: OpenPage) -> None:
    page = open_page("/view/prices", before=lambda page: with_clock(page, 15))

    expect(page.locator("#readout")).to_have_text(
        "Now €0.35/kWh, until 16:00 · with the markup of €0.10, without taxes"
    )
    expect(page.locator("#steps .now-line")).to_have_css("left", re.compile(r"\d"))
    expect(page.locator("#steps")).to_have_attribute(
        "aria-label", re.compile(r"^Now €0\.35/kWh.+lowest €0\.20 .+highest €0\.43 ")
    )


def test_gaps_stay_gaps(open_page: OpenPage) -> None:
    page = open_page("/view/prices", before=lambda page: with_clock(page, 9))

    expect(page.locator("#readout")).to_contain_text("No price is known for now")
    expect(page.locator("#steps .gap")).to_have_count(2)
    expect(page.locator("#gaps")).to_have_text(
        re.compile(r"^No price: .+, 0:00.10:00; .+, 10:00.12:00$")
    )
    drawn = page.locator("#steps path.line").get_attribute("d") or ""
    assert drawn.count("M") == 2


def test_the_chart_is_also_a_table(open_page: OpenPage) -> None:
    page = open_page("/view/prices")
    page.get_by_text("As a table").click()

    rows = page.locator("#table tbody tr")
    expect(rows).to_have_count(14 + 22)
    expect(rows.first).to_have_text(re.compile(r"10:00.11:00€0\.30$"))


def test_the_tariffs_in_force_and_to_come_are_listed(open_page: OpenPage) -> None:
    page = open_page("/view/prices")

    household = page.locator('[data-tariff="household"].tariff')
    for text in (
        "In force since 1 January 2020, until 1 January 2999",
        "night (22:00\N{EN DASH}06:00, Mon\N{EN DASH}Fri)",
        "€0.24/kWh", "Otherwise", "€0.32/kWh", "€0.08/kWh", "€12.50 a month", "VAT",
        "From 1 January 2999", "€0.40/kWh", "of all meters without another one",
    ):  # fmt: skip
        expect(household).to_contain_text(text)
    spot = page.locator('[data-tariff="spot"].tariff')
    expect(spot).to_contain_text("by the list spot")
    expect(spot).to_contain_text("oven")


def test_a_period_is_compared_by_each_tariff(open_page: OpenPage) -> None:
    day = f"{midnight(-2):%Y-%m-%d}"
    page = open_page(f"/view/prices?meter=oven&from={day}&to={day}")

    consumed = (midnight(-1).timestamp() - midnight(-2).timestamp()) / 3600 / 2
    expect(page.locator("#consumed")).to_have_text(
        re.compile(rf"^{consumed:.2f}.kWh drawn$".replace(".2f", ""))
    )
    spot = page.locator('#comparison [data-tariff="spot"]')
    expect(spot).to_contain_text("its own")
    expect(spot).to_contain_text(re.compile(rf"not known: {consumed:.2f}.kWh have no price"))
    household = page.locator('#comparison [data-tariff="household"]')
    expect(household).to_contain_text(re.compile(r"€\d\.\d\d"))


def test_another_tariff_is_more_or_less_than_the_own(open_page: OpenPage) -> None:
    page = open_page("/view/prices", before=cheaper)

    expect(page.locator('#comparison [data-tariff="household"] td').nth(1)).to_have_text("€30.00")
    expect(page.locator('#comparison [data-tariff="spot"] td').nth(1)).to_have_text("€21.50")
    expect(page.locator('#comparison [data-tariff="spot"] td').nth(2)).to_have_text("€8.50 less")


def cheaper(page: Page) -> None:
    """Answer with known costs: a total of 30.00, by the tariff spot 21.50."""

    def answer(route: object) -> None:
        is_spot = "tariff=spot" in route.request.url  # type: ignore[attr-defined]
        period = {
            "imported": 100.0, "exported": None, "cost": 21.5 if is_spot else 30.0, "uncovered": 0,
        }  # fmt: skip
        route.fulfill(  # type: ignore[attr-defined]
            json={
                "tariff": "spot" if is_spot else "household",
                "currency": "EUR",
                "periods": [period],
            }
        )

    page.route("**/energy?**", answer)


def test_without_a_tariff_the_page_names_the_file(open_page: OpenPage) -> None:
    page = open_page(
        "/view/prices",
        before=lambda page: page.route(
            "**/tariffs/", lambda route: route.fulfill(json={"tariffs": [], "prices": []})
        ),
    )

    expect(page.locator("#empty")).to_contain_text("There is no tariff yet")
    expect(page.locator("#empty")).to_contain_text("tariffs.toml")
    expect(page.locator("#dynamic")).to_be_hidden()
    expect(page.locator("#what-if")).to_be_hidden()


def test_without_prices_the_page_names_the_command(open_page: OpenPage) -> None:
    page = open_page(
        "/view/prices",
        before=lambda page: page.route(
            "**/prices?**", lambda route: route.fulfill(json={"prices": []})
        ),
    )

    expect(page.locator("#no-prices")).to_contain_text("meterflow prices import FILE --tariff spot")
    expect(page.locator("#steps")).to_be_hidden()


def test_the_page_fits_a_phone_and_speaks_german(open_page: OpenPage) -> None:
    small = open_page("/view/prices", viewport=SMALL_PHONE, color_scheme="dark")
    expect(small.locator("#comparison tbody tr")).to_have_count(2)
    assert fits(small)

    page = open_page("/view/prices", viewport=PHONE, locale="de-DE")
    expect(page.get_by_role("heading", level=1)).to_have_text("Preise")
    expect(page.locator('[data-tariff="household"].tariff')).to_contain_text("0,32\u00a0€/kWh")
    assert fits(page)
