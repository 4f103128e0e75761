"""What 1,000 meters at a reading a second cost: 100 gateways with 10 meters, and one bridge.

    python benchmarks/bus_scale.py [--gateways 100] [--seconds 15] [--recorder]

Polling alone is measured in this process. Then a bridge runs as users run it, with Mosquitto and
its journal on disk, and with a recorder and SQLite too if `--recorder` is given. The gateways are
simulated by a process of their own, and answer at once.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho

from benchmarks.bus import MODEL, Received
from benchmarks.figures import Verdict, title
from contract.quantities import DEFAULT_SET
from contract.times import epoch_ms, parse_time
from gateway_bridge.address import TcpAddress
from gateway_bridge.capacity import slowness
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.polling.poller import GatewayPoller, Line
from gateway_bridge.site.site import Gateway, Meter
from service.mqtt import MqttClient, Subscription
from service.settings import Settings
from simulator.bus import LineTiming
from simulator.simulator import Simulator
from tests.support.parts import Part, free_port, listens, wait_until

METERS, ROUNDS = 10, 3
INSTANT = LineCost(baud=10_000_000, turnaround_ms=0, pause_ms=0)
WARM_UP_S = 12
POLLING, BRIDGE, RECORDER = 0.35, 0.75, 0.40
"""Shares of a core that each may take at 1,000 readings a second; more on a slower machine."""
COMMIT_S = 0.3
"""Commit interval of the recorder, for rows within a second; the default spares an SD card."""
TICKS_S = os.sysconf("SC_CLK_TCK")
_TS = re.compile(rb'"ts":"([^"]+)"')


async def simulate(gateways: int) -> None:
    """Be all the gateways, and print their ports."""
    simulators = [
        Simulator(range(1, METERS + 1), timing=LineTiming(baud=0), seed=n + 1)
        for n in range(gateways)
    ]
    ports = [await simulator.start() for simulator in simulators]
    sys.stdout.write(" ".join(map(str, ports)) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@contextlib.contextmanager
def simulated(gateways: int) -> Iterator[list[int]]:
    """Simulate gateways in a process of their own; yield their ports."""
    command = [sys.executable, __file__, "--simulate", "--gateways", str(gateways)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield [int(port) for port in process.stdout.readline().split()]
        finally:
            process.terminate()


def gateway(number: int, port: int) -> Gateway:
    """Return a gateway with its meters."""
    meters = tuple(
        Meter(f"{number}_{unit}", unit, MODEL, "", 1.0, 60.0, tuple(DEFAULT_SET))
        for unit in range(1, METERS + 1)
    )
    return Gateway(f"g{number}", TcpAddress("127.0.0.1", port), "tcp", 1.0, INSTANT, meters)


async def _lags(lags: list[float]) -> None:
    while True:
        before_s = time.monotonic()
        await asyncio.sleep(0.02)
        lags.append(time.monotonic() - before_s - 0.02)


async def polling(ports: list[int], seconds: float, verdict: Verdict) -> None:
    """Poll all meters, and take the best of some rounds: this machine may have more to do."""
    heard = Received()
    pollers = [
        GatewayPoller(Line(gateway(number, port)), heard, offset=number / len(ports))
        for number, port in enumerate(ports)
    ]
    tasks = [asyncio.create_task(poller.run()) for poller in pollers]
    await asyncio.sleep(5)
    rounds = [await _round(pollers, heard, seconds) for _ in range(ROUNDS)]
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    rate, cpu, lag_ms, skipped = min(rounds, key=lambda each: (each[3], each[2]))
    wanted = len(ports) * METERS
    title(f"polling alone: {len(ports)} gateways with {METERS} meters each, every second")
    _rate(verdict, "readings a second", rate, wanted)
    verdict.figure("ticks missed", str(skipped), "", "0", ok=skipped == 0)
    _cpu(verdict, "CPU", cpu, rate, POLLING)
    beside = "p99 of what a sleep of 20 ms takes longer"
    verdict.figure("lag of the event loop", f"{lag_ms:.1f} ms", beside, "<= 10 ms", ok=lag_ms <= 10)


async def _round(
    pollers: list[GatewayPoller], heard: Received, seconds: float
) -> tuple[float, float, float, int]:
    """Return readings a second, share of a core, lag in ms (p99), and ticks missed."""
    lags: list[float] = []
    watch = asyncio.create_task(_lags(lags))
    skipped = sum(poller.line.skipped for poller in pollers)
    cpu_s, began_s, before = time.process_time(), time.monotonic(), len(heard.readings)
    await asyncio.sleep(seconds)
    passed_s = time.monotonic() - began_s
    cpu = (time.process_time() - cpu_s) / passed_s
    rate = (len(heard.readings) - before) / passed_s
    skipped = sum(poller.line.skipped for poller in pollers) - skipped
    watch.cancel()
    lags.sort()
    return rate, cpu, 1000 * lags[int(0.99 * len(lags))], skipped


def _rate(verdict: Verdict, what: str, rate: float, wanted: int) -> None:
    reach = f">= {0.99 * wanted:.0f}"
    beside = f"beside {wanted} wanted, best of {ROUNDS} rounds"
    verdict.figure(what, f"{rate:.0f}", beside, reach, ok=rate >= 0.99 * wanted)


def _cpu(verdict: Verdict, what: str, cpu: float, rate: float, limit: float) -> None:
    slow = max(1.0, slowness())
    reach = limit * slow
    beside = f"of a core; {1e6 * cpu / max(rate, 1):.0f} us for a reading; machine x {slow:.2f}"
    verdict.figure(what, f"{100 * cpu:.0f} %", beside, f"<= {100 * reach:.0f} %", ok=cpu <= reach)


@dataclass
class Subscriber:
    """Notes when each meter's readings were measured, and how long they took to arrive.

    Readings that a recorder has requested again are not counted again.
    """

    begins_ms: float = 0.0
    delays_ms: list[float] = field(default_factory=list)
    measured: dict[str, set[int]] = field(default_factory=dict)

    def begin(self) -> None:
        """Forget what was noted; count readings that are measured from now on."""
        self.begins_ms = time.time() * 1000
        self.delays_ms.clear()
        self.measured.clear()

    def take(self, message: paho.MQTTMessage) -> None:
        """Note a reading."""
        now_ms = time.time() * 1000
        if message.retain or not (found := _TS.search(message.payload)):
            return
        ts = epoch_ms(parse_time(found[1].decode()))
        known = self.measured.setdefault(message.topic, set())
        if ts >= self.begins_ms and ts not in known:
            self.delays_ms.append(now_ms - ts)
            known.add(ts)

    def missed(self) -> int:
        """Return how many readings are missing between those of the same meter."""
        return sum(
            round((after - before) / 1000) - 1
            for each in self.measured.values()
            for before, after in itertools.pairwise(sorted(each))
            if after - before > 1500
        )


class Rows:
    """Notes how long the rows of a history take to be there, by looking every 50 ms."""

    def __init__(self, path: Path) -> None:
        self.delays_ms: list[float] = []
        self._path = path
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Start to look."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        database = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        [(after,)] = database.execute("SELECT MAX(ts) FROM readings_raw")
        while not self._ended.wait(0.05):
            rows = database.execute(
                "SELECT ts FROM readings_raw WHERE ts > ? AND ts > ?",
                (after - 5000, time.time() * 1000 - 5000),
            ).fetchall()
            newest = max((ts for (ts,) in rows), default=after)
            if newest > after:
                self.delays_ms += [time.time() * 1000 - ts for (ts,) in rows if ts > after]
                after = newest
        database.close()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def _written(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().partition("\nwrite_bytes: ")[2].split()[0])


def _p99(delays_ms: Sequence[float]) -> float:
    return sorted(delays_ms)[int(0.99 * len(delays_ms))] if delays_ms else 1e9


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured of the running parts in some seconds."""

    rate: float
    missed: int
    p99_ms: float
    cpu: dict[str, float]
    written: int


@contextlib.contextmanager
def running(
    ports: Sequence[int],
    scalars: str,
    *,
    recorded: bool,
    meters: int = METERS,
    subscribe: Callable[[int], object] = lambda _port: None,
) -> Iterator[tuple[dict[str, Part], int, Path]]:
    """Run Mosquitto and a bridge; yield the parts, the port of the broker, and the history.

    `subscribe` is called before the bridge starts.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory, port = Path(name), free_port()
        parts = {}
        parts["Mosquitto"] = Part.module("broker", directory=directory / "broker", MQTT_PORT=port)
        stack.enter_context(parts["Mosquitto"])
        wait_until(lambda: listens(port), what="the broker")
        history = directory / "recorder" / "history.db"
        if recorded:
            url = f"sqlite:///{history}"
            parts["recorder"] = stack.enter_context(
                Part.module(
                    "recorder",
                    directory=directory / "recorder",
                    MQTT_PORT=port,
                    DATABASE_URL=url,
                    COMMIT_INTERVAL=COMMIT_S,
                )
            )
            parts["recorder"].wait_for(": connected")
        subscribe(port)
        (directory / "meters.toml").write_text(
            "".join(_gateway_text(each, meters) for each in ports)
        )
        parts["bridge"] = stack.enter_context(
            Part.module("gateway_bridge", directory=directory, MQTT_PORT=port, SCALARS=scalars)
        )
        yield parts, port, history


def _gateway_text(port: int, meters: int) -> str:
    text = f'[[gateway]]\nname = "g{port}"\naddress = "127.0.0.1:{port}"\nframing = "tcp"\n'
    text += "baud = 115200\ninterval = 1.0\n"
    for unit in range(1, meters + 1):
        text += f'[[gateway.meter]]\nid = "{port}_{unit}"\nunit = {unit}\n'
    return text


def _window(parts: dict[str, Part], client: Subscriber, seconds: float) -> Window:
    client.begin()
    pids = {name: part.process.pid for name, part in parts.items()}
    before = {name: _cpu_s(pid) for name, pid in pids.items()}
    written, began_s = _written(pids["bridge"]), time.monotonic()
    time.sleep(seconds)
    passed_s = time.monotonic() - began_s
    cpu = {name: (_cpu_s(pid) - before[name]) / passed_s for name, pid in pids.items()}
    delays_ms = list(client.delays_ms)
    return Window(
        rate=len(delays_ms) / passed_s,
        missed=client.missed(),
        p99_ms=_p99(delays_ms),
        cpu=cpu,
        written=_written(pids["bridge"]) - written,
    )


def bridged(
    ports: Sequence[int], seconds: float, verdict: Verdict, scalars: str, *, recorded: bool
) -> None:
    """Run a bridge as a process, and judge the best of some windows."""
    client = Subscriber()
    with running(ports, scalars, recorded=recorded) as (parts, port, history):
        mqtt = MqttClient(
            Settings(mqtt_host="127.0.0.1", mqtt_port=port),
            "benchmark",
            subscriptions=(Subscription("meters/+/reading", 0),),
            on_message=client.take,
        )
        mqtt.start()
        time.sleep(WARM_UP_S)
        rows = Rows(history)
        if recorded:
            rows.start()
        windows = [_window(parts, client, seconds) for _ in range(ROUNDS)]
        if recorded:
            rows.stop()
        mqtt.stop()
        verdicts = [_decided(part) for part in parts.values()]
    best = min(windows, key=lambda each: (each.missed, each.cpu["bridge"]))
    parts_named = f"bridge{' and recorder' if recorded else ''}, Mosquitto and journal"
    title(f"{parts_named}, the same meters, SCALARS={scalars}")
    _rate(verdict, "readings a second at a subscriber", best.rate, len(ports) * METERS)
    verdict.figure("readings missing", str(best.missed), "", "0", ok=best.missed == 0)
    _cpu(verdict, "CPU of the bridge", best.cpu["bridge"], best.rate, BRIDGE)
    for name, share in best.cpu.items():
        if name == "recorder":
            _cpu(verdict, "CPU of the recorder", share, best.rate, RECORDER)
        elif name == "Mosquitto":
            verdict.figure("CPU of Mosquitto", f"{100 * share:.0f} %", "of a core", "", ok=True)
    ok, beside = best.p99_ms <= 1000, "p99, from the measurement to a subscriber"
    verdict.figure("delay", f"{best.p99_ms:.0f} ms", beside, "<= 1 s", ok=ok)
    if recorded:
        p99_ms = _p99(rows.delays_ms)
        beside = f"p99 of {len(rows.delays_ms)}, from the measurement to the row"
        verdict.figure("delay", f"{p99_ms:.0f} ms", beside, "<= 1 s", ok=p99_ms <= 1000)
    beside = (
        f"written by the bridge, {best.written / max(best.rate, 1) / seconds:.0f} bytes a reading"
    )
    verdict.figure("journal", f"{best.written / 1e6 / seconds:.2f} MB/s", beside, "", ok=True)
    assert all(verdicts), verdicts


def _decided(part: Part) -> str:
    """Return a part's output where it has no traceback."""
    return part.output if "Traceback" not in part.output else ""


def main() -> None:
    """Start the gateways, poll them, and end them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--recorder", action="store_true", help="run a recorder as well")
    choices = ("all", "changed", "off")
    parser.add_argument("--scalars", nargs="*", choices=choices, default=["all", "changed"])
    parser.add_argument("--skip-polling", action="store_true", help="measure the bridge only")
    parser.add_argument("--simulate", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.simulate:
        asyncio.run(simulate(options.gateways))
        return
    verdict = Verdict()
    with simulated(options.gateways) as ports:
        if not options.skip_polling:
            asyncio.run(polling(ports, options.seconds, verdict))
        for scalars in options.scalars:
            bridged(ports, options.seconds, verdict, scalars, recorded=options.recorder)
    verdict.end()


if __name__ == "__main__":
    main()
