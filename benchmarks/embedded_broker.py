"""The embedded broker under the load of a whole site, beside Mosquitto under the same load.

    python benchmarks/embedded_broker.py [--rate 300] [--seconds 8]

Real parts: broker, recorder and web. A publisher sends as the bridge does: each reading at QoS 1
and 32 scalars at QoS 0, all retained, in one write. A subscriber measures as a recorder would.
"""

import argparse
import json
import math
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import paho.mqtt.client as paho

from benchmarks.figures import Verdict, ms, readings, title
from broker.packets import publish_head
from contract import topics
from contract.readings import Reading, format_time
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

ROUNDS, WARM_UP_S = 3, 4
CONNECT = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05bench"
PUBACK_BYTES = 4


class Publisher:
    """Sends readings with their scalars, each in one write, at a steady rate."""

    def __init__(self, port: int, meters: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(CONNECT)
        self._socket.recv(4)
        self._meters = meters
        self._readings = readings(meters, 10**9, 1.0)
        self._number = 0
        self.sent_s: dict[tuple[str, int], float] = {}
        self.acknowledged_bytes = 0
        threading.Thread(target=self._count_acknowledgements, daemon=True).start()

    def run(self, seconds: float) -> list[tuple[str, int]]:
        """Publish a reading of each meter every second; return what was sent, by meter and seq."""
        began_s, number = time.monotonic(), 0
        sent: list[tuple[str, int]] = []
        while (passed_s := time.monotonic() - began_s) < seconds:
            for _ in range(int(passed_s * self._meters) - number):
                number += 1
                sent.append(self._publish(next(self._readings)))
            time.sleep(0.001)
        return sent

    def _publish(self, reading: Reading) -> tuple[str, int]:
        self._number += 1
        meter, seq = f"m{reading.meter_id}", self._number // self._meters + 1
        stamp = {"ts": format_time(datetime.now(UTC)), "meter_id": meter, "seq": seq}
        payload = json.dumps(stamp | reading.values).encode()
        packet_id = (self._number % 65_535 + 1).to_bytes(2)
        head = publish_head(topics.reading(meter), payload, 1, retain=True)
        scalars = _scalars(meter, reading.values)
        self.sent_s[meter, seq] = time.monotonic()
        self._socket.sendall(b"".join((head, packet_id, payload, *scalars)))
        return meter, seq

    def _count_acknowledgements(self) -> None:
        while received := self._socket.recv(65_536):
            self.acknowledged_bytes += len(received)


def _scalars(meter: str, values: dict[str, float]) -> Iterator[bytes]:
    for name, value in values.items():
        payload = str(value).encode()
        yield publish_head(topics.scalar(meter, name), payload, 0, retain=True)
        yield payload


def cpu_s(part: Part) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{part.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def measure(kind: str, rate: int, seconds: float) -> tuple[float, float, float, float]:
    """Return share passed, median and p99 of the delay in s, and the broker's share of a core."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory, port = Path(name), free_port()
        arrived_s: dict[tuple[str, int], float] = {}
        settings = {"directory": directory, "MQTT_PORT": port, "HTTP_PORT": free_port()}
        broker = stack.enter_context(Part.module("broker", BROKER=kind, **settings))
        wait_until(lambda: listens(port), what=kind)
        for module in ("recorder", "web"):
            stack.enter_context(Part.module(module, **settings)).wait_for(": connected")
        subscriber = stack.enter_context(PlainClient(port))

        def note(_client: object, _data: object, message: paho.MQTTMessage) -> None:
            body = json.loads(message.payload)
            arrived_s[body["meter_id"], body["seq"]] = time.monotonic()

        subscriber._paho.on_message = note
        subscriber.subscribe(topics.ALL_READINGS)
        publisher = Publisher(port, rate)
        publisher.run(WARM_UP_S)
        rounds = []
        for _ in range(ROUNDS):
            before_s, began_s = cpu_s(broker), time.monotonic()
            sent = publisher.run(seconds)
            cpu = (cpu_s(broker) - before_s) / (time.monotonic() - began_s)
            time.sleep(1)
            delays = sorted(
                arrived_s[each] - publisher.sent_s[each] for each in sent if each in arrived_s
            )
            share = len(delays) / (rate * seconds)
            p99_s = delays[int(0.99 * len(delays))] if delays else math.inf
            rounds.append((share, median(delays or [math.inf]), p99_s, cpu))
        number = len(publisher.sent_s)
        wait_until(
            lambda: publisher.acknowledged_bytes == number * PUBACK_BYTES, what="acknowledgements"
        )
    return min(rounds, key=lambda each: (each[2], each[3]))


def main() -> None:
    """Measure both brokers and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=300, help="readings a second")
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    require("mosquitto")
    rate = options.rate
    passed, p50_s, p99_s, cpu = measure("embedded", rate, options.seconds)
    others = measure("mosquitto", rate, options.seconds)
    verdict = Verdict()
    title(f"{rate} readings/s with 32 scalars each, to recorder, web and a subscriber")
    beside = f"Mosquitto: {others[0]:.1%}; best of {ROUNDS} rounds"
    verdict.figure(
        "embedded: readings passed", f"{passed:.1%}", beside, ">= 99 %", ok=passed >= 0.99
    )
    beside = f"Mosquitto: {ms(others[2])}; {p99_s / others[2]:.1f} times"
    verdict.figure("embedded: delay, p99", ms(p99_s), beside, "<= 200 ms", ok=p99_s <= 0.2)
    beside = f"Mosquitto: {ms(others[1])}; {p50_s / others[1]:.1f} times"
    verdict.figure("embedded: delay, p50", ms(p50_s), beside, "<= 20 ms", ok=p50_s <= 0.02)
    beside = f"of a core; Mosquitto: {others[3]:.0%}; {cpu / max(others[3], 0.01):.1f} times"
    verdict.figure("embedded: CPU", f"{cpu:.0%}", beside, "<= 50 %", ok=cpu <= 0.5)
    verdict.end()


if __name__ == "__main__":
    main()
