"""What a live reading costs per browser, beside browsers that speak MQTT to Mosquitto.

    python benchmarks/fan_out.py [--clients 100] [--seconds 8]

The CPU of a frame is that of the web service or of Mosquitto with all clients, less that with none
while the same readings arrive, for each frame delivered. The latency is from publish to frame.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from statistics import median

from benchmarks.figures import NAMES, Verdict, line, ms, readings, title
from benchmarks.live import Client, Crowd, Frame, connected, every, mqtt, p50_p99, raw, socket_io
from benchmarks.whole import Process
from contract import topics
from contract.readings import Reading
from tests.support.parts import Part, free_port, listens, require, wait_until

EACH_S = 0.3
"""Between two readings of a meter: the web service sends at most four a second."""
METERS = 10
ROUNDS = 3
MOST_RAW, MOST_SOCKET_IO, MOST_LATENCY = 1.5, 2.0, 1.5
_MARK = re.compile(rb'"energy": ?([0-9.]+)')


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a crowd received: frames, CPU of each, and how long each took."""

    frames: int
    cpu_s: float
    taken: list[float]


class Site:
    """Mosquitto with a WebSocket listener, the web service, and numbered readings."""

    def __init__(self, stack: ExitStack) -> None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.tcp, self.ws, self.http = free_port(), free_port(), free_port()
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            f"listener {self.tcp} 127.0.0.1\nlistener {self.ws} 127.0.0.1\nprotocol websockets\n"
            "allow_anonymous true\nset_tcp_nodelay true\nuser root\n"
        )
        broker = Part(require("mosquitto"), "-c", str(configuration), directory=directory)
        stack.enter_context(broker)
        wait_until(lambda: listens(self.tcp) and listens(self.ws), what="Mosquitto")
        web = Part.module("web", directory=directory, MQTT_PORT=self.tcp, HTTP_PORT=self.http)
        stack.enter_context(web)
        wait_until(lambda: listens(self.http), what="the web service")
        self.broker = Process("mosquitto", broker.process.pid)
        self.web = Process("web", web.process.pid)
        self._client = stack.enter_context(connected(self.tcp))
        self._some = cycle(list(readings(METERS, 1, 1.0)))
        self._sent: dict[bytes, float] = {}

    def publish(self) -> None:
        """Publish the next meter's reading; its energy is a number that no other one has."""
        number, some = len(self._sent), next(self._some)
        values = dict(some.values) | {NAMES[0]: 1.0, "energy": number + 0.5}
        reading = Reading(some.meter_id, datetime.now(UTC), values)
        self._sent[f"{number}.5".encode()] = time.time()
        self._client.publish(topics.reading(some.meter_id), reading.encode(), 1)

    def deliver(
        self, process: Process, connect: Callable[[], Iterator[Client]], seconds: float
    ) -> Delivered:
        """Connect clients and return what they receive."""
        with Crowd(list(connect())) as crowd:
            crowd.receive(1.5)
            cpu_s = process.cpu_s
            frames = crowd.receive(seconds)
            cpu_s = process.cpu_s - cpu_s
        taken = list(self._latencies(frames))
        return Delivered(len(taken), cpu_s, taken)

    def idle_s(self, process: Process, seconds: float) -> float:
        """Return the CPU of a process in a second, without clients."""
        cpu_s = process.cpu_s
        time.sleep(seconds)
        return (process.cpu_s - cpu_s) / seconds

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
    cpu = [median(each.cpu_s / each.frames for each in some) for some in (ours, theirs)]
    lost = min(mine.frames / other.frames for mine, other in pairs)
    beside = f"of those of MQTT ({theirs[0].frames}), fewest of {ROUNDS} rounds"
    verdict.figure(f"{name}: frames delivered", f"{lost:.3f}", beside, ">= 0.98", ok=lost >= 0.98)
    ratio = cpu[0] / cpu[1]
    beside = f"{1e6 * cpu[0]:.1f} us a frame beside {1e6 * cpu[1]:.1f} us"
    verdict.figure(f"{name}: CPU", f"{ratio:.2f} x", beside, f"<= {most:g} x", ok=ratio <= most)
    shown = [[median(p) for p in zip(*map(p50_p99, taken), strict=True)] for taken in (
        [each.taken for each in ours], [each.taken for each in theirs])]  # fmt: skip
    for what, mine, other in zip(("p50", "p99"), *shown, strict=True):
        ratio, beside = mine / other, f"{ms(mine)} beside {ms(other)}"
        verdict.figure(
            f"{name}: {what}", f"{ratio:.2f} x", beside, f"<= {MOST_LATENCY:g} x",
            ok=ratio <= MOST_LATENCY,
        )  # fmt: skip


def main() -> None:
    """Measure each kind of client beside those of MQTT, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    count, seconds = range(options.clients), options.seconds
    all_meters, one_meter = topics.reading("+"), topics.reading("1")
    verdict = Verdict()
    with ExitStack() as stack:
        site = Site(stack)
        stack.enter_context(every(EACH_S / METERS, site.publish))
        time.sleep(2)
        title(f"{options.clients} clients, {METERS} meters every {EACH_S:g} s")
        idle = {each: site.idle_s(each, seconds) for each in (site.web, site.broker)}
        for each, share in idle.items():
            line(f"{each.name} without clients", f"{100 * share:.2f} %", "of a core")

        def deliver(process: Process, connect: Callable[[], Client]) -> Delivered:
            got = site.deliver(process, lambda: (connect() for _ in count), seconds)
            return Delivered(got.frames, got.cpu_s - idle[process] * seconds, got.taken)

        kinds: tuple[tuple[str, Callable[[], Client], str, float], ...] = (
            ("/ws", lambda: raw(site.http, "1"), one_meter, MOST_RAW),
            ("Socket.IO", lambda: socket_io(site.http, all_meters), all_meters, MOST_SOCKET_IO),
        )
        for name, connect, pattern, most in kinds:
            pairs = [
                (
                    deliver(site.web, connect),
                    deliver(site.broker, lambda p=pattern: mqtt(site.ws, p)),
                )
                for _ in range(ROUNDS)
            ]
            compare(verdict, name, pairs, most)
    verdict.end()


if __name__ == "__main__":
    main()
