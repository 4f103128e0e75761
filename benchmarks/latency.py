"""How long a reading takes from the meter's answer to MQTT, to its row, and to a frame of /ws.

    python benchmarks/latency.py [--seconds 15]

100 simulated meters, a reading a second each, on Mosquitto and on the embedded broker. Beside it: a
message of the same size from paho to paho through the same broker in the same seconds. The
time begins with the `ts` of the reading, when its request is sent; the simulator answers at once.
"""

import argparse
import json
import sqlite3
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Verdict, line, ms, title
from benchmarks.live import Crowd, connected, every, p50_p99, raw
from benchmarks.whole import BROKERS
from contract.times import parse_time
from tests.support.parts import Part, free_port, listens, wait_until

METERS = 100
UNITS = ",".join(map(str, range(1, METERS + 1)))
FAST = ("--baud", "0", "--turnaround", "0", "--pause", "0")
BARE = "bench/bare"
BARE_EVERY_S = 0.02
MOST = {"MQTT": 10, "row": 30, "/ws": 14}
"""How many times the bare round trip each may take, p50 beside p50 and p99 beside p99."""
WINDOW: dict[str, object] = {"COMMIT_INTERVAL": 0}
"""Settings with which the recorder commits at once."""


@dataclass
class Taken:
    """How long each message took, in seconds."""

    mqtt: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)
    frames: list[float] = field(default_factory=list)


def age_s(payload: bytes, at_s: float) -> float | None:
    """Return how old a reading is at a moment, None for another message."""
    if not payload.startswith(b"{"):
        return None
    ts = parse_time(json.loads(payload).get("ts"))
    return None if ts is None else at_s - ts.timestamp()


class Site:
    """Meters, bridge, broker, recorder and web as processes."""

    def __init__(self, broker: str, stack: ExitStack) -> None:
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.mqtt, self.http, modbus = free_port(), free_port(), free_port()
        self._stack = stack
        self._start("broker", BROKER=broker)
        wait_until(lambda: listens(self.mqtt), what="the broker")
        self._start("simulator", "--port", str(modbus), "--units", UNITS, *FAST)
        self._start("web", HTTP_PORT=self.http)
        self._start("recorder", **WINDOW)
        wait_until(lambda: listens(self.http) and listens(modbus), what="web and simulator")
        self._start(
            "gateway_bridge", MODBUS_HOST="127.0.0.1", MODBUS_PORT=modbus, METER_IDS=UNITS,
            POLL_INTERVAL=1, MODBUS_BAUD=1_000_000,
        )  # fmt: skip
        wait_until(lambda: self._rows() > 5 * METERS, 60, "first rows")

    def measure(self, seconds: float) -> Taken:
        """Measure all four at the same time."""
        taken = Taken()

        def on_message(_client: object, _data: object, message: Any) -> None:
            now_s = time.time()
            if message.topic == BARE:
                taken.bare.append(now_s - float(message.payload[:20]))
            elif (age := age_s(message.payload, now_s)) is not None:
                taken.mqtt.append(age)

        watch = threading.Thread(target=self._watch_rows, args=(taken, seconds))
        with (
            connected(self.mqtt, on_message) as subscriber,
            connected(self.mqtt) as publisher,
            Crowd([raw(self.http, str(n)) for n in range(1, METERS + 1)]) as crowd,
        ):
            subscriber.subscribe([("meters/+/reading", 1), (BARE, 1)])
            crowd.receive(2)
            taken.mqtt.clear()  # the retained ones
            bare = every(
                BARE_EVERY_S, lambda: publisher.publish(BARE, f"{time.time():<20.6f}{'x' * 700}", 1)
            )
            with bare:
                watch.start()
                frames = crowd.receive(seconds)
            watch.join()
        taken.frames = [age for at_s, each in frames if (age := age_s(each, at_s)) is not None]
        return taken

    def _watch_rows(self, taken: Taken, seconds: float) -> None:
        """Look at the meters whenever a commit shows, and note how old the new readings are."""
        with closing(self._open()) as database:
            seen, version, ends_s = int(time.time() * 1000), 0, time.monotonic() + seconds
            while time.monotonic() < ends_s:
                [(now,)] = database.execute("PRAGMA data_version").fetchall()
                if now == version:
                    time.sleep(0.0005)
                    continue
                version, at_ms = now, time.time() * 1000
                rows = database.execute("SELECT last_ts FROM meters WHERE last_ts > ?", (seen,))
                new = [ts for (ts,) in rows]
                taken.rows += [(at_ms - ts) / 1000 for ts in new]
                seen = max([seen, *new])

    def _rows(self) -> int:
        try:
            with closing(self._open()) as database:
                return int(database.execute("SELECT count(*) FROM readings_raw").fetchone()[0])
        except sqlite3.OperationalError:
            return 0

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.directory}/energy_meters.db?mode=ro", uri=True)

    def _start(self, module: str, *arguments: str, **settings: object) -> None:
        settings["MQTT_PORT"] = self.mqtt
        part = Part.module(module, *arguments, directory=self.directory, **settings)
        self._stack.enter_context(part)


def report(verdict: Verdict, broker: str, taken: Taken) -> None:
    """Print the latencies beside those of the bare round trip."""
    title(f"From the meter's answer on, {METERS} readings/s, broker: {broker}")
    bare = p50_p99(taken.bare)
    line("paho to paho, p50", ms(bare[0]), f"p99 {ms(bare[1])}, {len(taken.bare)} messages")
    for name, each in (("MQTT", taken.mqtt), ("row", taken.rows), ("/ws", taken.frames)):
        for what, value, other in zip(("p50", "p99"), p50_p99(each), bare, strict=True):
            ratio, most = value / other, MOST[name]
            verdict.figure(
                f"{name}, {what}", ms(value), f"{ratio:.1f} x the bare one, {len(each)} seen",
                f"<= {most:g} x", ok=ratio <= most,
            )  # fmt: skip


def main() -> None:
    """Measure on each broker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    options = parser.parse_args()
    verdict = Verdict()
    for broker in BROKERS:
        with ExitStack() as stack:
            taken = Site(broker, stack).measure(options.seconds)
        report(verdict, broker, taken)
    verdict.end()


if __name__ == "__main__":
    main()
