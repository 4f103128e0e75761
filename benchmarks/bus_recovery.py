"""How soon readings are back after an outage, and a broken connection is noticed.

python benchmarks/bus_recovery.py
"""

import argparse
import asyncio
import logging
import time

from benchmarks.bus import Line, line
from benchmarks.figures import Verdict, title
from contract.quantities import CORE_SET
from gateway_bridge.address import TcpAddress
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.modbus.transport import Transport
from simulator.bus import LineTiming
from simulator.simulator import Simulator
from tests.support.polling import until

TRIES = 5
OUTAGES = (("refuse", 2.0, 1.0), ("refuse", 10.0, 1.0), ("refuse", 40.0, 2.5),
           ("accept-reset", 10.0, 1.0), ("silent", 40.0, 6.0))  # fmt: skip
METER_OUTAGES = ((2.0, 2.0), (18.0, 6.0), (60.0, 6.0))


async def gateway_back_s(fault: str, outage_s: float) -> float:
    """Return how long after a gateway's outage the first reading arrives."""
    async with line(quantities=tuple(CORE_SET)) as on:
        await on.settle()
        on.simulator.fault(None, fault)
        for client in list(on.simulator.gateway.clients):
            client.reset()
        await asyncio.sleep(outage_s)
        on.simulator.mend(None)
        return await _next_reading_s(on, "")


async def meter_back_s(outage_s: float) -> float:
    """Return how long after a meter's outage its first reading arrives."""
    async with line(quantities=tuple(CORE_SET)) as on:
        await on.settle()
        on.simulator.fault(2, "dead")
        await asyncio.sleep(outage_s)
        on.simulator.mend(2)
        return await _next_reading_s(on, "2")


async def _next_reading_s(on: Line, meter_id: str) -> float:
    began_s, since = time.monotonic(), len(on.received.readings)
    received = on.received.readings
    await until(
        lambda: any(each[0].startswith(meter_id) for each in received[since:]), timeout_s=100
    )
    return time.monotonic() - began_s


async def noticed_s() -> float:
    """Return how long after a reset of the connection the request under way fails."""
    timing = LineTiming(reply_timeout_s=3.0)
    async with Simulator((1,), timing=timing) as simulator:
        simulator.fault(1, "dead")
        transport = Transport(TcpAddress("127.0.0.1", simulator.port), "tcp", timeout_s=5.0)
        await transport.connect()
        read = asyncio.create_task(transport.read(1, 0, 2))
        await until(lambda: simulator.statistics.requests)
        began_s = time.monotonic()
        for client in list(simulator.gateway.clients):
            client.reset()
        try:
            await read
        except GatewayError:
            return time.monotonic() - began_s
        finally:
            transport.close()
    raise AssertionError("an answer without a meter")


async def measure() -> Verdict:
    """Measure all outages at the same time."""
    logging.getLogger("gateway_bridge").setLevel(logging.CRITICAL)
    verdict = Verdict()
    async with asyncio.TaskGroup() as group:
        back = [
            [group.create_task(gateway_back_s(fault, outage_s)) for _ in range(TRIES)]
            for fault, outage_s, _ in OUTAGES
        ]
        meter = [
            [group.create_task(meter_back_s(outage_s)) for _ in range(TRIES)]
            for outage_s, _ in METER_OUTAGES
        ]
    title(f"From the end of an outage to the first reading, the slowest of {TRIES}")
    for (fault, outage_s, most_s), tasks in zip(OUTAGES, back, strict=True):
        slowest_s = max(task.result() for task in tasks)
        beside = f"beside {outage_s:.0f} s of outage"
        verdict.figure(
            f"gateway: {fault}", f"{slowest_s:.1f} s", beside, f"<= {most_s:g} s",
            ok=slowest_s <= most_s,
        )  # fmt: skip
    for (outage_s, most_s), tasks in zip(METER_OUTAGES, meter, strict=True):
        slowest_s = max(task.result() for task in tasks)
        beside = f"beside {outage_s:.0f} s of outage"
        verdict.figure(
            "meter", f"{slowest_s:.1f} s", beside, f"<= {most_s:.0f} s", ok=slowest_s <= most_s
        )
    slowest_ms = 1000 * max([await noticed_s() for _ in range(TRIES)])
    beside = "from the reset to the error"
    verdict.figure(
        "a request that waits for its answer", f"{slowest_ms:.1f} ms", beside, "<= 50 ms",
        ok=slowest_ms <= 50,
    )  # fmt: skip
    return verdict


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(measure()).end()
