"""What a live reading costs per client, beside clients that speak MQTT to Mosquitto.

    python benchmarks/fan_out.py [--clients 500] [--rates 1,3,10] [--kinds raw,socket.io]

Every client receives the readings of one meter. The CPU of a frame is that of the web service or of
Mosquitto with all clients, less that with none while the same readings arrive, for each frame
delivered; at one reading a second the time includes the pings of every connection. The latency is
from publish to frame. A frame that does not arrive is lost.
"""

import argparse
import gc
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.figures import NAMES, Verdict, ms, readings, title
from benchmarks.live import Client, Crowd, Frame, connected, mqtt, p50_p99, raw, socket_io
from benchmarks.whole import Process
from contract import topics
from contract.readings import Reading
from tests.support.parts import Part, free_port, listens, require, wait_until

SECONDS = {1: 26.0, 3: 9.0, 10: 4.0}
"""How long readings arrive, by their number a second."""
DRAIN_S = 5.0
METER = "1"
MOST_LATENCY, MOST_KB = 1.5, 70
_MARK = re.compile(rb'"energy": ?([0-9.]+)')


def subscribed(port: int) -> Client:
    """Return a client of MQTT."""
    return mqtt(port, topics.reading(METER))


KINDS: dict[str, tuple[Callable[[int], Client], float]] = {
    "raw": (lambda port: raw(port, METER), 1.3),
    "socket.io": (lambda port: socket_io(port, topics.reading(METER)), 2.0),
}
"""A client of each kind, and how many times the CPU of MQTT it may cost."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a crowd received: frames and lost ones, CPU of each, memory, and how long each took."""

    lost: int
    cpu_s: float
    client_kb: float
    taken: list[float]

    @property
    def frame_s(self) -> float:
        """CPU of a frame."""
        return self.cpu_s / len(self.taken)


class Server(NamedTuple):
    """A process, and the port of its WebSockets."""

    process: Process
    port: int


class Site:
    """Mosquitto with a WebSocket listener, the web service, and numbered readings."""

    def __init__(self, stack: ExitStack) -> None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tcp, ws, http = free_port(), free_port(), free_port()
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            f"listener {tcp} 127.0.0.1\nlistener {ws} 127.0.0.1\nprotocol websockets\n"
            "allow_anonymous true\nset_tcp_nodelay true\nuser root\n"
        )
        broker = Part(require("mosquitto"), "-c", str(configuration), directory=directory)
        stack.enter_context(broker)
        wait_until(lambda: listens(tcp) and listens(ws), what="Mosquitto")
        web = Part.module("web", directory=directory, MQTT_PORT=tcp, HTTP_PORT=http)
        stack.enter_context(web)
        wait_until(lambda: listens(http), what="the web service")
        web.wait_for("connected")
        self.broker = Server(Process("mosquitto", broker.process.pid), ws)
        self.web = Server(Process("web", web.process.pid), http)
        self._client = stack.enter_context(connected(tcp))
        self._values = dict(next(readings(1, 1, 1.0)).values)
        self._numbers = count()
        self._sent: dict[bytes, float] = {}
        self._idle: dict[tuple[Process, int], float] = {}

    def deliver(
        self, server: Server, connect: Callable[[int], Client], clients: int, rate: int
    ) -> Delivered:
        """Connect clients and return what they receive at so many readings a second."""
        process, idle_s = server.process, self._idle_s(server.process, rate)
        before_kb = process.proc("status")["VmRSS"]
        with Crowd([connect(server.port) for _ in range(clients)]) as crowd:
            crowd.receive(2.0)
            client_kb = (process.proc("status")["VmRSS"] - before_kb) / clients
            cpu_s, seconds = process.cpu_s, SECONDS[rate]
            sent, frames = self._publish(rate, seconds, crowd.receive)
            taken = list(self._latencies(frames))
            drained_s = time.monotonic() + DRAIN_S
            while len(taken) < sent * clients and time.monotonic() < drained_s:
                taken += self._latencies(crowd.receive(0.1))
            cpu_s = process.cpu_s - cpu_s - idle_s * seconds
        return Delivered(sent * clients - len(taken), cpu_s, client_kb, taken)

    def _idle_s(self, process: Process, rate: int) -> float:
        """Return the CPU of a process in a second, without clients."""
        key = process, rate
        if key not in self._idle:
            seconds = min(SECONDS[rate], 9.0)
            cpu_s = process.cpu_s
            self._publish(rate, seconds, lambda pause_s: time.sleep(pause_s) or [])
            self._idle[key] = (process.cpu_s - cpu_s) / seconds
        return self._idle[key]

    def _publish(
        self, rate: int, seconds: float, wait: Callable[[float], list[Frame]]
    ) -> tuple[int, list[Frame]]:
        """Publish numbered readings; `wait` returns the frames that arrive between them."""
        self._sent.clear()
        frames: list[Frame] = []
        begins_s = time.monotonic()
        for turn in range(round(rate * seconds)):
            frames += wait(max(0.0, begins_s + turn / rate - time.monotonic()))
            number = next(self._numbers)
            values = self._values | {NAMES[0]: 1.0, "energy": number + 0.5}
            reading = Reading(METER, datetime.now(UTC), values)
            self._sent[f"{number}.5".encode()] = time.time()
            self._client.publish(topics.reading(METER), reading.encode(), 1)
        frames += wait(max(0.0, begins_s + seconds - time.monotonic()))
        return len(self._sent), frames

    def _latencies(self, frames: list[Frame]) -> Iterator[float]:
        for at_s, payload in frames:
            found = _MARK.search(payload)
            if found and found[1] in self._sent:
                yield at_s - self._sent[found[1]]


def compare(
    verdict: Verdict, name: str, pairs: list[tuple[Delivered, Delivered]], most: float
) -> None:
    """Print what our clients received beside what the same number of MQTT clients did."""
    ours, theirs = ([pair[n] for pair in pairs] for n in (0, 1))
    lost = sum(each.lost for each in ours)
    beside = f"of {sum(len(each.taken) for each in ours) + lost} frames"
    verdict.figure(f"{name}: lost", f"{lost}", beside, "0", ok=lost == 0)
    cpu = [median(each.frame_s for each in some) for some in (ours, theirs)]
    ratio = cpu[0] / cpu[1]
    beside = f"{1e6 * cpu[0]:.1f} us a frame beside {1e6 * cpu[1]:.1f} us"
    verdict.figure(f"{name}: CPU", f"{ratio:.2f} x", beside, f"<= {most:g} x", ok=ratio <= most)
    shown = [[median(p) for p in zip(*(p50_p99(each.taken) for each in some), strict=True)]
             for some in (ours, theirs)]  # fmt: skip
    for what, mine, other in zip(("p50", "p99"), *shown, strict=True):
        ratio, beside = mine / other, f"{ms(mine)} beside {ms(other)}"
        verdict.figure(
            f"{name}: {what}", f"{ratio:.2f} x", beside, f"<= {MOST_LATENCY:g} x",
            ok=ratio <= MOST_LATENCY,
        )  # fmt: skip


def measure(verdict: Verdict, kind: str, rates: list[int], options: argparse.Namespace) -> None:
    """Measure one kind of client, on processes of its own because of their memory."""
    connect, most = KINDS[kind]
    memory_kb: list[float] = []
    with ExitStack() as stack:
        site = Site(stack)
        title(f"{options.clients} clients, {kind} beside MQTT")
        for rate in rates:
            pairs = []
            for _ in range(options.rounds):
                ours = site.deliver(site.web, connect, options.clients, rate)
                theirs = site.deliver(site.broker, subscribed, options.clients, rate)
                pairs.append((ours, theirs))
                memory_kb.append(ours.client_kb)
            compare(verdict, f"{rate} a second", pairs, most)
    kb = memory_kb[0]
    verdict.figure("memory", f"{kb:.0f} kB", "a client", f"<= {MOST_KB} kB", ok=kb <= MOST_KB)


def main() -> None:
    """Measure each kind of client beside those of MQTT, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--rates", default="1,3,10", help="readings a second, of 1, 3 and 10")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of raw and socket.io")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.disable()  # its collections would count as latency of both
    verdict = Verdict()
    for kind in options.kinds.split(","):
        measure(verdict, kind, list(map(int, options.rates.split(","))), options)
    verdict.end()


if __name__ == "__main__":
    main()
