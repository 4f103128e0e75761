"""How soon after an outage the history is complete, and what a replay costs live readings.

    python benchmarks/outage.py [--away 30]

Real parts: simulated meters, bridge, Mosquitto, recorders on one SQLite file, a web service and a
page in Chromium. Whole means that all that is in the bridge's journal is in the history; live, that
a reading measured after the outage has arrived.
"""

import argparse
import json
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from statistics import median, quantiles

import websocket
from playwright.sync_api import sync_playwright

from benchmarks.figures import Verdict, ms, title
from contract.times import parse_time
from tests.support.bridged import Site
from tests.support.parts import CHROMIUM_OPTIONS, Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

METERS, INTERVAL_S = 20, 0.2
UNITS = ",".join(map(str, range(1, METERS + 1)))
GROUP = ({"RECORDER_GROUP": "g", "RECORDER_NAME": "one"}, {"RECORDER_GROUP": "g"})
KILLED_S, AWAY_S, LIVE_S = 60, 10, 5
_TS = re.compile(r'ts\\?":\\?"([^"\\]+)')
MOST_WHOLE, MOST_MISSING, LEAST_REPLAYED, MOST_LIVE = 0.6, 0.4, 3, 4
"""Limits, as multiples: time to be whole again and age of a missing reading beside the outage,
replayed readings a second beside live ones, latency of live ones beside that before."""


@contextmanager
def running() -> Iterator[tuple[Site, ExitStack]]:
    """Start meters and bridge."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        site = Site(Path(directory))
        stack.enter_context(site.simulator(UNITS))
        bridge = site.bridge(METER_IDS=UNITS, POLL_INTERVAL=INTERVAL_S, MODBUS_BAUD=1_000_000)
        stack.enter_context(bridge)
        yield site, stack


def recorders(site: Site, stack: ExitStack, *members: dict[str, str]) -> list[Part]:
    """Start recorders and wait until they have connected."""
    parts = [stack.enter_context(site.recorder(**settings)) for settings in members]
    for part in parts:
        part.wait_for(": connected")
    return parts


def whole_after(site: Site) -> float:
    """Return how many seconds pass until all that is in the journal by now is stored."""
    wanted, began_s = site.kept(), time.monotonic()
    wait_until(lambda: wanted <= site.stored(), 200, "the history")
    return time.monotonic() - began_s


def broker_dies(away_s: float, *members: dict[str, str]) -> tuple[float, int]:
    """Return how long after its return the history is whole, and how many readings were due."""
    with running() as (site, stack):
        broker = site.broker()
        recorders(site, stack, *members)
        wait_until(lambda: len(site.stored()) > METERS, what="first rows")
        broker.stop(signal.SIGKILL)
        shutil.rmtree(site.directory / "broker")
        time.sleep(away_s)
        stack.enter_context(site.broker())
        missing = len(site.kept() - site.stored())
        return whole_after(site), missing


def member_dies() -> float:
    """Return for how long a reading is missing at most while the leader is away."""
    with running() as (site, stack):
        stack.enter_context(site.broker())
        parts = recorders(site, stack, *GROUP)
        wait_until(lambda: any(" leads" in part.output for part in parts))
        wait_until(lambda: len(site.stored()) > METERS, what="first rows")
        next(part for part in parts if " leads" in part.output).stop(signal.SIGKILL)
        ends_s, oldest_ms = time.monotonic() + KILLED_S, 0.0
        while time.monotonic() < ends_s:
            time.sleep(0.5)
            missing = site.kept() - site.stored()
            now_ms = time.time() * 1000
            oldest_ms = max([oldest_ms, *(now_ms - ts for _, ts in missing)])
        return oldest_ms / 1000


class Clients:
    """A page in a browser and a client of `/ws`: when each has a reading of after a moment."""

    def __init__(self, stack: ExitStack, http: int) -> None:
        url = f"127.0.0.1:{http}"
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=require("chromium"), args=CHROMIUM_OPTIONS
        )
        stack.callback(browser.close)
        self._newest: dict[str, datetime] = {}
        self._page = browser.new_page()
        self._page.on("websocket", lambda socket: socket.on("framereceived", self._on_frame))
        self._page.goto(f"http://{url}/meter/1")
        self._socket = websocket.create_connection(f"ws://{url}/ws/1", timeout=30)
        self._socket.settimeout(0.001)
        stack.callback(self._socket.shutdown)

    def live_after(self, names: Sequence[str], since: datetime) -> dict[str, float]:
        """Return after how many seconds each of the named clients has a reading of later."""
        began_s, took_s = time.monotonic(), dict[str, float]()
        while len(took_s) < len(names) and time.monotonic() < began_s + 60:
            self.receive(0.01)
            for name in names:
                if self._newest.get(name, since) > since:
                    took_s.setdefault(name, time.monotonic() - began_s)
        return {name: took_s.get(name, inf) for name in names}

    def receive(self, seconds: float) -> None:
        """Receive what comes in some seconds."""
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            self._page.wait_for_timeout(10)
            with suppress(websocket.WebSocketException, OSError):
                self._note("/ws", self._socket.recv())

    def _on_frame(self, frame: str | bytes) -> None:
        self._note("page", frame if isinstance(frame, str) else frame.decode())

    def _note(self, name: str, frame: str) -> None:
        if found := _TS.findall(frame):
            self._newest[name] = max(filter(None, map(parse_time, found)))


def live_again(away_s: float) -> Iterator[tuple[str, float]]:
    """Yield outages, and after how many seconds a client is live again."""
    with running() as (site, stack):
        broker = stack.enter_context(site.broker())
        recorders(site, stack, {})
        http = free_port()
        url = f"sqlite:///{site.history}"
        settings = {"HTTP_PORT": http, "MQTT_PORT": site.mqtt, "DATABASE_URL": url}

        def served() -> Part:
            part = Part.module("web", directory=site.directory / "web", **settings)
            wait_until(lambda: listens(http), what="the web service")
            return stack.enter_context(part)

        web = served()
        clients = Clients(stack, http)
        assert inf not in clients.live_after(("page", "/ws"), datetime.now(UTC)).values()
        broker.stop(signal.SIGKILL)
        clients.receive(away_s)
        stack.enter_context(site.broker())
        for name, took_s in clients.live_after(("page", "/ws"), datetime.now(UTC)).items():
            yield f"broker away for {away_s:.0f} s: {name}", took_s
        web.stop(signal.SIGKILL)
        clients.receive(AWAY_S)
        served()
        for name, took_s in clients.live_after(("page",), datetime.now(UTC)).items():
            yield f"web service away for {AWAY_S} s: {name}", took_s


def everything_again(reads_for_s: float) -> tuple[int, float, list[float], list[float]]:
    """Return how many readings an empty history was sent, how long it took, and live latencies.

    The latencies are those from a reading's request at the meter to a subscriber, before and in it.
    """
    with running() as (site, stack):
        stack.enter_context(site.broker())
        client = stack.enter_context(PlainClient(site.mqtt))
        client.subscribe("meters/+/reading")
        arrivals: dict[bytes, datetime] = {}  # when a reading came first: live
        client._paho.on_message = lambda *received: arrivals.setdefault(
            received[2].payload, datetime.now(UTC)
        )
        time.sleep(reads_for_s)
        began = datetime.now(UTC)
        recorders(site, stack, {})
        number, took_s = len(site.kept()), whole_after(site)
        ended = datetime.now(UTC)
    before: list[float] = []
    during: list[float] = []
    for payload, at in arrivals.items():
        sampled = parse_time(json.loads(payload)["ts"])
        if sampled and began < sampled <= ended:
            during.append((at - sampled).total_seconds())
        elif sampled and at < began:
            before.append((at - sampled).total_seconds())
    return number, took_s, before[METERS:], during


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--away", type=float, default=30, help="how long the broker is away, in s")
    options = parser.parse_args()
    verdict, rate = Verdict(), METERS / INTERVAL_S
    title(f"{METERS} meters, {rate:.0f} readings/s; broker killed, its state deleted,"
          f" {options.away:.0f} s away")  # fmt: skip
    for name, members in (("one recorder", ({},)), ("a group of two", GROUP)):
        took_s, missing = broker_dies(options.away, *members)
        ratio = took_s / options.away
        beside = f"{took_s:.1f} s for {missing} missing readings"
        verdict.figure(f"{name}: whole again, beside the outage", f"{ratio:.2f} x", beside,
                       f"<= {MOST_WHOLE:g} x", ok=ratio <= MOST_WHOLE)  # fmt: skip

    title(f"A group of two, its leader killed and away for {KILLED_S} s")
    oldest_s = member_dies()
    ratio = oldest_s / KILLED_S
    verdict.figure("age of a missing reading, beside the outage", f"{ratio:.2f} x",
                   f"at most {oldest_s:.1f} s", f"<= {MOST_MISSING:g} x",
                   ok=ratio <= MOST_MISSING)  # fmt: skip

    title("A page and a client of /ws, from the return of what was killed to a reading of after it")
    for what, took_s in live_again(options.away):
        verdict.figure(what, f"{took_s:.1f} s", "", f"<= {LIVE_S} s", ok=took_s <= LIVE_S)

    title("An empty history, all of the journal sent again")
    number, took_s, before, during = everything_again(60)
    ratio = number / took_s / rate
    beside = f"{number} readings in {took_s:.1f} s, {number / took_s:.0f} a second"
    verdict.figure("replayed beside live readings", f"{ratio:.1f} x", beside,
                   f">= {LEAST_REPLAYED} x", ok=ratio >= LEAST_REPLAYED)  # fmt: skip
    shown = ((median(each), quantiles(each, n=100)[98]) for each in (before, during))
    for what, alone, beside_it in zip(("p50", "p99"), *shown, strict=True):
        ratio = beside_it / alone
        verdict.figure(f"live readings meanwhile, {what}", f"{ratio:.1f} x",
                       f"{ms(beside_it)} beside {ms(alone)} before", f"<= {MOST_LIVE} x",
                       ok=ratio <= MOST_LIVE)  # fmt: skip
    verdict.end()


if __name__ == "__main__":
    main()
