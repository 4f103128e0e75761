"""How fast the recorder takes in what a broker has, beside a subscriber that stores nothing.

    python benchmarks/intake.py [--backlog 100000] [--queue 1000000]

A backlog waits at Mosquitto for both; each takes it in a process of its own. Then the way of a
reading from its meter to the committed row, and the recorder's memory with a million in the queue.
"""

import argparse
import json
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median, quantiles

from benchmarks.figures import NAMES, Verdict, line, ms, readings, title
from contract import topics
from contract.readings import Reading
from contract.times import epoch_ms
from tests.support.parts import Part, free_port, listens, wait_until

METERS, ROUNDS = 20, 3
LATENCY_S = 20
CONNECT = b"\x10\x14\x00\x04MQTT\x04\x02\x00\x3c\x00\x08" + b"bench-in"
STORES_NOTHING = """
import sys, time
import paho.mqtt.client as paho
port, wanted = int(sys.argv[1]), int(sys.argv[2])
count, began_s = 0, 0.0
def connected(client, *_):
    global began_s
    began_s = time.perf_counter()
    client.subscribe("meters/+/reading", 1)
def subscribed(client, *_):
    if not wanted:
        client.disconnect()
def heard(client, _, message):
    global count
    count += 1
    if count == wanted:
        print(time.perf_counter() - began_s, flush=True)
        client.disconnect()
client = paho.Client(paho.CallbackAPIVersion.VERSION2, "stores-nothing", clean_session=False)
client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, heard
client.connect("127.0.0.1", port)
client.loop_forever()
"""


class Site:
    """Mosquitto, a recorder and one that stores nothing; both have subscribed and are away."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory, self.port = directory, free_port()
        broker = Part.module("broker", directory=directory, MQTT_PORT=self.port, BROKER="mosquitto")
        stack.enter_context(broker)
        wait_until(lambda: listens(self.port), what="Mosquitto")
        with self.recorder():
            pass

    def recorder(self) -> Part:
        """Start the recorder and wait until it has connected."""
        part = Part.module("recorder", directory=self.directory, MQTT_PORT=self.port)
        part.wait_for("connected", 30)
        return part

    def receive(self, count: int) -> float:
        """Receive so many messages, or just subscribe; return how many seconds that took."""
        command = [sys.executable, "-c", STORES_NOTHING, str(self.port), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        return float(done.stdout or 0)

    def publish(self, some: Iterator[Reading]) -> int:
        """Publish readings as fast as the broker takes them; return the newest one's epoch ms."""
        last, sent = 0, 0
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(CONNECT)
            answers = connection.makefile("rb")
            answers.read(4)
            while batch := list(islice(some, 1000)):
                connection.sendall(packets(batch, sent))
                answers.read(4 * len(batch))
                sent += len(batch)
                last = epoch_ms(batch[-1].ts)
        return last

    def stored_until(self) -> int:
        """Return up to when, in epoch ms, all meters are stored; cheap, unlike counting rows."""
        [(last,)] = self.ask("SELECT MIN(last_ts) FROM meters")
        return last or 0

    def ask(self, query: str) -> list[tuple[int, ...]]:
        """Return what another program sees in the history."""
        path = self.directory / "energy_meters.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()


def packets(some: Sequence[Reading], first: int) -> bytes:
    """Return MQTT packets that publish readings with QoS 1, their ids from `first` on."""
    parts = []
    for number, reading in enumerate(some, first):
        topic, payload = topics.reading(reading.meter_id).encode(), reading.encode().encode()
        body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", number % 60_000 + 1)
        left, length = len(body) + len(payload), b""
        while left:
            left, digit = divmod(left, 128)
            length += bytes((digit | (0x80 if left else 0),))
        parts += (b"\x32", length, body, payload)
    return b"".join(parts)


def numbered(count: int, names: Sequence[str]) -> Iterator[Reading]:
    """Yield so many readings with numbers as a bridge gives them."""
    start = datetime.now(UTC) - timedelta(days=2)
    each = readings(METERS, count // METERS, 1.0, start, names)
    for number, reading in enumerate(each):
        seq = 10**12 + number // METERS
        yield Reading(reading.meter_id, reading.ts, reading.values, seq)


def drain(count: int) -> tuple[float, float]:
    """Return how many readings a second the recorder stores, and how many the other receives."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        site = Site(Path(place), stack)
        site.receive(0)
        last = site.publish(numbered(count, NAMES))
        received_s = site.receive(count)
        with site.recorder():
            began_s = time.perf_counter()
            wait_until(lambda: site.stored_until() == last, 600, "all rows")
            stored_s = time.perf_counter() - began_s
            assert site.ask("SELECT COUNT(*) FROM readings_raw") == [(count,)]
        return count / stored_s, count / received_s


def latencies() -> list[float]:
    """Return how long readings take from the request at the meter to the committed row."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        site, modbus = Site(Path(place), stack), free_port()
        units = ",".join(map(str, range(1, METERS + 1)))
        fast = ("--baud", "0", "--turnaround", "0", "--pause", "0")
        simulator = ("simulator", "--port", str(modbus), "--units", units, *fast)
        bridge = {"MODBUS_HOST": "127.0.0.1", "MODBUS_PORT": modbus, "METER_IDS": units}
        bridge |= {"MQTT_PORT": site.port, "POLL_INTERVAL": 1, "MODBUS_BAUD": 1_000_000}
        stack.enter_context(Part.module(*simulator, directory=Path(place)))
        wait_until(lambda: listens(modbus), what="the simulator")
        stack.enter_context(Part.module("gateway_bridge", directory=Path(place), **bridge))
        stack.enter_context(site.recorder())
        wait_until(lambda: site.ask("SELECT COUNT(*) FROM readings_raw") > [(3 * METERS,)], 60)
        return list(_watched(site.directory / "energy_meters.db"))


def _watched(path: Path) -> Iterator[float]:
    """Look at the rows whenever a commit shows, and yield how old the new ones are by then."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        seen, version = int(time.time() * 1000), 0
        ends_s = time.monotonic() + LATENCY_S
        while time.monotonic() < ends_s:
            [(now,)] = database.execute("PRAGMA data_version").fetchall()
            if now == version:
                time.sleep(0.0005)
                continue
            version, at_ms = now, time.time() * 1000
            query = f"SELECT last_ts FROM meters WHERE last_ts > {seen}"
            new = [ts for (ts,) in database.execute(query)]
            yield from ((at_ms - ts) / 1000 for ts in new)
            seen = max([seen, *new])


def memory(count: int) -> tuple[float, float, float]:
    """Return the recorder's memory in MB when idle and at most, and the broker's queue in MB."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        site = Site(Path(place), stack)
        last = site.publish(numbered(count, ("power",)))
        sample = next(numbered(METERS, ("power",)))
        with site.recorder() as recorder:
            wait_until(lambda: site.stored_until() == last, 900, "all rows")
            peak = _megabytes(recorder, "VmHWM")
        with site.recorder() as recorder:
            return _megabytes(recorder, "VmRSS"), peak, count * len(sample.encode()) / 1e6


def _megabytes(part: Part, name: str) -> float:
    status = Path(f"/proc/{part.process.pid}/status").read_text()
    return int(next(row for row in status.splitlines() if row.startswith(name)).split()[1]) / 1000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--queue", type=int, default=1_000_000)
    options = parser.parse_args()
    verdict = Verdict()

    title(f"A backlog of {options.backlog} readings of {len(NAMES)} quantities at Mosquitto")
    rounds = [drain(options.backlog) for _ in range(ROUNDS)]
    stored, received = (median(figures) for figures in zip(*rounds, strict=True))
    ratio = median(mine / other for mine, other in rounds)
    verdict.figure("stored, readings/s", f"{stored:.0f}", "", ">= 5000", ok=stored >= 5000)
    line("received by one that stores nothing", f"{received:.0f}")
    each = json.dumps([f"{a:.0f}/{b:.0f}" for a, b in rounds])
    verdict.figure("ratio", f"{ratio:.2f}", each, ">= 0.6", ok=ratio >= 0.6)

    title(f"From the request at the meter to the committed row, {METERS} meters each second")
    taken = latencies()
    p50, p99 = median(taken), quantiles(taken, n=100)[98]
    line("p50", ms(p50), f"of {len(taken)} commits seen")
    line("p99", ms(p99))

    title(f"Memory of the recorder, {options.queue} readings waiting at the broker")
    idle, peak, queue = memory(options.queue)
    beside = f"idle {idle:.0f} MB, queue {queue:.0f} MB"
    verdict.figure("peak while taking them", f"{peak:.0f} MB", beside, "<= 150 MB", ok=peak <= 150)
    verdict.end()


if __name__ == "__main__":
    main()
