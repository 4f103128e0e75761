"""The page of the REST interface in a real browser: offline, under its strict rules."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, expect

from tests.support.parts import Part, free_port

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web service without a broker."""
    settings = {"HTTP_PORT": free_port(), "MQTT_PORT": free_port()}
    with Part.module("web", directory=tmp_path_factory.mktemp("web"), **settings) as web:
        web.wait_for("listening")
        yield settings["HTTP_PORT"]


def test_the_interface_can_be_read_and_tried_without_the_internet(
    port: int, chromium: Browser
) -> None:
    errors: list[str] = []
    hosts: set[str] = set()
    with closing(chromium.new_context()) as context:
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.goto(f"http://127.0.0.1:{port}/docs")
        with urlopen(f"http://127.0.0.1:{port}/openapi.json") as response:
            paths = json.load(response)["paths"].values()

        operations = sum(len(methods) for methods in paths)
        expect(page.locator(".opblock")).to_have_count(operations)
        page.locator(".opblock-get").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        answer = page.locator(".live-responses-table tbody .response-col_status")
        expect(answer.first).to_contain_text("200")
        page.get_by_role("link", name="All meters").click()
        expect(page.locator("#connection")).to_be_visible()

    assert errors == []
    assert hosts - {""} == {f"127.0.0.1:{port}"}  # images in the page itself have no host


@pytest.mark.parametrize("theme", ["auto", "dark", "light"])
def test_the_interface_is_dark_where_the_pages_are(
    port: int, chromium: Browser, theme: str
) -> None:
    with closing(chromium.new_context(color_scheme="dark")) as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        button = page.get_by_role("button", name="Theme: auto")
        for _ in range(["auto", "light", "dark"].index(theme)):
            page.locator("#theme").click()
        assert theme == "auto" or not button.is_visible()
        page.goto(f"http://127.0.0.1:{port}/docs")

        expect(page.locator(".opblock").first).to_be_visible()
        background, text = (
            page.evaluate(f"getComputedStyle({where}).{what}")
            for where, what in (
                ("document.documentElement", "backgroundColor"),
                ("document.querySelector('.opblock-summary-path')", "color"),
            )
        )

    is_dark = theme != "light"
    assert (_brightness(background) < 80) == is_dark
    assert (_brightness(text) > 150) == is_dark


def _brightness(colour: str) -> float:
    """Return the brightness of a computed colour; one without opacity is white paper."""
    numbers = [float(number) for number in re.findall(r"[0-9.]+", colour)]
    return 255 if numbers[3:] == [0] else sum(numbers[:3]) / 3
