"""How soon after an outage the history is complete, and what a replay costs live readings.

    python benchmarks/outage.py [--away 30]

Real parts: simulated meters, bridge, Mosquitto, recorders on one SQLite file. Whole means that all
that is in the bridge's journal is in the history.
"""

import argparse
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

from benchmarks.figures import Verdict, ms, title
from contract.times import parse_time
from tests.support.bridged import Site
from tests.support.parts import Part, wait_until
from tests.support.plain_client import PlainClient

METERS, INTERVAL_S = 20, 0.2
UNITS = ",".join(map(str, range(1, METERS + 1)))
GROUP = ({"RECORDER_GROUP": "g", "RECORDER_NAME": "one"}, {"RECORDER_GROUP": "g"})
KILLED_S = 60
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
