"""The meters file: several gateways and their meters, as a person writes them in TOML.

What it says is checked here, at the edge; a wrong line is told with its table, key and value.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway_bridge.site.tables import GatewayTable, MetersFile, MeterTable
from service.errors import SettingsError
from service.spelling import did_you_mean

_SAYS = {
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "bool_type": "should be true or false",
    "string_type": "should be text in quotes",
    "list_type": "should be a list of tables, as in [[{0}]]",
    "tuple_type": "should be a list, as in ['core', 'frequency']",
    "model_type": "should be a table, as in [[{0}]]",
    "missing": "is missing",
    "greater_than_equal": "should be {ge} or more",
    "less_than_equal": "should be {le} or less",
    "greater_than": "should be more than {gt}",
}


def read_meters_file(path: Path) -> MetersFile:
    """Return what the file says; raises SettingsError with a line for each thing wrong in it."""
    try:
        with path.open("rb") as opened:
            written = tomllib.load(opened)
        meters = MetersFile.model_validate(written)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: should be text in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is no TOML: {error}") from error
    except ValidationError as error:
        raise SettingsError("\n".join(_problems(path, written, error))) from error
    doubles = list(_doubles(meters))
    if doubles:
        raise SettingsError("\n".join(f"{path}, {text}" for text in doubles))
    return meters


def _doubles(meters: MetersFile) -> Iterator[str]:
    """Yield what is there twice and must not be."""
    ids = Counter(meter.meter_id for gateway in meters.gateway for meter in gateway.meter)
    for meter_id in _twice(ids):
        yield f"[[gateway.meter]]: id: {meter_id!r} is there twice; each meter needs its own"
    for name in _twice(Counter(gateway.name for gateway in meters.gateway if gateway.name)):
        yield f"[[gateway]]: name: {name!r} is there twice"
    for address in _twice(Counter(str(gateway.where) for gateway in meters.gateway)):
        yield f"[[gateway]]: address: {address} is there twice; list its meters under one"
    for number, gateway in enumerate(meters.gateway, start=1):
        for unit in _twice(Counter(meter.unit for meter in gateway.meter)):
            where = f"[[gateway]] {gateway.name or number}"
            yield f"{where}: unit: {unit} is there twice on one line; the meters would collide"


def _twice(counted: Counter[Any]) -> list[Any]:
    return [item for item, times in counted.items() if times > 1]


def _problems(path: Path, written: dict[str, Any], error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False):
        location = [part for part in item["loc"] if isinstance(part, int) or part in _keys()]
        if item["type"] == "extra_forbidden":
            location = list(item["loc"])
        table, key, kind = _place(written, location)
        yield f"{path}, {table}: {_complaint(item, key, kind)}"


def _complaint(item: Any, key: str, kind: type[BaseModel]) -> str:
    """Say what is wrong with a key: what was expected, and what is there."""
    if item["type"] == "extra_forbidden":
        known = list(kind.model_fields)
        hint = did_you_mean(key, known) or f"; there are {', '.join(known)}"
        return f"{key}: there is no such key{hint}"
    if item["type"] == "missing":
        return f"{key}: is missing"
    if item["type"] == "too_short":
        example = "[[gateway]]" if key == "gateway" else "[[gateway.meter]]"
        return f"{key}: should be there at least once, as {example}"
    text: str = _SAYS.get(item["type"], item["msg"].removeprefix("Value error, "))
    text = text.format("gateway" if key == "gateway" else "gateway.meter", **item.get("ctx", {}))
    text = text.replace("Input should", "should").replace("String should", "should")
    if isinstance(item["input"], dict):  # found when the whole table was looked at
        return text
    return f"{key}: {text} (got {item['input']!r:.80})"


def _place(written: Any, location: list[Any]) -> tuple[str, str, type[BaseModel]]:
    """Return the table a location lies in, in words, its key there, and the table's kind."""
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
