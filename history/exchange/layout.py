"""Which column of a foreign table or file is the time, which the meter, which a quantity."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from zoneinfo import ZoneInfo

from contract.errors import PayloadError
from contract.quantities import BY_NAME
from contract.readings import epoch_ms, parse_time
from contract.topics import METER_ID
from history.errors import StorageError

_TIMES = ("ts", "time", "timestamp", "datetime", "created_at")
_METERS = ("meter_id", "meter", "device_id")
_EPOCH = re.compile(r"-?\d+(\.\d*)?")


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of the columns that matter; `meter` is None where all rows are of one meter."""

    ts: int
    meter: int | None
    names: tuple[str, ...]
    places: tuple[int, ...]
    ignored: tuple[str, ...]

    @classmethod
    def of(cls, columns: Sequence[str], where: str, *, needs_meter: bool = True) -> Self:
        """Return the places in a list of columns; raises StorageError that says what is missing."""
        lower = [column.strip().lower() for column in columns]
        ts = next((lower.index(name) for name in _TIMES if name in lower), None)
        meter = next((lower.index(name) for name in _METERS if name in lower), None)
        places = tuple(place for place, name in enumerate(lower) if name in BY_NAME)
        if ts is None:
            raise StorageError(f"{where}: has no column ts, time or timestamp")
        if meter is None and needs_meter:
            raise StorageError(f"{where}: has no column meter_id; name the meter with --meter")
        if not places:
            raise StorageError(f"{where}: has no column named after a quantity, such as power")
        known = {*places, ts, meter, *(lower.index(n) for n in (*_TIMES, "id") if n in lower)}
        ignored = tuple(name for place, name in enumerate(columns) if place not in known)
        return cls(ts, meter, tuple(lower[place] for place in places), places, ignored)


def time_ms(value: Any, zone: ZoneInfo | None) -> int:
    """Return a time as epoch ms: text, epoch seconds or ms; text without a zone is of `zone`.

    Raises ValueError saying what is wrong.
    """
    if isinstance(value, str) and _EPOCH.fullmatch(value):
        value = float(value)
    try:
        if isinstance(value, str):
            moment: datetime | None = datetime.fromisoformat(value.strip())
        else:
            moment = parse_time(value)
    except (ValueError, TypeError, PayloadError) as error:
        raise ValueError(f"no time: {value!r:.40}") from error
    if moment is None:
        raise ValueError("no time")
    return epoch_ms(moment if moment.tzinfo else moment.replace(tzinfo=zone or UTC))


def meter_name(value: Any) -> str:
    """Return a meter's id; raises ValueError where it cannot be one."""
    text = str(value)
    if not METER_ID.fullmatch(text):
        raise ValueError(
            f"no meter's id: {text!r:.40} (1 to 32 letters, digits, '_' or '-'); see --meter"
        )
    return text


def thousandths(name: str, value: Any) -> int | None:
    """Return a value as it is stored, None for none; raises ValueError for an impossible one."""
    if value is None or value == "":
        return None
    kind, number = BY_NAME[name].kind, float(value)
    if not kind.lowest <= number <= kind.highest:
        raise ValueError(f"{name}: {number:g} is outside {kind.lowest:g} … {kind.highest:g}")
    return round(number * 1000)
