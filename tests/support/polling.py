"""A gateway poller against the simulator, both in one event loop, and what it publishes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime

from contract.quantities import BY_NAME, DEFAULT_SET
from gateway_bridge.address import TcpAddress
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.models import MODELS
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.polling.events import Listener
from gateway_bridge.polling.poller import GatewayPoller, Line
from gateway_bridge.site.site import Gateway, Meter
from simulator.bus import LineTiming
from simulator.simulator import Simulator

FAST = LineTiming(baud=0, turnaround_s=0.0, pause_s=0.0, reply_timeout_s=0.1)
FAST_COST = LineCost(baud=10_000_000, turnaround_ms=0, pause_ms=0)
MODEL = MODELS["sdm630"]


@dataclass
class Received:
    """A listener that keeps all it receives."""

    readings: list[tuple[str, datetime, dict[str, float]]] = field(default_factory=list)
    states: list[tuple[str, bool | None]] = field(default_factory=list)

    def reading(self, meter: PolledMeter, ts: datetime, values: dict[str, float]) -> None:
        self.readings.append((meter.config.meter_id, ts, values))

    def changed(self, meter: PolledMeter) -> None:
        state = (meter.config.meter_id, meter.state.online)
        if state not in self.states[-1:]:
            self.states.append(state)

    def of(self, meter_id: str) -> list[dict[str, float]]:
        return [values for sender, _, values in self.readings if sender == meter_id]

    def wrong(self) -> list[str]:
        """What was published that is not what `pin` put there."""
        return [
            f"meter {meter_id} {name}: {value}"
            for meter_id, _, values in self.readings
            for name, value in values.items()
            if abs(value - pinned(int(meter_id), name)) > 0.001
        ]


def pinned(unit: int, name: str) -> float:
    """A value that belongs to this unit id and register only."""
    value = MODEL.registers[name].address + 1 + unit / 4
    return value / 1000 if BY_NAME[name].kind.highest < 2 else value


def pin(simulator: Simulator) -> None:
    """Give every register of every meter a value of its own."""
    for unit in simulator.meters:
        for name in MODEL.registers:
            simulator.set(unit, name, pinned(unit, name))


def gateway_at(
    simulator: Simulator,
    *,
    framing: str = "tcp",
    interval_s: float = 0.1,
    slow_interval_s: float = 60.0,
    quantities: tuple[str, ...] = DEFAULT_SET,
    cost: LineCost = FAST_COST,
    timeout_s: float = 0.3,
) -> Gateway:
    """The gateway that a bridge would configure for a simulator."""
    meters = tuple(
        Meter(str(unit), unit, MODEL, f"Meter {unit}", interval_s, slow_interval_s, quantities)
        for unit in simulator.meters
    )
    return Gateway("g", TcpAddress("127.0.0.1", simulator.port), framing, timeout_s, cost, meters)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def polling(gateway: Gateway) -> AsyncIterator[tuple[GatewayPoller, Received]]:
    """Run a poller for as long as the block lasts, and keep what it publishes."""
    received = Received()
    async with polling_into(gateway, received) as poller:
        yield poller, received


@contextlib.asynccontextmanager
async def polling_into(gateway: Gateway, listener: Listener) -> AsyncIterator[GatewayPoller]:
    """Run a poller for as long as the block lasts."""
    poller = GatewayPoller(Line(gateway), listener)
    task = asyncio.create_task(poller.run())
    try:
        yield poller
    finally:
        if task.done():
            task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object], timeout_s: float = 10, what: str = "") -> None:
    """Wait until a condition holds; fail if it never does."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - the condition is the other side's
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited {timeout_s} s for {what or condition}") from None
