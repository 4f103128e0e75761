"""The settings of the bridge: one gateway and its meters, polling and the journal."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from contract.quantities import quantity_set
from contract.validation import Id
from gateway_bridge.address import parse_address
from service.settings import Host, Port, Settings

HIGHEST_UNIT = 247
FramingSetting = Literal["auto", "tcp", "rtu"]
"""Configured framing of a gateway; "auto" detects it."""
Scalars = Literal["all", "changed", "off"]
"""Which values of a reading are published on topics of their own."""


def _words(value: object) -> object:
    """Split `1,2,3  # a comment` at its commas. Return values other than text unchanged."""
    if not isinstance(value, str):
        return value
    listed = value.partition("#")[0]
    return tuple(word.strip() for word in listed.split(",") if word.strip())


def _units(value: object) -> object:
    words = _words(value)
    if not isinstance(words, tuple):
        return value
    problems = [problem for word in words if (problem := _unit_problem(str(word)))]
    problems += [f"{word} is listed twice" for word in _repeated(words)]
    if problems or not words:
        raise ValueError("; ".join(problems) or "lists no meter")
    return tuple(int(word) for word in words)


def _unit_problem(word: str) -> str | None:
    if not word.isascii() or not word.isdigit():
        return f"{word!r} is not a whole number (list them like 1,2,3)"
    if not 1 <= int(word) <= HIGHEST_UNIT:
        return f"{word} is not from 1 to {HIGHEST_UNIT}"
    return None


def _repeated(words: Iterable[object]) -> list[object]:
    seen: set[str] = set()
    repeated: dict[str, object] = {}
    for word in words:
        plain = str(word).lstrip("0")
        if plain in seen:
            repeated[plain] = word
        seen.add(plain)
    return list(repeated.values())


def _known(words: tuple[str, ...]) -> tuple[str, ...]:
    quantity_set(words)
    return words


def _address(text: str) -> str:
    parse_address(text)
    return text


UnitIds = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_units)]
QuantityWords = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_words), AfterValidator(_known), Field(min_length=1)
]


class BridgeSettings(Settings):
    """The settings of the bridge. Times are in seconds."""

    modbus_host: Annotated[Host, AfterValidator(_address)] | None = Field(
        None,
        description="Modbus gateway: host, host:port or serial:///dev/ttyUSB0?baud=9600.",
    )
    modbus_port: Port = Field(502, description="Port of the Modbus gateway.")
    modbus_framing: FramingSetting = Field(
        "auto",
        description="Framing: tcp (Modbus TCP), rtu (RTU over TCP) or auto (detect).",
    )
    modbus_timeout: float = Field(
        1.0, ge=0.05, le=60, description="Timeout of a Modbus request, in seconds."
    )
    modbus_baud: int = Field(
        9600, ge=300, le=1_000_000, description="Baud rate of the RS485 line, for planning."
    )
    meter_ids: UnitIds = Field((1,), description="Unit ids of the meters, separated by commas.")
    poll_interval: float = Field(
        10.0, ge=0.1, le=86_400, description="Polling interval for live quantities, in seconds."
    )
    slow_interval: float = Field(
        60.0,
        ge=0.1,
        le=86_400,
        description="Polling interval for other quantities, in seconds.",
    )
    quantities: QuantityWords = Field(
        ("default",),
        description="Quantities to read: core, default, all, or names separated by commas.",
    )
    meters_file: Path = Field(
        Path("meters.toml"),
        description="File with several gateways and their meters, instead of MODBUS_HOST.",
    )
    bridge_name: Id = Field("gateway", description="Name of this bridge on MQTT.")
    scalars: Scalars | None = Field(
        None,
        description="Scalars to publish with each reading: all, changed (by more than their"
        " resolution, and all once a minute) or off; empty = all, or changed above 100 readings a"
        " second. Home Assistant's discovery adapts to the choice.",
    )
    journal_file: Path | None = Field(
        None,
        description="Journal of readings for replay (empty = state/journal-NAME.db).",
    )
    journal_hours: float = Field(
        72, ge=0, le=8760, description="Hours to keep readings in the journal (0 = no journal)."
    )
    journal_interval: float = Field(
        30,
        ge=0.1,
        le=600,
        description="Seconds between writes of the journal while the broker acknowledges readings;"
        " without the broker, readings are written within 5 s.",
    )
    journal_megabytes: int = Field(
        200,
        ge=1,
        le=1_000_000,
        description="Largest size of the journal, in megabytes; the oldest readings are deleted.",
    )

    @property
    def journal_path(self) -> Path:
        """Path of the journal of this bridge."""
        return self.journal_file or Path("state", f"journal-{self.bridge_name}.db")
