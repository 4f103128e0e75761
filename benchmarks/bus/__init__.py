"""What the benchmarks of the bus share: simulated lines in real time."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from gateway_bridge.address import TcpAddress
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.modbus.frames import Framing
from gateway_bridge.models import MODELS
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.polling.poller import GatewayPoller
from gateway_bridge.polling.poller import Line as PolledLine
from gateway_bridge.site.site import Gateway, Meter
from simulator.bus import LineTiming
from simulator.simulator import Simulator
from tests.support.polling import until

MODEL = MODELS["sdm630"]
ALL = tuple(MODEL.registers)


@dataclass
class Received:
    """A listener that records when readings arrived and when their requests were sent."""

    readings: list[tuple[str, float, datetime]] = field(default_factory=list)

    def reading(self, meter: PolledMeter, ts: datetime, values: dict[str, float]) -> None:  # noqa: ARG002
        """Record a reading."""
        self.readings.append((meter.config.meter_id, time.monotonic(), ts))

    def changed(self, meter: PolledMeter) -> None:
        """Ignore changes of state."""

    def count(self, since: int = 0) -> dict[str, int]:
        """Return the number of readings of each meter, from the `since`th on."""
        senders = [meter_id for meter_id, _, _ in self.readings[since:]]
        return {meter_id: senders.count(meter_id) for meter_id in sorted(set(senders))}


@dataclass
class Line:
    """A simulated line and its poller."""

    simulator: Simulator
    poller: GatewayPoller
    received: Received
    cost: LineCost

    async def settle(self, rounds: int = 2) -> None:
        """Wait until that many readings of each meter have arrived."""
        await until(lambda: self._settled(rounds), timeout_s=60)

    def _settled(self, rounds: int) -> bool:
        counts = self.received.count()
        return len(counts) == len(self.poller.meters) and min(counts.values()) >= rounds


@contextlib.asynccontextmanager
async def line(
    meters: int = 3,
    baud: int = 9600,
    pause_ms: float = 20.0,
    *,
    quantities: tuple[str, ...],
    framing: Framing = "tcp",
    interval_s: float = 1.0,
    slow_interval_s: float = 60.0,
    delay_s: float = 0.0,
) -> AsyncIterator[Line]:
    """Run a line behind a gateway, and its poller, until the block ends.

    `delay_s` is the round-trip time of the network.
    """
    cost = LineCost(baud=baud, pause_ms=pause_ms)
    timing = LineTiming(baud=baud, pause_s=pause_ms / 1000)
    simulator = Simulator(range(1, meters + 1), timing=timing, framing=framing)
    simulator.statistics.served = deque()
    async with simulator, _network(simulator.port, delay_s) as port:
        polled = tuple(
            Meter(str(n), n, MODEL, f"Meter {n}", interval_s, slow_interval_s, quantities)
            for n in simulator.meters
        )
        gateway = Gateway("g", TcpAddress("127.0.0.1", port), framing, 1.0, cost, polled)
        received = Received()
        poller = GatewayPoller(PolledLine(gateway), received)
        task = asyncio.create_task(poller.run())
        try:
            yield Line(simulator, poller, received, cost)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.asynccontextmanager
async def _network(port: int, delay_s: float) -> AsyncIterator[int]:
    """Put a network with a delay between poller and gateway."""
    if not delay_s:
        yield port
        return

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while carried := await reader.read(4096):
                loop.call_later(delay_s / 2, writer.write, carried)
        writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
