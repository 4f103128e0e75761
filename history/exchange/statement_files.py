"""Files of statements: HTML to print, CSV for a spreadsheet, JSON for a program.

Each contains what is needed to make it again from the history, byte for byte.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from contract.quantities import BY_NAME
from history.errors import StorageError
from history.statements import House, Statement
from service import __version__
from service.spreadsheet import cells, text_of

FORMATS = ("html", "csv", "json")
_MOST_GAPS = 20
_EMBEDDED = re.compile(r'<script type="application/json" id="statements">(.*?)</script>')
_COLUMNS = ("meter", "kind", "name", "value", "unit", "price", "amount")
_HEAD = ("version", "made_at", "since", "until", "runs_until", "timezone", "tariff", "hash")
_HASHES = "rests_on"
_ITEM = ("kind", "name", "quantity", "unit", "price", "amount")


@dataclass(frozen=True, slots=True)
class File:
    """What a file of statements contains: when it was made, by which version, and each statement.

    Of a CSV file only some of a statement's fields are there.
    """

    text: str
    form: str
    version: str
    made_at: str
    house: dict[str, Any] | None
    statements: Sequence[dict[str, Any]]


def written(
    form: str, statements: Sequence[Statement], made_at: str, house: House | None = None
) -> str:
    """Return the content of a file of statements, and of what the house measured."""
    given, of_house = [fields_of(each) for each in statements], fields_of(house) if house else None
    if form == "csv":
        return _csv(given, made_at, of_house)
    head = {"version": __version__, "made_at": made_at}
    data = {**head, "house": of_house, "statements": given}
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    embedded = Markup(text.replace("<", "\\u003c"))  # no element can begin in it
    template = _environment().get_template("statement.html")
    return template.render(**data, data=embedded) + "\n"


def read(path: Path) -> File:
    """Return what a file contains; raises StorageError for another file."""
    try:
        text = path.read_bytes().decode()
        if text.startswith("{"):
            return _decoded(text, "json", text)
        if found := _EMBEDDED.search(text):
            return _decoded(text, "html", found[1])
        return _from_csv(text)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise StorageError(f"{path}: is not a statement of meterflow statement") from error


def fields_of(statement: Statement | House) -> dict[str, Any]:
    """Return a statement as a file has it."""
    return json.loads(json.dumps(asdict(statement), default=_iso))  # type: ignore[no-any-return]


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _decoded(text: str, form: str, data: str) -> File:
    found = json.loads(data)
    house = found["house"]
    return File(text, form, found["version"], found["made_at"], house, found["statements"])


# -- CSV ---------------------------------------------------------------------------------------


def _csv(statements: Sequence[dict[str, Any]], made_at: str, house: dict[str, Any] | None) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_COLUMNS)
    if house:
        lines.writerows(cells(["", *row]) for row in _rows_of_house(house))
    for each in statements:
        rows = _rows({**each, "version": __version__, "made_at": made_at})
        lines.writerows(cells([each["meter_id"], *row]) for row in rows)
    return text.getvalue()


def _rows_of_house(house: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the same of a house, which is no meter."""
    for field in ("since", "until", "runs_until", "timezone", "hash"):
        yield field, "", house[field], "", "", ""
    for part, value in house[_HASHES].items():
        yield _HASHES, part, value, "", "", ""
    for name, value in house["figures"].items():
        yield "figure", name, value, "kWh", "", ""
    for share in house["meters"]:
        for field in ("imported", "exported"):
            yield field, share["meter_id"], share[field], "kWh", "", ""


def _rows(each: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield kind, name, value, unit, price and amount of all that a statement contains."""
    yield from _figures(each)
    for item in each["items"]:
        yield tuple(item[field] for field in _ITEM)
    yield "total", "", "", each["currency"], "", each["total"]
    for swap in each["swaps"]:
        yield "replaced", swap["counter"], swap["at"], "", "", ""
    for correction in each["corrections"]:
        yield "void", f"{correction['start']} to {correction['end']}", correction["why"], "", "", ""
    for check in each["checks"]:
        yield "utility", f"{check['counter']} at {check['at']}", check["value"], "kWh", "", ""
    for gap in each["gaps"]:
        yield "gap", f"{gap['start']} to {gap['end']}", gap["counted"], "kWh", "", ""


def _figures(each: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for field in ("name", "serial", *_HEAD):
        yield field, "", each[field], "", "", ""
    for part, value in each[_HASHES].items():
        yield _HASHES, part, value, "", "", ""
    for register in each["registers"]:
        for field in ("opening", "closing", "counted"):
            yield field, register["counter"], register[field], "kWh", "", ""
    for field in ("imported", "exported", "uncovered", "estimated"):
        yield field, "", each[field], "kWh", "", ""


def _from_csv(text: str) -> File:
    lines = csv.reader(io.StringIO(text))
    if tuple(next(lines)) != _COLUMNS:
        raise ValueError(text[:80])
    found: dict[str, dict[str, Any]] = {}
    for meter, kind, name, value, *_ in (map(text_of, line) for line in lines):
        each = found.setdefault(meter, {"meter_id": meter, _HASHES: {}})
        if kind == _HASHES:
            each[_HASHES][name] = value
        elif kind in _HEAD:
            each[kind] = value or None
    house, statements = found.pop("", None), list(found.values())
    first = statements[0]
    return File(text, "csv", first["version"], first["made_at"], house, statements)


# -- HTML --------------------------------------------------------------------------------------


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("history", "exchange/templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    shown = {"period": _period, "kwh": _kwh, "label": _label, "money": _money, "price": _price}
    environment.globals |= shown | {"quantity": _quantity, "remarks": remarks, "clock": _clock}
    return environment


def remarks(each: dict[str, Any]) -> list[str]:
    """Return in sentences what a person should know about the figures of a statement."""
    found = [_about_swap(swap) for swap in each["swaps"]]
    found += [] if each["swaps"] else list(_about_registers(each))
    found += [_about_correction(correction) for correction in each["corrections"]]
    found += [_about_check(check) for check in each["checks"]]
    gaps = each["gaps"]
    found += [_about_gap(gap) for gap in gaps[:_MOST_GAPS]]
    if len(gaps) > _MOST_GAPS:
        found.append(f"There are {len(gaps) - _MOST_GAPS} more times without readings.")
    if each["estimated"]:
        found.append(
            f"{_kwh(each['estimated'])} are known by the hour alone, and are spread evenly over it."
        )
    if each["tariff"] and each["total"] is None:
        found.append(f"{_why_unknown(each)}, so that the total is not known.")
    return found


def _why_unknown(each: dict[str, Any]) -> str:
    if each["imported"] is None:
        return "There are no readings in the period"
    if not each["items"]:
        return "The tariff has no prices in the period yet"
    return f"{_kwh(each['uncovered'])} have no price"


def _about_swap(swap: dict[str, Any]) -> str:
    text = f"The meter was replaced on {_clock(swap['at'])}"
    parts = [
        f"{verb} {_kwh(swap[field])}"
        for field, verb in (("old_end", "ended at"), ("new_start", "began again at"))
        if swap[field] is not None
    ]
    return f"{text}: {_label(swap['counter'])} {' and '.join(parts)}." if parts else f"{text}."


def _about_registers(each: dict[str, Any]) -> Iterator[str]:
    for register in each["registers"]:
        name = _label(register["counter"])
        if register["is_first"]:
            yield f"{name}: the readings of the meter begin within the period."
        elif abs(register["closing"] - register["opening"] - register["counted"]) > 0.0005:
            yield f"{name}: the counter was reset within the period."


def _about_correction(correction: dict[str, Any]) -> str:
    span = f"{_clock(correction['start'])} to {_clock(correction['end'])}"
    return f"Readings from {span} do not count: {correction['why']}"


def _about_check(check: dict[str, Any]) -> str:
    shown = f"{_label(check['counter'])} of the utility's meter was {_kwh(check['value'])}"
    text = f"On {_clock(check['at'])}, {shown}"
    if check["by_utility"] is None or check["by_meter"] is None:
        return f"{text}."
    drift = check["by_meter"] - check["by_utility"]
    return (
        f"{text}. Since {_clock(check['since'])} it has counted {_kwh(check['by_utility'])}, "
        f"this meter {_kwh(check['by_meter'])} ({drift:+,.3f} kWh)."
    )


def _about_gap(gap: dict[str, Any]) -> str:
    text = f"No readings from {_clock(gap['start'])} to {_clock(gap['end'])}"
    if gap["counted"] is None:
        return f"{text}."
    return f"{text}; {_kwh(gap['counted'])} were counted in the quarter-hour at its end."


def _period(each: dict[str, Any]) -> str:
    return f"{_clock(each['since'])} to {_clock(each['until'])}"


def _clock(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _kwh(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.3f} kWh"


def _money(value: float) -> str:
    return f"{value:,.2f}"


def _label(counter: str) -> str:
    return BY_NAME[counter].label


def _quantity(item: dict[str, Any]) -> str:
    if item["unit"] == "%":
        return _money(item["quantity"])
    if item["unit"] == "kWh":
        return _kwh(item["quantity"])
    number = f"{item['quantity']:,.8f}".rstrip("0").rstrip(".")
    return f"{number} {item['unit']}{'' if number == '1' else 's'}"


def _price(item: dict[str, Any]) -> str:
    if item["price"] is None:
        return ""
    price = f"{item['price']:,.6f}".rstrip("0")
    whole, _, decimals = price.partition(".")
    shown = f"{whole}.{decimals:0<2}"
    return f"{item['price']:g} %" if item["unit"] == "%" else shown
