"""A new quantity is one row of the catalogue and one register of a model: every part follows."""

import json
import re
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support.parts import (
    CHROMIUM_OPTIONS,
    ROOT,
    Part,
    free_port,
    listens,
    require,
    wait_until,
)
from tests.support.plain_client import PlainClient

pytestmark = pytest.mark.browser

PACKAGES = (
    "contract", "gateway_bridge", "history", "recorder", "service", "simulator", "web",
)  # fmt: skip
NAME, LABEL, UNIT = "busbar_temperature", "Busbar temperature", "°C"
KIND = f'TEMPERATURE = Kind("{UNIT}", 1, "temperature", -60, 300, additive=False)'
ROW = f'Quantity("{NAME}", "{LABEL}", TEMPERATURE),'
REGISTER = f'"{NAME}": 0x0190,'


def insert(path: Path, pattern: str, line: str) -> None:
    """Insert a line before the only place in a file where a pattern begins."""
    source, count = re.subn(f"(?m)(?={pattern})", f"{line}\n", path.read_text(encoding="utf-8"))
    assert count == 1, f"{path}: {pattern!r} is there {count} times"
    path.write_text(source, encoding="utf-8")


class Site:
    """All parts of a site with one simulated SDM630, started from a source tree of its own."""

    def __init__(self, source: Path, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.mqtt, self.http = free_port(), free_port()
        self._source, self._stack = source, stack
        gateway, self._control = free_port(), free_port()
        arguments = f"--port={gateway}", f"--control={self._control}", "--units=1", "--baud=0"
        bridge = {"MODBUS_HOST": "127.0.0.1", "MODBUS_PORT": gateway}
        bridge |= {"QUANTITIES": f"default,{NAME}", "POLL_INTERVAL": 0.5, "SLOW_INTERVAL": 0.5}
        self.start("broker", PYTHONPATH=ROOT)  # which knows nothing of quantities
        self.start("simulator", *arguments)
        self.start("gateway_bridge", **bridge)
        self.start("recorder")
        self.start("web", HTTP_PORT=self.http)
        for port in (self.mqtt, self._control, self.http):
            wait_until(lambda port=port: listens(port), what="all parts")

    def start(self, module: str, *arguments: str, **settings: object) -> None:
        settings = {"MQTT_PORT": self.mqtt, "PYTHONPATH": self._source} | settings
        part = Part.module(module, *arguments, directory=self.directory, **settings)
        self._stack.enter_context(part)

    def set_register(self, value: float) -> None:
        """Pin the new quantity in the simulated meter."""
        with socket.create_connection(("127.0.0.1", self._control), timeout=30) as connection:
            connection.sendall(f"set 1 {NAME} {value}\n".encode())
            assert connection.recv(100) == b"ok\n"

    def stored(self) -> list[tuple[float]]:
        """Return the values in the column of the new quantity, newest first."""
        database = f"file:{self.directory}/energy_meters.db?mode=ro"
        query = f"SELECT {NAME} FROM readings WHERE {NAME} IS NOT NULL ORDER BY ts DESC"
        try:
            with closing(sqlite3.connect(database, uri=True)) as connection:
                return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # the column comes with the first value
            return []

    def get(self, path: str) -> Any:
        """Return what the REST interface answers."""
        with urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return json.load(answer)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A running site whose sources have one quantity more."""
    require("mosquitto")
    source = tmp_path / "source"
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    insert(source / "contract" / "quantities.py", r"^QUANTITIES = \(", KIND)
    insert(source / "contract" / "quantities.py", r"^\)\n\nBY_NAME = ", ROW)
    insert(source / "gateway_bridge" / "models" / "sdm630.py", r'^ +"voltage_l1": 0x0000', REGISTER)
    with ExitStack() as stack:
        yield Site(source, tmp_path / "site", stack)


def test_new_quantity_needs_one_row_and_its_register(site: Site) -> None:
    with PlainClient(site.mqtt) as client:
        client.subscribe(f"meters/1/{NAME}")
        client.subscribe("meters/1/reading")
        site.set_register(41.5)
        wait_until(lambda: "41.5" in client.payloads, what="the scalar on MQTT")
        wait_until(
            lambda: any(f'"{NAME}":41.5' in text for text in client.payloads),
            what="the value in a reading on MQTT",
        )

    wait_until(lambda: site.stored()[:1] == [(41.5,)], what="the value in its column")

    assert site.get("/readings/1?limit=1")[0][NAME] == 41.5
    assert site.get(f"/meters/1/series?quantities={NAME}")[NAME][-1] == 41.5
    reading = site.get("/openapi.json")["components"]["schemas"]["Reading"]["properties"]
    assert reading[NAME]["description"] == f"{LABEL} in {UNIT}"

    assert shown_on_page(site) == [f"{LABEL}", "41.5", UNIT]


def shown_on_page(site: Site) -> list[str]:
    """Return label, value and unit of the new quantity on the page of its meter."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=require("chromium"), args=CHROMIUM_OPTIONS
        )
        page = browser.new_page(locale="en-GB")
        page.goto(f"http://127.0.0.1:{site.http}/meter/1")
        row = page.locator("#everything tr", has=page.get_by_role("rowheader", name=LABEL))
        expect(row).to_have_count(1)
        expect(row.locator(".value")).to_have_text("41.5")
        cells = row.locator("th, .value, .unit").all_text_contents()
        browser.close()
    return cells
