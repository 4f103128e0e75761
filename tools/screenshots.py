"""Take the pictures of docs/screenshots from the demo: `make screenshots`.

Each page on a desk, light and dark, and on a phone; the overview also on a wall. Git tracks those
that the README shows; look at all of them.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.parts import CHROMIUM_OPTIONS, ROOT, Part, free_port, require
from web.pages import VIEWS

FOLDER = ROOT / "docs" / "screenshots"
DESK = {"width": 1280, "height": 800}
SIZES: dict[str, dict[str, Any]] = {
    "desk": {"viewport": DESK, "color_scheme": "light"},
    "desk-dark": {"viewport": DESK, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "device_scale_factor": 2,
    },
}
WALL = {"viewport": {"width": 1920, "height": 1080}, "color_scheme": "dark"}
ZONE = "Europe/Berlin"


def main() -> None:
    """Start the demo, wait for its past year, and visit each page."""
    FOLDER.mkdir(exist_ok=True)
    settings = {"MQTT_PORT": free_port(), "HTTP_PORT": free_port(), "TIMEZONE": ZONE}
    with (
        tempfile.TemporaryDirectory() as directory,
        Part.module("meterflow", "run", directory=Path(directory), **settings) as demo,
        sync_playwright() as playwright,
    ):
        demo.wait_for("the past year of the demo's meters is stored", 120)
        browser = playwright.chromium.launch(
            executable_path=require("chromium"), args=CHROMIUM_OPTIONS
        )
        for name, address, options in _pictures():
            _take(browser, f"http://127.0.0.1:{settings['HTTP_PORT']}{address}", name, options)
        browser.close()


def _pictures() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the name, the address and the screen of each picture."""
    addresses = {view.name: view.path for view in VIEWS}
    addresses |= {"history": "/view/history?span=month", "meter": "/meter/house"}
    for view, address in addresses.items():
        for size, options in SIZES.items():
            yield f"{view}-{size}", address, options
    yield "overview-wall", "/?kiosk", WALL


def _take(browser: Browser, url: str, name: str, options: dict[str, Any]) -> None:
    context = browser.new_context(locale="en-GB", timezone_id=ZONE, **options)
    page: Page = context.new_page()
    page.goto(url, wait_until="networkidle")
    page.screenshot(path=FOLDER / f"{name}.png", full_page="phone" in name)
    context.close()


if __name__ == "__main__":
    main()
