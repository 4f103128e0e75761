"""How fast a full line is read, compared with the wire and with one request per quantity.

    python benchmarks/bus_cycle.py [--seconds 30]

Three meters on a simulated line: turnaround 40 ms, 20 ms of silence that the gateway keeps. What
the wire takes is measured in the same seconds: by a loop that sends the optimal plan's requests one
after another and does nothing else. On a quiet machine that is the line's time to a thousandth.
"""

import argparse
import asyncio
import struct
import time
from bisect import bisect_left

from benchmarks.bus import ALL, MODEL, Line, line
from benchmarks.figures import Verdict, title
from contract.quantities import CORE_SET, DEFAULT_SET
from gateway_bridge.address import TcpAddress
from gateway_bridge.meter.plan import plan_blocks
from gateway_bridge.modbus.frames import SMALLEST_READ, Framing
from gateway_bridge.modbus.transport import Transport
from gateway_bridge.models.line_cost import LineCost
from simulator.bus import LineTiming
from simulator.simulator import Simulator

SETS = {"core": tuple(CORE_SET), "default": tuple(DEFAULT_SET), "all": ALL}
THIRTY = (*DEFAULT_SET[:27], "current_n", "energy_total", "reactive_energy_total")
"""Thirty quantities in three blocks: 76, 2 and 4 registers."""
FASTER = {"core": 4.5, "default": 6.0, "all": 8.8}
BAUDS = (9600, 19200, 38400)
BETWEEN = 0.1


async def cycle_s(on: Line, seconds: float) -> float:
    """Return the mean time from one meter's reading to the next one's."""
    await on.settle()
    began_s, before = time.monotonic(), len(on.received.readings)
    await asyncio.sleep(seconds)
    last_s = on.received.readings[-1][1]
    first_s = on.received.readings[before][1]
    assert began_s <= first_s < last_s
    return (last_s - first_s) / (len(on.received.readings) - 1 - before)


async def full_line(
    quantities: tuple[str, ...],
    baud: int,
    seconds: float,
    pause_ms: float = 20.0,
    delay_s: float = 0.0,
    *,
    meters: int = 3,
    framing: Framing = "tcp",
) -> float:
    """Return the time per reading of a line polled without a pause."""
    async with line(
        meters,
        baud,
        pause_ms,
        quantities=quantities,
        framing=framing,
        interval_s=BETWEEN,
        slow_interval_s=BETWEEN,
        delay_s=delay_s,
    ) as on:
        return await cycle_s(on, seconds)


async def bare_loop(
    quantities: tuple[str, ...], baud: int, seconds: float, pause_ms: float = 20.0
) -> float:
    """Return the time that the optimal plan takes on the wire, requested by a short loop."""
    cost = LineCost(baud=baud, pause_ms=pause_ms)
    plan = plan_blocks((MODEL.registers[each] for each in quantities), cost, MODEL.limit)
    timing = LineTiming(baud=baud, pause_s=pause_ms / 1000)
    async with Simulator((1,), timing=timing) as simulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        began_s, rounds = time.monotonic(), 0
        while time.monotonic() - began_s < seconds:
            for block in plan:
                writer.write(struct.pack(">3H2B2H", 1, 0, 6, 1, 4, block.address, block.count))
                await reader.readexactly(9 + 2 * block.count)
            rounds += 1
        took_s = time.monotonic() - began_s
        writer.close()
        return took_s / rounds


async def one_by_one(name: str, baud: int) -> float:
    """Return the time for a meter with one request per quantity."""
    async with Simulator((1,), timing=LineTiming(baud=baud)) as simulator:
        transport = Transport(TcpAddress("127.0.0.1", simulator.port), "tcp", timeout_s=1.0)
        await transport.connect()
        await transport.read(1, 0, SMALLEST_READ)
        began_s = time.monotonic()
        for quantity in SETS[name]:
            register = MODEL.registers[quantity]
            await transport.read(1, register.address, register.count)
        took_s = time.monotonic() - began_s
        transport.close()
        return took_s


async def lateness_s(seconds: float) -> list[float]:
    """Return how long after its time stamp each meter measured, on a line with time to spare."""
    async with line(quantities=SETS["default"]) as on:
        await on.settle()
        before = len(on.received.readings)
        await asyncio.sleep(seconds)
        served = [(each.at_s, each.unit) for each in on.simulator.statistics.served]
        late = []
        for meter_id, _, ts in on.received.readings[before:]:
            sent_s = ts.timestamp()
            place = bisect_left(served, (sent_s, 0))
            at_s = next(at_s for at_s, unit in served[place:] if unit == int(meter_id))
            late.append(at_s - sent_s)
        return sorted(late)


async def measure(seconds: float) -> Verdict:
    """Measure all lines at the same time: they hardly compute."""
    verdict = Verdict()
    kinds = [(name, baud) for name in SETS for baud in BAUDS]
    async with asyncio.TaskGroup() as group:
        start = group.create_task
        full = [start(full_line(SETS[name], baud, seconds)) for name, baud in kinds]
        bare = [start(bare_loop(SETS[name], baud, seconds)) for name, baud in kinds]
        far = start(full_line(CORE_SET, 9600, seconds, pause_ms=4.0, delay_s=0.010))
        near = start(bare_loop(CORE_SET, 9600, seconds, pause_ms=4.0))
        rtu = {
            (meters, pause_ms): (
                start(full_line(THIRTY, 9600, seconds, pause_ms, meters=meters, framing="rtu")),
                start(bare_loop(THIRTY, 9600, seconds, pause_ms)),
            )
            for meters in (1, 3)
            for pause_ms in (20.0, 0.0)
        }
        singly = {name: start(one_by_one(name, 9600)) for name in SETS}
        late = start(lateness_s(seconds))
    title("A reading of a full line, compared with the wire's own time for the optimal plan")
    for (name, baud), ours, wire in zip(kinds, full, bare, strict=True):
        what = f"{name} ({len(SETS[name])}) at {baud} baud"
        _compare(verdict, what, ours.result(), wire.result(), most=1.02)
    what = "core at 9600 baud, network 10 ms, pause 4 ms"
    _compare(verdict, what, far.result(), near.result(), most=1.10)
    for (meters, pause_ms), (ours, wire) in rtu.items():
        what = f"RTU over TCP, 30 quantities, {meters} m., pause {pause_ms:.0f}"
        _compare(verdict, what, ours.result(), wire.result(), most=1.02)
    title("One request per quantity, compared with a reading of ours (9600 baud)")
    for name, took in singly.items():
        own_s = full[kinds.index((name, 9600))].result()
        ratio, least = took.result() / own_s, FASTER[name]
        beside = f"{took.result():.2f} s beside {own_s:.2f} s"
        what = f"{name} ({len(SETS[name])})"
        verdict.figure(what, f"{ratio:.1f} x", beside, f">= {least}", ok=ratio >= least)
    title("Time stamp of a reading, compared with the moment of measurement (9600 baud)")
    times_ms = [1000 * each for each in late.result()]
    p95 = times_ms[int(0.95 * len(times_ms))]
    beside = (
        f"p95 of {len(times_ms)}, at most {times_ms[-1]:.0f}; the wire's own {_request_ms():.0f}"
    )
    verdict.figure("late by", f"{p95:.0f} ms", beside, "<= 80 ms", ok=p95 <= 80)
    return verdict


def _compare(verdict: Verdict, what: str, ours_s: float, wire_s: float, *, most: float) -> None:
    ratio = ours_s / wire_s
    beside = f"{1000 * ours_s:.1f} ms beside {1000 * wire_s:.1f} ms"
    verdict.figure(what, f"{ratio:.3f} x", beside, f"<= {most:.2f}", ok=ratio <= most)


def _request_ms() -> float:
    cost = LineCost()
    return 8 * 1000 * cost.bits / cost.baud + cost.turnaround_ms


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    asyncio.run(measure(parser.parse_args().seconds)).end()
