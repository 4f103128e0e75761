"""The site: which gateways there are, and which meters on the line behind each."""

from dataclasses import dataclass
from typing import Literal

from contract.quantities import DEFAULT_SET, quantity_set
from gateway_bridge.address import Address, SerialLine, TcpAddress, parse_address
from gateway_bridge.models import MODELS, MeterModel
from gateway_bridge.models.inversion import inverted
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.meters_file import read_meters_file
from gateway_bridge.site.tables import GatewayTable, MeterTable
from service.errors import SettingsError

CORE_NAMES = ("voltage", "current", "power", "energy")
"""They are in every reading, whatever else is asked for."""
SHORT_FORM = ("modbus_host", "modbus_port", "meter_ids")
"""The settings that name a gateway and its meters, where there is no meters file."""


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter to be read: who it is on the bus and on the line, and what to read how often.

    `wiring` and `low_word_first` are None where the meter itself is to say it. `max_current_a` is
    what each phase can carry: a counter that rises faster is not believed; nor is a voltage of a
    phase above `max_voltage_v`. An `inverted` meter is fed from below: its `model` has import and
    export exchanged already, its signs are still to be turned.
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
    max_voltage_v: float | None = None
    low_word_first: bool | None = None
    inverted: bool = False

    @property
    def live(self) -> frozenset[str]:
        """What is read each interval; the rest of `quantities` at the slow one."""
        if self.slow_interval_s <= self.interval_s:
            return frozenset(self.quantities)
        return frozenset(self.quantities) & frozenset(DEFAULT_SET)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A Modbus gateway and the meters on its RS485 line; each is connected to once.

    Where `serial` is set there is no gateway: the line ends at an adapter of this machine.
    """

    name: str
    host: str
    port: int
    framing: Literal["auto", "tcp", "rtu"]
    timeout_s: float
    cost: LineCost
    meters: tuple[Meter, ...]
    serial: SerialLine | None = None

    @property
    def where(self) -> Address:
        """Where the line is reached."""
        return self.serial or TcpAddress(self.host, self.port)

    @property
    def address(self) -> str:
        """Host and port, or the device, as people write them."""
        return str(self.where)


def site_from(settings: BridgeSettings) -> tuple[Gateway, ...]:
    """Return the gateways of the meters file, else the one that the short settings tell of.

    None where there is neither. Raises SettingsError for what is wrong in the file, and where
    both name meters: nobody could tell which was meant.
    """
    path = settings.meters_file
    if not path.exists() and "meters_file" not in settings.model_fields_set:
        return _short_form(settings)
    tables = read_meters_file(path).gateway
    for name in SHORT_FORM:
        if name in settings.model_fields_set:
            given = _as_written(getattr(settings, name))
            raise SettingsError(
                f"{name.upper()}: {given} is set, and {path} names gateways and meters too;"
                " remove one of the two"
            )
    return tuple(_gateway(table, n, settings) for n, table in enumerate(tables, start=1))


def site_at(
    where: Address, units: tuple[int, ...], settings: BridgeSettings, model: str = "sdm630"
) -> Gateway:
    """Return a gateway that a person names, with the meters of these units."""
    serial = where if isinstance(where, SerialLine) else None
    host, port = (where.host, where.port) if isinstance(where, TcpAddress) else ("", 0)
    return Gateway(
        name=settings.bridge_name,
        host=host,
        port=port,
        framing="rtu" if serial else settings.modbus_framing,
        timeout_s=settings.modbus_timeout,
        cost=_cost(serial, settings.modbus_baud),
        meters=tuple(_meter(MeterTable(unit=unit, model=model), None, settings) for unit in units),
        serial=serial,
    )


def _as_written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _short_form(settings: BridgeSettings) -> tuple[Gateway, ...]:
    if settings.modbus_host is None:
        return ()
    where = parse_address(settings.modbus_host, settings.modbus_port)
    return (site_at(where, settings.meter_ids, settings),)


def _gateway(table: GatewayTable, number: int, settings: BridgeSettings) -> Gateway:
    where = table.where
    serial = where if isinstance(where, SerialLine) else None
    host, port = (where.host, where.port) if isinstance(where, TcpAddress) else ("", 0)
    return Gateway(
        name=table.name or f"gateway{number}",
        host=host,
        port=port,
        framing="rtu" if serial else table.framing or settings.modbus_framing,
        timeout_s=table.timeout or settings.modbus_timeout,
        cost=_cost(serial, table.baud or settings.modbus_baud),
        meters=tuple(_meter(meter, table, settings) for meter in table.meter),
        serial=serial,
    )


def _cost(serial: SerialLine | None, baud: int) -> LineCost:
    return LineCost(baud=serial.baud, bits=serial.bits) if serial else LineCost(baud=baud)


def _meter(table: MeterTable, gateway: GatewayTable | None, settings: BridgeSettings) -> Meter:
    """Return a meter: what its own table leaves out is its gateway's, else the settings'."""
    model = MODELS[table.model]
    words = table.quantities or (gateway and gateway.quantities) or settings.quantities
    interval_s = table.interval or (gateway and gateway.interval) or settings.poll_interval
    slow_s = table.slow_interval or (gateway and gateway.slow_interval) or settings.slow_interval
    return Meter(
        meter_id=table.meter_id,
        unit=table.unit,
        model=inverted(model) if table.invert else model,
        name=table.name or f"Meter {table.meter_id}",
        interval_s=interval_s,
        slow_interval_s=slow_s,
        quantities=quantity_set((*CORE_NAMES, *words)),
        wiring=table.wiring,
        max_current_a=table.max_current or model.max_current_a,
        max_voltage_v=table.max_voltage,
        low_word_first=_LOW_WORD_FIRST[table.word_order],
        inverted=table.invert,
    )


_LOW_WORD_FIRST = {"auto": None, "high-first": False, "low-first": True}
