"""The page of the meters in a real browser: what a viewer reads, and what an editor changes."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.parts import require
from tests.web.filled_site import (
    PASSWORD,
    SMALL_PHONE,
    FilledSite,
    OpenPage,
    fits,
    open_page,
)
from web.users import set_user

__all__ = ["open_page"]  # fixtures

pytestmark = pytest.mark.browser

REVERSED = "L2 appears to export 748 W while other phases import"
INFO = {
    "name": "Meter in the cellar", "manufacturer": "Eastron", "model": "SDM630-Modbus V2",
    "serial": "21001026", "wiring": "3p4w", "bridge": "cellar", "gateway": "line 1", "unit_id": 1,
    "interval": 3600,
    "blocks": [
        {"address": 0, "count": 76, "interval": 1}, {"address": 342, "count": 40, "interval": 30},
    ],
    "link": {"readings": 9998, "timeouts": 2, "faults": 0, "held": 3},
    "wiring_check": {
        "suspicions": [{"text": REVERSED, "remedy": "turn the current transformer of L2 around"}],
        "idle": ["l3"],
    },
    "events": ["held back, counter at 0: energy_import", "another meter responds now"],
}  # fmt: skip
GATEWAY = {"name": "line 1", "address": "192.168.1.100", "connected": True, "framing": "tcp"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilledSite]:
    require("mosquitto")
    directory = tmp_path_factory.mktemp("site")
    users = directory / "state" / "web-users"
    set_user(users, "anna", "viewer", PASSWORD)
    set_user(users, "ben", "editor", PASSWORD)
    with ExitStack() as stack:
        site = FilledSite(directory, stack, WEB_USERS_FILE=users)
        site.say("meters/_bridge/cellar/status", "online")
        site.say("meters/_bridge/cellar/info", json.dumps({"gateways": [GATEWAY]}))
        site.say("meters/main/info", json.dumps(INFO))
        site.say("meters/main/status", "online")
        site.say("meters/main/voltage/wrong", "1")
        site.say("meters/main/reading", json.dumps({"power": "much"}))
        yield site


def row(page: Page, meter_id: str) -> Locator:
    return page.locator(f'[data-meter="{meter_id}"] summary')


def body(page: Page, meter_id: str) -> Locator:
    return page.locator(f'[data-meter="{meter_id}"] .body')


def open_form(open_page: OpenPage, meter_id: str, **options: Any) -> tuple[Page, Locator]:
    page = open_page(f"/view/meters?meter={meter_id}", user="ben", **options)
    form = body(page, meter_id).locator("form")
    expect(form).to_be_visible()
    return page, form


def test_each_meter_has_a_row_below_its_parent(site: FilledSite, open_page: OpenPage) -> None:
    page = open_page("/view/meters", user="anna")
    rows = page.locator("#meters > details")
    expect(rows).to_have_count(2)
    expect(rows.first).to_have_attribute("data-meter", "main")
    assert rows.nth(1).evaluate("row => row.style.getPropertyValue('--depth')") == "1"
    expect(row(page, "main")).to_contain_text("Grid")
    expect(row(page, "main")).to_contain_text("SDM630-Modbus V2")

    site.read("oven", power=64_230.0)

    expect(row(page, "oven").locator(".power")).to_have_text(re.compile(r"^64\.23.kW$"))


def test_an_opened_meter_shows_what_it_is_and_what_is_wrong(open_page: OpenPage) -> None:
    page = open_page("/view/meters", user="anna")
    row(page, "main").press("Enter")

    shown = body(page, "main")
    for text in (
        "21001026", "Eastron SDM630-Modbus V2", "3p4w", "192.168.1.100, connected",
        "0\N{EN DASH}75", "342\N{EN DASH}381", "99.98% good responses", REVERSED,
        "Turn the current transformer of L2 around",
        "Too little load to check: L3", "Held back, counter at 0: energy_import",
        "Another meter responds now", "power: should be a valid number",
    ):  # fmt: skip
        expect(shown).to_contain_text(text)
    expect(page).to_have_url(re.compile(r"\?meter=main$"))
    page.go_back()
    expect(shown).to_be_hidden()


def test_what_nothing_has_said_about_a_meter_is_not_known(open_page: OpenPage) -> None:
    page = open_page("/view/meters?meter=oven", user="anna")

    shown = body(page, "oven")
    expect(shown).to_contain_text("Not known: no bridge reads this meter.")
    expect(shown).to_contain_text("Not checked: only a bridge does that.")
    expect(shown).not_to_contain_text("good responses")


def test_a_viewer_sees_the_settings_and_no_form(open_page: OpenPage) -> None:
    page = open_page("/view/meters?meter=oven", user="anna")

    expect(body(page, "oven")).to_contain_text("Part of")
    expect(body(page, "oven")).to_contain_text("Main meter")
    expect(page.locator("form.settings")).to_have_count(0)


def test_a_viewer_enters_no_reading_of_the_utility(open_page: OpenPage) -> None:
    page = open_page("/view/statements", user="anna")

    expect(page.locator("#rows tbody tr")).not_to_have_count(0)
    expect(page.locator("#utility form, #to-utility")).to_have_count(0)


def test_an_editor_names_a_meter_and_gives_it_a_role(open_page: OpenPage) -> None:
    page, form = open_form(open_page, "oven")
    form.get_by_label("Name").fill("Kitchen oven")
    form.get_by_label("Role").select_option("Consumer")
    form.get_by_label("Name").press("Enter")

    expect(row(page, "oven")).to_contain_text("Kitchen oven")
    expect(row(page, "oven")).to_contain_text("Consumer")
    page.reload()
    expect(form.get_by_label("Name")).to_have_value("Kitchen oven")

    form.get_by_label("Name").fill("")
    form.get_by_role("button", name="Save").click()
    expect(row(page, "oven")).to_have_text(re.compile(r"oven"))
    expect(row(page, "oven")).not_to_contain_text("Kitchen")


def test_an_empty_field_shows_what_the_meter_itself_says(open_page: OpenPage) -> None:
    _, form = open_form(open_page, "main")

    expect(form.get_by_label("Name")).to_have_value("Main meter")
    expect(form.get_by_label("Name")).to_have_attribute("placeholder", "Meter in the cellar")
    expect(form.get_by_label("Serial number")).to_have_attribute("placeholder", "21001026")


def test_a_mistake_stands_at_its_field_in_plain_words(open_page: OpenPage) -> None:
    _, form = open_form(open_page, "main", expected="422")
    parent = form.get_by_label("Part of")
    parent.select_option("oven")
    form.get_by_role("button", name="Save").click()

    expect(form.locator('[data-wrong="parent"]')).to_have_text(
        "The meter would be part of itself: main → oven → main"
    )
    expect(parent).to_have_attribute("aria-invalid", "true")
    expect(parent).to_be_focused()
    expect(form.get_by_role("status")).to_have_text("Not saved.")
    parent.select_option("")
    form.get_by_label("Name").fill("x" * 101)
    form.get_by_role("button", name="Save").click()
    expect(form.locator('[data-wrong="name"]')).to_have_text("At most 100 characters.")
    expect(form.locator('[data-wrong="parent"]')).to_be_empty()


def test_a_form_fits_the_smallest_phone_in_the_dark(open_page: OpenPage) -> None:
    page, form = open_form(open_page, "main", viewport=SMALL_PHONE, color_scheme="dark")

    expect(form.get_by_role("button", name="Save")).to_be_visible()
    expect(body(page, "main")).to_contain_text("99.98% good responses")
    assert fits(page)


def test_the_page_speaks_german(open_page: OpenPage) -> None:
    page = open_page("/view/meters?meter=main", user="anna", locale="de-DE")

    expect(page.get_by_role("heading", level=1)).to_have_text("Zähler")
    expect(row(page, "main")).to_contain_text("Netz")
    expect(body(page, "main")).to_contain_text("99,98\u00a0% gute Antworten")


def test_a_site_without_meters_says_how_a_first_one_appears(open_page: OpenPage) -> None:
    page = open_page(
        "/view/meters",
        user="anna",
        before=lambda page: page.route("**/meters/", lambda route: route.fulfill(json=[])),
    )

    expect(page.locator("#empty")).to_contain_text("There is no meter yet")
