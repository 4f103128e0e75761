"""The story of one value: from a meter's register to a number in a browser, through real parts."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest
import websocket
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.parts import CHROMIUM_OPTIONS, Part, free_port, listens, require, wait_until

pytestmark = pytest.mark.browser


class Site:
    """All parts of a site with one simulated meter, each a process on a port of its own."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.broker, self.gateway, self.control, self.http = (free_port() for _ in range(4))
        simulator = f"--port={self.gateway}", f"--control={self.control}", "--units=1", "--baud=0"
        for part in (
            Part.module("broker", directory=directory, MQTT_PORT=self.broker),
            Part.module("simulator", *simulator, directory=directory),
            Part.module(
                "gateway_bridge",
                directory=directory,
                MQTT_PORT=self.broker,
                MODBUS_HOST="127.0.0.1",
                MODBUS_PORT=self.gateway,
                POLL_INTERVAL=0.5,
            ),
            Part.module("recorder", directory=directory, MQTT_PORT=self.broker),
            Part.module("web", directory=directory, MQTT_PORT=self.broker, HTTP_PORT=self.http),
        ):
            stack.enter_context(part)
        wait_until(lambda: listens(self.http) and listens(self.control), what="web and simulator")
        wait_until(lambda: self.get("/readings/"), 30, "the first reading")

    def set_register(self, quantity: str, value: float) -> None:
        with socket.create_connection(("127.0.0.1", self.control), timeout=30) as connection:
            connection.sendall(f"set 1 {quantity} {value}\n".encode())
            assert connection.recv(100) == b"ok\n"

    def subscriber(self) -> Part:
        command = (require("mosquitto_sub"), "-v", "-p", str(self.broker), "-t", "meters/#")
        return Part(*command, directory=self.directory)

    def row(self, power: float) -> str:
        query = f"SELECT meter, power FROM readings WHERE power = {power} LIMIT 1"
        command = [require("sqlite3"), "-readonly", self.directory / "energy_meters.db", query]
        return subprocess.check_output(command, text=True).strip()

    def get(self, path: str) -> list[dict[str, object]]:
        with urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return list(json.load(answer))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A running site."""
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a real Chromium."""
    path = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield browser.new_page(locale="en-US")
        browser.close()


def frame_with(socket_: websocket.WebSocket, power: float) -> dict[str, object]:
    while (frame := json.loads(socket_.recv()))["power"] != power:
        pass
    return dict(frame)


def test_a_changed_register_arrives_over_mqtt_in_the_history_and_in_the_browser(
    site: Site, page: Page
) -> None:
    page.goto(f"http://127.0.0.1:{site.http}/")
    shown = page.locator('[data-meter="1"] [data-quantity="power"]').first
    expect(shown).to_be_visible(timeout=10_000)
    frames = websocket.create_connection(f"ws://127.0.0.1:{site.http}/ws/1", timeout=30)

    with site.subscriber() as subscriber:
        site.set_register("power", 4321)
        subscriber.wait_for("meters/1/power 4321")
        subscriber.wait_for('"power":4321')

    wait_until(lambda: site.row(4321) == "1|4321.0", what="the row")
    assert [reading["power"] for reading in site.get("/readings/1?limit=1")] == [4321]
    assert frame_with(frames, 4321)["meter_id"] == "1"
    expect(shown).to_contain_text("4,321", timeout=10_000)
    frames.close()
