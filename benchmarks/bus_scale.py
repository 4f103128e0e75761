"""What a thousand meters at a reading a second cost: 100 gateways with 10 meters in one process.

    python benchmarks/bus_scale.py [--gateways 100] [--seconds 20]

The gateways are simulated by a process of their own, and answer at once. What is measured is the
way from the schedule over Modbus to a judged reading; publishing comes on top.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
import time

from benchmarks.bus import MODEL, Received, Verdict
from benchmarks.figures import title
from contract.quantities import DEFAULT_SET
from gateway_bridge.address import TcpAddress
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.polling.poller import GatewayPoller, Line
from gateway_bridge.site.site import Gateway, Meter
from simulator.bus import LineTiming
from simulator.simulator import Simulator

METERS, ROUNDS = 10, 3
INSTANT = LineCost(baud=10_000_000, turnaround_ms=0, pause_ms=0)


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


async def measure(ports: list[int], seconds: float) -> Verdict:
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
    verdict = Verdict()
    title(f"{len(ports)} gateways with {METERS} meters each, every second")
    beside = f"beside {wanted} wanted, best of {ROUNDS} rounds"
    ok = rate >= 0.99 * wanted
    verdict.figure("readings a second", f"{rate:.0f}", beside, f">= {0.99 * wanted:.0f}", ok=ok)
    verdict.figure("ticks missed", str(skipped), "", "0", ok=skipped == 0)
    beside = f"of a core; {1e6 * cpu / rate:.0f} us for a reading"
    verdict.figure("CPU", f"{100 * cpu:.0f} %", beside, "<= 35 %", ok=cpu <= 0.35)
    beside = "p99 of what a sleep of 20 ms takes longer"
    verdict.figure("lag of the event loop", f"{lag_ms:.1f} ms", beside, "<= 10 ms", ok=lag_ms <= 10)
    return verdict


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


def main() -> None:
    """Start the gateways, poll them, and end them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--simulate", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.simulate:
        asyncio.run(simulate(options.gateways))
        return
    command = [sys.executable, __file__, "--simulate", "--gateways", str(options.gateways)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulated:
        try:
            assert simulated.stdout
            ports = [int(port) for port in simulated.stdout.readline().split()]
            verdict = asyncio.run(measure(ports, options.seconds))
        finally:
            simulated.terminate()
    verdict.end()


if __name__ == "__main__":
    main()
