"""What a person sees on a page while something is away, and that nothing is missing afterwards."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.line import Line
from tests.support.parts import wait_until
from tests.web.test_live import Site

EVERY_S = 0.6
MISSED = 8
"""Readings that are published while something is away: fewer than a page shows."""


class Meter:
    """Publishes numbered readings as a bridge does: what the broker does not have is sent later."""

    def __init__(self, port: int) -> None:
        self.published = 0
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=True)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_S):
            self.published += 1
            reading = {"ts": datetime.now(UTC).isoformat(), "power": self.published}
            self._client.publish("meters/1/reading", json.dumps(reading), 1, retain=True)

    def __enter__(self) -> "Meter":
        self._client.loop_start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()


class House:
    """A site, a meter, and the meter's page in a browser that reaches the service by a line."""

    def __init__(self, chromium: Browser, directory: Path, stack: ExitStack) -> None:
        self.site = Site(directory, stack)
        self.line = stack.enter_context(Line(self.site.http))
        self.meter = stack.enter_context(Meter(self.site.mqtt))
        self.page = stack.enter_context(opened(chromium))
        self.page.goto(f"http://127.0.0.1:{self.line.port}/meter/1")
        expect(self.page.locator("#connection")).to_have_text("Live")
        self.unfold()

    def unfold(self) -> None:
        """Open the list of the newest readings, and wait until it has some."""
        self.page.locator("#newest summary").click()
        wait_until(lambda: len(self.rows()) > 5, what="readings on the page", each_s=0.2)

    def rows(self) -> list[int]:
        """Return the readings on the page, newest first."""
        texts = self.page.locator("#readings tbody tr td:first-of-type").all_inner_texts()
        return [int(text.replace(",", "")) for text in texts if text]

    def state(self) -> str:
        return self.page.locator("#connection").inner_text()

    def miss(self, count: int = MISSED) -> None:
        """Wait until the meter has published more readings."""
        last = self.meter.published + count
        wait_until(lambda: self.meter.published >= last, what="the meter")

    def is_live_again(self) -> None:
        """Fail unless the page shows a reading of now."""
        wait_until(
            lambda: self.state() == "Live" and self.rows()[0] >= self.meter.published - 1,
            what="the page to be live again",
            each_s=0.1,
        )

    def is_complete(self) -> None:
        """Fail unless the page shows every reading once, also those of the outage."""

        def complete() -> bool:
            rows = self.rows()
            return rows == list(range(rows[0], rows[0] - len(rows), -1))

        try:
            wait_until(complete, each_s=0.3)
        except AssertionError:
            raise AssertionError(f"holes or doubles: {self.rows()}") from None


@contextmanager
def opened(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(locale="en-GB")
    yield context.new_page()
    context.close()


@pytest.fixture
def house(chromium: Browser, tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(chromium, tmp_path, stack)


@pytest.mark.browser
def test_page_whose_connection_is_cut_is_live_and_complete_again(house: House) -> None:
    house.line.cut()
    expect(house.page.locator("#connection")).to_have_text("Reconnecting…")
    house.miss()
    house.line.restore()

    house.is_live_again()
    house.is_complete()


@pytest.mark.browser
def test_page_whose_connection_stalls_is_live_and_complete_again(house: House) -> None:
    house.line.stall()
    house.miss()
    house.line.restore()

    house.is_live_again()
    house.is_complete()


@pytest.mark.browser
def test_page_is_live_and_complete_again_after_a_restart_of_the_service(house: House) -> None:
    assert house.site.web.stop() == 0
    expect(house.page.locator("#connection")).to_have_text("Reconnecting…")
    house.miss()
    house.site.web = house.site.start("web", HTTP_PORT=house.site.http)

    house.is_live_again()
    house.is_complete()


@pytest.mark.browser
def test_page_is_live_and_complete_again_after_an_outage_of_the_broker(house: House) -> None:
    house.site.broker.stop()
    expect(house.page.locator("#connection")).to_have_text("Broker offline")
    house.miss()
    house.site.broker = house.site.start_broker()

    house.is_live_again()
    house.is_complete()


@pytest.mark.browser
def test_page_of_a_laptop_that_slept_connects_again_at_once(house: House) -> None:
    """Its clock leaps, and its connection is dead without a word."""
    house.page.clock.install()
    house.page.reload()
    house.unfold()
    house.line.abandon()
    wait_until(lambda: house.rows()[0] < house.meter.published - 4, each_s=0.2)
    house.page.clock.set_system_time(time.time() + 60)

    house.is_live_again()
