"""The configured site: the gateways and the meters on the line of each."""

from dataclasses import dataclass

from contract.meter_settings import Billing, Role
from contract.quantities import DEFAULT_SET, quantity_set
from gateway_bridge.address import Address, SerialLine, parse_address
from gateway_bridge.models import MODELS, MeterModel
from gateway_bridge.models.inversion import inverted
from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.settings import BridgeSettings, FramingSetting
from gateway_bridge.site.meters_file import GatewayTable, MeterTable, read_meters_file
from service.errors import SettingsError
from service.settings import shown

CORE_NAMES = ("voltage", "current", "power", "energy")
"""Quantities in every reading, even if QUANTITIES does not select them."""
SHORT_FORM = ("modbus_host", "modbus_port", "meter_ids")
"""Settings that name a gateway and its meters without a meters file."""


@dataclass(frozen=True, slots=True)
class Meter:
    """The configuration of a meter: its ids on MQTT and on the line, and what to read how often.

    `wiring` and `low_word_first` are None if the meter reports them. `serial` is the number that
    it should report. `max_current_a` is the limit
    of each phase: a counter that rises faster is rejected, and so is a phase voltage above
    `max_voltage_v`. The supply of an `inverted` meter is connected to its load side: `model` has
    import and export exchanged already; the signs of the values are still to be inverted.
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
    role: Role | None = None
    parent: str | None = None
    billing: Billing | None = None
    serial: str | None = None

    def other_serial(self, reported: str | None) -> str | None:
        """Return a sentence if a meter reports another serial number than the settings say."""
        if None in (self.serial, reported) or _plain(self.serial) == _plain(reported):
            return None
        return (
            f"has the serial number {reported}, but the settings say {self.serial}: is it another"
            " meter, with this unit id?"
        )

    @property
    def live(self) -> frozenset[str]:
        """The quantities to read every `interval_s`; the rest follow `slow_interval_s`."""
        if self.slow_interval_s <= self.interval_s:
            return frozenset(self.quantities)
        return frozenset(self.quantities) & frozenset(DEFAULT_SET)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A Modbus gateway, or a serial adapter of this machine, and the meters on its RS485 line."""

    name: str
    where: Address
    framing: FramingSetting
    timeout_s: float
    cost: LineCost
    meters: tuple[Meter, ...]

    @property
    def is_serial(self) -> bool:
        """Whether the line ends at a serial adapter of this machine, without a gateway."""
        return isinstance(self.where, SerialLine)

    @property
    def address(self) -> str:
        """Host and port, or the serial device, as text."""
        return str(self.where)


def _plain(serial: str | None) -> str:
    """Return a serial number without what a label may leave out."""
    return (serial or "").strip().lstrip("0").upper()


def site_from(settings: BridgeSettings) -> tuple[Gateway, ...]:
    """Return the gateways of the meters file, or the one that the short settings name.

    Returns an empty tuple if there is neither. Raises SettingsError for a mistake in the file, and
    if both the file and the short settings name meters.
    """
    path = settings.meters_file
    if not path.exists() and "meters_file" not in settings.model_fields_set:
        return _short_form(settings)
    tables = read_meters_file(path).gateway
    for name in SHORT_FORM:
        if name in settings.model_fields_set:
            given = shown(getattr(settings, name))
            raise SettingsError(
                f"{name.upper()}: {given} is set, and {path} names gateways and meters too;"
                " remove one of the two"
            )
    return tuple(_gateway(table, n, settings) for n, table in enumerate(tables, start=1))


def site_at(
    where: Address, units: tuple[int, ...], settings: BridgeSettings, model: str = "sdm630"
) -> Gateway:
    """Return a gateway at an address, with meters of one model at these unit ids."""
    return Gateway(
        name=settings.bridge_name,
        where=where,
        framing=_framing(where, settings.modbus_framing),
        timeout_s=settings.modbus_timeout,
        cost=_cost(where, settings.modbus_baud),
        meters=tuple(_meter(MeterTable(unit=unit, model=model), None, settings) for unit in units),
    )


def _short_form(settings: BridgeSettings) -> tuple[Gateway, ...]:
    if settings.modbus_host is None:
        return ()
    where = parse_address(settings.modbus_host, settings.modbus_port)
    return (site_at(where, settings.meter_ids, settings),)


def _gateway(table: GatewayTable, number: int, settings: BridgeSettings) -> Gateway:
    where = table.where
    return Gateway(
        name=table.name or f"gateway{number}",
        where=where,
        framing=_framing(where, table.framing or settings.modbus_framing),
        timeout_s=table.timeout or settings.modbus_timeout,
        cost=_cost(where, table.baud or settings.modbus_baud),
        meters=tuple(_meter(meter, table, settings) for meter in table.meter),
    )


def _framing(where: Address, configured: FramingSetting) -> FramingSetting:
    return "rtu" if isinstance(where, SerialLine) else configured


def _cost(where: Address, baud: int) -> LineCost:
    if isinstance(where, SerialLine):
        return LineCost(baud=where.baud, bits=where.bits)
    return LineCost(baud=baud)


def _meter(table: MeterTable, gateway: GatewayTable | None, settings: BridgeSettings) -> Meter:
    """Return a meter. A missing key takes the gateway's value, or that of the settings."""
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
        role=Role(table.role) if table.role else None,
        parent=table.parent,
        billing=Billing(table.billing) if table.billing else None,
        serial=table.serial,
    )


_LOW_WORD_FIRST = {"auto": None, "high-first": False, "low-first": True}
