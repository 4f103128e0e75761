"""The site: which gateways there are, and which meters on the line behind each."""

from dataclasses import dataclass
from typing import Literal

from contract.quantities import DEFAULT_SET, quantity_set
from gateway_bridge.blocks import LineCost
from gateway_bridge.models import MODELS, MeterModel
from gateway_bridge.settings import BridgeSettings

CORE_NAMES = ("voltage", "current", "power", "energy")
"""They are in every reading, whatever else is asked for."""


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter to be read: who it is on the bus and on the line, and what to read how often.

    `wiring` is None where the meter itself is to say it. `max_current_a` is what each phase can
    carry: a counter that rises faster is not believed.
    """

    meter_id: str
    unit: int
    model: MeterModel
    name: str
    interval_s: float
    slow_interval_s: float
    quantities: tuple[str, ...]
    wiring: str | None = None
    max_current_a: float = 100.0

    @property
    def live(self) -> frozenset[str]:
        """What is read each interval; the rest of `quantities` at the slow one."""
        if self.slow_interval_s <= self.interval_s:
            return frozenset(self.quantities)
        return frozenset(self.quantities) & frozenset(DEFAULT_SET)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A Modbus gateway and the meters on its RS485 line; each is connected to once."""

    name: str
    host: str
    port: int
    framing: Literal["auto", "tcp", "rtu"]
    timeout_s: float
    cost: LineCost
    meters: tuple[Meter, ...]

    @property
    def address(self) -> str:
        """Host and port, as people write them."""
        return f"{self.host}:{self.port}"


def site_from(settings: BridgeSettings) -> tuple[Gateway, ...]:
    """Return the one gateway that the short settings tell of; none without MODBUS_HOST."""
    if settings.modbus_host is None:
        return ()
    wanted = quantity_set((*CORE_NAMES, *settings.quantities))
    meters = tuple(
        Meter(
            meter_id=str(unit),
            unit=unit,
            model=MODELS["sdm630"],
            name=f"Meter {unit}",
            interval_s=settings.poll_interval,
            slow_interval_s=settings.slow_interval,
            quantities=wanted,
        )
        for unit in settings.meter_ids
    )
    gateway = Gateway(
        name=settings.bridge_name,
        host=settings.modbus_host,
        port=settings.modbus_port,
        framing=settings.modbus_framing,
        timeout_s=settings.modbus_timeout,
        cost=LineCost(baud=settings.modbus_baud),
        meters=meters,
    )
    return (gateway,)
