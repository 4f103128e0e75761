"""The meters file: gateways and their meters as TOML tables, validated when the file is read.

An error message names the file, the table, the key and the value.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from contract.meter_settings import LONGEST_NAME, Billing, Role, Serial, cycle
from contract.quantities import BY_NAME
from contract.validation import Id
from gateway_bridge.address import BAUDS, MODBUS_PORT, Address, SerialLine, parse_address
from gateway_bridge.models import MODELS
from gateway_bridge.models.model import WIRINGS
from gateway_bridge.settings import HIGHEST_UNIT, FramingSetting, QuantityWords
from service.errors import SettingsError
from service.settings import Port
from service.spelling import did_you_mean

WORD_ORDERS = ("auto", "high-first", "low-first")


def _one_of(*choices: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"should be one of {', '.join(choices)}{did_you_mean(value, choices)}")
        return value

    return AfterValidator(check)


def _baud(value: int) -> int:
    if value not in BAUDS:
        raise ValueError(f"should be one of {', '.join(map(str, BAUDS))}")
    return value


def _address(value: str) -> str:
    parse_address(value)
    return value


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Seconds = Annotated[float, Field(ge=0.1, le=86_400)]
Quantities = Annotated[QuantityWords, Field(strict=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MeterTable(_Table):
    """One [[gateway.meter]]. A missing key takes the gateway's value or the default."""

    unit: int = Field(ge=1, le=HIGHEST_UNIT)
    id: Id | None = None
    name: Name | None = None
    role: Annotated[str, _one_of(*Role)] | None = None
    parent: Id | None = None
    billing: Annotated[str, _one_of(*Billing)] | None = None
    serial: Serial | None = None
    model: Annotated[str, _one_of(*MODELS)] = "sdm630"
    wiring: Annotated[str, _one_of(*WIRINGS)] | None = None
    invert: bool = False
    interval: Seconds | None = None
    slow_interval: Seconds | None = None
    quantities: Quantities | None = None
    max_current: float | None = Field(None, gt=0, le=100_000)
    max_voltage: float | None = Field(None, gt=0, le=1_000_000)
    word_order: Annotated[str, _one_of(*WORD_ORDERS)] = "auto"

    @property
    def meter_id(self) -> str:
        """The meter's id on MQTT: its unit id unless the table sets `id`."""
        return self.id or str(self.unit)

    @model_validator(mode="after")
    def _fits_its_model(self) -> Self:
        model = MODELS[self.model]
        if self.wiring and self.wiring not in model.wirings:
            raise ValueError(f"wiring: {model.title} supports {', '.join(model.wirings)}")
        for word in self.quantities or ():
            if word in BY_NAME and word not in model.registers:
                raise ValueError(f"quantities: {model.title} has no {word}")
        return self


class GatewayTable(_Table):
    """One [[gateway]] and the meters on its line."""

    name: Id | None = None
    address: Annotated[str, AfterValidator(_address)] | None = None
    host: Annotated[str, AfterValidator(_address)] | None = None
    port: Port | None = None
    framing: FramingSetting | None = None
    baud: Annotated[int, AfterValidator(_baud)] | None = None
    timeout: float | None = Field(None, ge=0.05, le=60)
    interval: Seconds | None = None
    slow_interval: Seconds | None = None
    quantities: Quantities | None = None
    meter: list[MeterTable] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if (self.address is None) == (self.host is None):
            raise ValueError('address: give either address = "192.168.1.100:502" or host and port')
        if self.port is not None and (self.address or ":" in (self.host or "")):
            raise ValueError("port: is already part of the address")
        if isinstance(self.where, SerialLine):
            if self.framing == "tcp":
                raise ValueError("framing: a serial line always uses rtu; remove this key")
            if self.baud:
                raise ValueError(
                    "baud: belongs in the address, for example serial:///dev/x?baud=9600"
                )
        return self

    @property
    def where(self) -> Address:
        """The address of the line."""
        return parse_address(self.address or self.host or "", self.port or MODBUS_PORT)


class MetersFile(_Table):
    """The whole file: its gateways."""

    gateway: list[GatewayTable] = Field(min_length=1)


def read_meters_file(path: Path) -> MetersFile:
    """Return the contents of the file. Raises SettingsError with one line for each mistake."""
    try:
        with path.open("rb") as opened:
            written = tomllib.load(opened)
        meters = MetersFile.model_validate(written)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: should be text in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}") from error
    except ValidationError as error:
        raise SettingsError("\n".join(_problems(path, written, error))) from error
    problems = [*_duplicates(meters), *_wrong_parents(meters)]
    if problems:
        raise SettingsError("\n".join(f"{path}, {text}" for text in problems))
    return meters


def _duplicates(meters: MetersFile) -> Iterator[str]:
    """Yield a message for each value that must be unique and is not."""
    tables = [meter for gateway in meters.gateway for meter in gateway.meter]
    for meter_id in _repeated(Counter(meter.meter_id for meter in tables)):
        yield f"[[gateway.meter]]: id: {meter_id!r} is used twice; give each meter its own"
    for serial in _repeated(Counter(meter.serial for meter in tables if meter.serial)):
        yield f"[[gateway.meter]]: serial: {serial!r} is used twice; each meter has its own"
    for name in _repeated(Counter(gateway.name for gateway in meters.gateway if gateway.name)):
        yield f"[[gateway]]: name: {name!r} is used twice; give each gateway its own"
    for address in _repeated(Counter(str(gateway.where) for gateway in meters.gateway)):
        yield f"[[gateway]]: address: {address} is used twice; list all its meters under one"
    for number, gateway in enumerate(meters.gateway, start=1):
        for unit in _repeated(Counter(meter.unit for meter in gateway.meter)):
            where = f"[[gateway]] {gateway.name or number}"
            yield f"{where}: unit: {unit} is used twice on one line; give each meter its own"


def _wrong_parents(meters: MetersFile) -> Iterator[str]:
    """Yield a message for each parent that is no meter of the file, and for each circle."""
    tables = [meter for gateway in meters.gateway for meter in gateway.meter]
    parents = {meter.meter_id: meter.parent for meter in tables}
    reported = set[str]()
    for meter_id, parent in parents.items():
        where = f"[[gateway.meter]] {meter_id}: parent: {parent!r}"
        if parent and parent not in parents:
            hint = did_you_mean(parent, parents) or (
                "; for a meter elsewhere, use `meterflow meter` instead of this key"
            )
            yield f"{where} is not a meter of this file{hint}"
        circle = cycle(parents, meter_id)
        if circle and meter_id not in reported:
            reported.update(circle)
            path = " → ".join(circle)
            yield f"{where} leads back to the meter itself ({path}); remove one parent"


def _repeated(counted: Counter[Any]) -> list[Any]:
    return [item for item, times in counted.items() if times > 1]


_MESSAGES = {
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "bool_type": "should be true or false",
    "string_type": "should be text in quotes",
    "list_type": "should be a list of tables, for example [[{0}]]",
    "tuple_type": "should be a list, for example ['core', 'frequency']",
    "model_type": "should be a table, for example [[{0}]]",
    "missing": "is missing",
    "greater_than_equal": "should be {ge} or more",
    "less_than_equal": "should be {le} or less",
    "greater_than": "should be more than {gt}",
}


def _problems(path: Path, written: dict[str, Any], error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False):
        location = [part for part in item["loc"] if isinstance(part, int) or part in _keys()]
        if item["type"] == "extra_forbidden":
            location = list(item["loc"])
        table, key, kind = _place(written, location)
        yield f"{path}, {table}: {_message(item, key, kind)}"


def _message(item: Any, key: str, kind: type[BaseModel]) -> str:
    """Return what is wrong with a key: the expected value and the one in the file."""
    if item["type"] == "extra_forbidden":
        known = list(kind.model_fields)
        hint = did_you_mean(key, known) or f"; known keys: {', '.join(known)}"
        return f"{key}: unknown key{hint}"
    if item["type"] == "missing":
        return f"{key}: is missing"
    if item["type"] == "too_short":
        example = "[[gateway]]" if key == "gateway" else "[[gateway.meter]]"
        return f"{key}: at least one is required, for example {example}"
    text: str = _MESSAGES.get(item["type"], item["msg"].removeprefix("Value error, "))
    text = text.format("gateway" if key == "gateway" else "gateway.meter", **item.get("ctx", {}))
    text = text.replace("Input should", "should").replace("String should", "should")
    if isinstance(item["input"], dict):  # a check of the whole table, whose text names the key
        return text
    return f"{key}: {text} (got {item['input']!r:.80})"


def _place(written: Any, location: list[Any]) -> tuple[str, str, type[BaseModel]]:
    """Return the table of a location as text, the key in that table, and the table's class."""
    table, key, inside = "the file", "", written
    kind: type[BaseModel] = MetersFile
    for part in location:
        if isinstance(part, int):
            inside = inside[part] if isinstance(inside, list) else None
            given = inside if isinstance(inside, dict) else {}
            named = given.get("name") if key == "gateway" else given.get("id", given.get("unit"))
            number = f"{part + 1}" if named is None else f"{named}"
            if key == "gateway":
                table, kind = f"[[gateway]] {number}", GatewayTable
            elif kind is GatewayTable and key == "meter":
                table, kind = f"[[gateway.meter]] {number} of {table}", MeterTable
        else:
            key = str(part)
            inside = inside.get(part) if isinstance(inside, dict) else None
    return table, key, kind


def _keys() -> set[str]:
    return {name for kind in (MetersFile, GatewayTable, MeterTable) for name in kind.model_fields}
