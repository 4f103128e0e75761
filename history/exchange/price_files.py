"""Files of dynamic prices: CSV with a line for each price, or JSON as it is sent over MQTT."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from contract.errors import PayloadError
from contract.prices import QUARTER_S, KwhPrice, PriceList, decode_prices
from contract.times import format_time, from_epoch_ms, parse_time
from contract.validation import plain
from history.errors import StorageError

WIDTHS = (15, 30, 60)
_COLUMNS = {
    "from": ("from", "start", "ts", "time", "timestamp"),
    "price": ("price", "value"),
    "feed_in": ("feed_in",),
}
_LARGEST = 2**26

Fields = dict[str, Any]


def read_prices(
    path: Path, *, zone: ZoneInfo, minutes: int | None = None, per: str = "kWh"
) -> dict[int, KwhPrice]:
    """Return the prices of a file by the start of their quarter-hour (epoch s).

    In a CSV file, `zone` is that of times without one, each price applies for `minutes`, by default
    the distance of the lines, and `per` is the unit of energy. Raises StorageError that names the
    line.
    """
    try:
        content = path.read_bytes()
        if content.lstrip()[:1] == b"{":
            return decode_prices(content, _LARGEST).quarters()
        rows = list(_rows(content.decode("utf-8-sig").splitlines()))
        return _price_list(rows, zone, minutes, per).quarters()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StorageError(f"{path}: should be CSV or JSON in UTF-8") from error
    except (PayloadError, ValueError) as error:
        raise StorageError(f"{path}: {error}") from error


def write_json(file: IO[str], quarters: Mapping[int, KwhPrice]) -> None:
    """Write prices as JSON, a line for each."""
    prices = [
        {"from": from_epoch_ms(quarter * 1000).isoformat(), **price._asdict()}
        for quarter, price in quarters.items()
    ]
    made = PriceList.model_validate({"minutes": QUARTER_S // 60, "prices": prices})
    file.write(made.encode().replace('{"from"', '\n{"from"') + "\n")


def write_csv(file: IO[str], quarters: Mapping[int, KwhPrice]) -> None:
    """Write prices as CSV, a line for each quarter-hour."""
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(_COLUMNS)
    for quarter, price in quarters.items():
        feed_in = "" if price.feed_in is None else price.feed_in
        lines.writerow([format_time(from_epoch_ms(quarter * 1000)), price.price, feed_in])


def _rows(text: Sequence[str]) -> Iterator[tuple[int, Fields]]:
    """Yield each line's number and fields; semicolons may separate them, with decimal commas."""
    delimiter = ";" if text and ";" in text[0] else ","
    lines = csv.reader(text, delimiter=delimiter)
    header = [name.strip().lower() for name in next(lines, [])]
    names = {place: name for name, known in _COLUMNS.items() for place in _places(header, known)}
    if not {"from", "price"} <= set(names.values()):
        shown = ", ".join(header) or "nothing"
        raise ValueError(f"line 1: should name the columns from and price (got {shown})")
    for row in lines:
        fields: Fields = {
            name: value.strip() for place, value in enumerate(row) if (name := names.get(place))
        }
        if delimiter == ";":
            fields = {name: value.replace(",", ".") for name, value in fields.items()}
        if row:
            yield lines.line_num, {name: value for name, value in fields.items() if value}


def _places(header: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return the place of the first of the known names that a header has."""
    return [header.index(name) for name in known if name in header][:1]


def _price_list(
    rows: Sequence[tuple[int, Fields]], zone: ZoneInfo, minutes: int | None, per: str
) -> PriceList:
    starts: list[datetime] = []
    for number, fields in rows:
        try:
            starts.append(_start(fields.get("from", ""), zone, starts[-1] if starts else None))
        except PayloadError as error:
            raise ValueError(f"line {number}: from: {error.problems[0][1]}") from error
    prices = [
        {name: _number(text) for name, text in fields.items()} | {"from": start.isoformat()}
        for (_, fields), start in zip(rows, starts, strict=True)
    ]
    try:
        return PriceList.model_validate(
            {"minutes": minutes or _distance(starts), "per": per, "prices": prices}
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        text = plain(problem)
        if len(problem["loc"]) == 3:
            _, place, name = problem["loc"]
            text = f"line {rows[int(place)][0]}: {name}: {text} (got {problem['input']!r:.60})"
        raise ValueError(text) from error


def _number(text: str) -> float | str:
    """Return a text as a number; one that is none as it is, for the error message."""
    try:
        return float(text)
    except ValueError:
        return text


def _start(text: str, zone: ZoneInfo, before: datetime | None) -> datetime:
    """Return a time of a file; the second of two equal local times is that after the change."""
    if text.replace(".", "", 1).isdecimal():
        return parse_time(float(text))
    start = parse_time(text, zone)
    if before and start <= before:
        later = start.astimezone(zone).replace(fold=1).astimezone(UTC)
        start = later if later - before <= timedelta(hours=1) else start
    return start


def _distance(starts: Sequence[datetime]) -> int:
    """Return the distance of the lines in minutes, for which each price applies."""
    apart = {(later - start) // timedelta(minutes=1) for start, later in pairwise(sorted(starts))}
    width = min(apart, default=0)
    if width not in WIDTHS:
        raise ValueError(
            f"lines should be 15, 30 or 60 minutes apart (got {width}); if they are not, "
            "give the width of a price in minutes"
        )
    return width
