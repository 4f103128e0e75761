"""The page of the REST interface in a real browser: offline, under its strict rules."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support.parts import CHROMIUM_OPTIONS, Part, free_port, require

pytestmark = pytest.mark.browser


def test_the_interface_can_be_read_and_tried_without_the_internet(tmp_path: Path) -> None:
    chromium = require("chromium")
    port = free_port()
    errors: list[str] = []
    hosts: set[str] = set()
    settings = {"HTTP_PORT": port, "MQTT_PORT": free_port()}
    with Part.module("web", directory=tmp_path, **settings) as web, sync_playwright() as playwright:
        web.wait_for("listening")
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS)
        page = browser.new_page()
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.goto(f"http://127.0.0.1:{port}/docs")

        expect(page.locator(".opblock")).to_have_count(6, timeout=15_000)
        page.locator(".opblock-get").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        answer = page.locator(".live-responses-table tbody .response-col_status")
        expect(answer.first).to_contain_text("200")
        browser.close()

    assert errors == []
    assert hosts - {""} == {f"127.0.0.1:{port}"}  # images in the page itself have no host
