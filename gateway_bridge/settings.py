"""The bridge's settings: the gateway in its short form, and how often to read what."""

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


def _words(value: object) -> object:
    """Split `1,2,3  # a comment` at its commas; anything but text is passed on."""
    if not isinstance(value, str):
        return value
    listed = value.partition("#")[0]
    return tuple(word.strip() for word in listed.split(",") if word.strip())


def _units(value: object) -> object:
    words = _words(value)
    if not isinstance(words, tuple):
        return value
    problems = [problem for word in words if (problem := _unit_problem(str(word)))]
    problems += [f"{word} is there twice" for word in _repeated(words)]
    if problems or not words:
        raise ValueError("; ".join(problems) or "names no meter")
    return tuple(int(word) for word in words)


def _unit_problem(word: str) -> str | None:
    if not word.isascii() or not word.isdigit():
        return f"{word!r} is not a whole number (list them, as in 1,2,3)"
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
    """What a bridge must know; times are seconds."""

    modbus_host: Annotated[Host, AfterValidator(_address)] | None = Field(
        None, description="The Modbus gateway: a host, or serial:///dev/ttyUSB0?baud=9600."
    )
    modbus_port: Port = Field(502, description="Its port.")
    modbus_framing: Literal["auto", "tcp", "rtu"] = Field(
        "auto", description="What the gateway speaks: tcp (Modbus TCP), rtu (over TCP) or auto."
    )
    modbus_timeout: float = Field(
        1.0, ge=0.05, le=60, description="Longest wait for one answer, in seconds."
    )
    modbus_baud: int = Field(
        9600, ge=300, le=1_000_000, description="Speed of the RS485 line, to plan by."
    )
    meter_ids: UnitIds = Field((1,), description="Unit ids of the meters, as in 1,2,3.")
    poll_interval: float = Field(
        10.0, ge=0.1, le=86_400, description="Read the live quantities each so many seconds."
    )
    slow_interval: float = Field(
        60.0, ge=0.1, le=86_400, description="Read all others each so many seconds."
    )
    quantities: QuantityWords = Field(
        ("default",), description="What to read: core, default, all, or names of quantities."
    )
    meters_file: Path = Field(
        Path("meters.toml"),
        description="Several gateways and their meters, instead of MODBUS_HOST.",
    )
    bridge_name: Id = Field("gateway", description="Name of this bridge on the bus.")
    journal_file: Path | None = Field(
        None,
        description="Where readings are kept to be sent again; state/journal-NAME.db if empty.",
    )
    journal_hours: float = Field(
        72, ge=0, le=8760, description="For how many hours they are kept; 0: no journal."
    )
    journal_megabytes: int = Field(
        200, ge=1, le=1_000_000, description="How large it may become; then the oldest go first."
    )

    @property
    def journal_path(self) -> Path:
        """Where this bridge's journal lies."""
        return self.journal_file or Path("state", f"journal-{self.bridge_name}.db")
