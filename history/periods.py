"""Quarter-hours, hours, days, weeks, months and years by the clock of a site.

A local day has 23 or 25 hours when the clocks change, and begins on the half hour (UTC) in some
zones. Periods are computed in local time and returned as UTC instants.
"""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


class Unit(StrEnum):
    """The length of a period."""

    QUARTER_HOUR = "quarter_hour"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


_LENGTHS = {Unit.QUARTER_HOUR: timedelta(minutes=15), Unit.HOUR: timedelta(hours=1)}
"""The units that divide a day; the last of a day may be shorter."""


def edges(unit: Unit, since: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return the starts of the periods that `since` to `until` touches, and the end of the last.

    They are in UTC, since Python compares and subtracts times of one zone by their local clock.
    """
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    result = [start_of(unit, since, zone)]
    while result[-1] < until or len(result) < 2:
        result.append(start_of_next(unit, result[-1], zone))
    return result


def start_of(unit: Unit, moment: datetime, zone: ZoneInfo) -> datetime:
    """Return the start, in UTC, of the period that contains a moment."""
    day = moment.astimezone(zone).date()
    length = _LENGTHS.get(unit)
    if length is None:
        return midnight_of(_first_day(unit, day), zone)
    midnight = midnight_of(day, zone)
    return midnight + (moment.astimezone(UTC) - midnight) // length * length


def start_of_next(unit: Unit, start: datetime, zone: ZoneInfo) -> datetime:
    """Return the end, in UTC, of the period that begins at `start`."""
    day = start.astimezone(zone).date()
    if unit in _LENGTHS:
        return min(
            start.astimezone(UTC) + _LENGTHS[unit], midnight_of(day + timedelta(days=1), zone)
        )
    return midnight_of(_next_day(unit, day), zone)


def midnight_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the start, in UTC, of a local day; its first moment where the clocks skip midnight."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _first_day(unit: Unit, day: date) -> date:
    if unit is Unit.WEEK:
        return day - timedelta(days=day.weekday())
    if unit is Unit.MONTH:
        return day.replace(day=1)
    return day.replace(month=1, day=1) if unit is Unit.YEAR else day


def _next_day(unit: Unit, first: date) -> date:
    if unit is Unit.WEEK:
        return first + timedelta(days=7)
    if unit is Unit.MONTH:
        return (first + timedelta(days=32)).replace(day=1)
    return first.replace(year=first.year + 1) if unit is Unit.YEAR else first + timedelta(days=1)
