"""Energy and cost by the hour, day, week, month or year of a site's own clock.

Sums come from hours; where a period does not begin on a whole hour of UTC, the rest comes from
5-minute roll-ups. Where those have been deleted, that hour counts to the later period: sums over
several periods stay exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import peewee

from contract.times import epoch_ms
from history.dialect import Row, fetch, fetch_one
from history.periods import Unit, edges
from history.periods import start_of as start_of_period
from history.rollups.levels import FIVE_MINUTES, HOUR, start_of
from history.tariffs import Tariffs

IMPORTED = "energy"
EXPORTED = "energy_export"
_MOST_PER_QUERY = 4000


@dataclass(frozen=True, slots=True)
class Period:
    """The energy that a meter counted in a period, in kWh, and its cost; None where unknown.

    `exported` is None for a meter that counts no export. `cost` is that of the import, less what
    is paid for the export.
    """

    start: datetime
    end: datetime
    imported: float | None
    exported: float | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A period as far as it has come, the one before up to the same point, and the whole of it."""

    now: Period
    before_so_far: Period
    before: Period


def sums(
    database: peewee.Database, meter_id: str, quantity: str, moments: Sequence[datetime]
) -> list[float | None]:
    """Return by how much a counter advanced between each moment and the next.

    None where there was no reading at all. Moments are cut to 5 minutes.
    """
    cuts = [start_of(epoch_ms(moment) // 1000, FIVE_MINUTES) for moment in moments]
    spans = list(pairwise(cuts))
    key = fetch_one(
        database,
        "SELECT m.id, q.id FROM meters m CROSS JOIN quantities q WHERE m.name = ? AND q.name = ?",
        (meter_id, quantity),
    )
    if key is None:
        return [None] * len(spans)
    found: list[float | None] = []
    for begin in range(0, len(spans), _MOST_PER_QUERY):
        found += _sums(database, key, spans[begin : begin + _MOST_PER_QUERY])
    return found


def periods(
    database: peewee.Database,
    meter_id: str,
    unit: Unit,
    since: datetime,
    until: datetime,
    zone: ZoneInfo,
    *,
    tariffs: Tariffs | None = None,
) -> list[Period]:
    """Return energy and cost of each period that `since` to `until` touches."""
    return between(database, meter_id, edges(unit, since, until, zone), zone, tariffs=tariffs)


def compare(
    database: peewee.Database,
    meter_id: str,
    unit: Unit,
    now: datetime,
    zone: ZoneInfo,
    *,
    tariffs: Tariffs | None = None,
) -> Comparison:
    """Return the running period beside the one before it.

    "The same point" is as far from the period's beginning, but not after its end: on 31 March it
    is the whole of February.
    """
    now = now.astimezone(UTC)
    start = start_of_period(unit, now, zone)
    earlier = start_of_period(unit, start - timedelta(seconds=1), zone)
    point = min(earlier + (now - start), start)
    (running,) = between(database, meter_id, [start, now], zone, tariffs=tariffs)
    (so_far,) = between(database, meter_id, [earlier, point], zone, tariffs=tariffs)
    (whole,) = between(database, meter_id, [earlier, start], zone, tariffs=tariffs)
    return Comparison(running, so_far, whole)


def between(
    database: peewee.Database,
    meter_id: str,
    moments: Sequence[datetime],
    zone: ZoneInfo,
    *,
    tariffs: Tariffs | None = None,
) -> list[Period]:
    """Return energy and cost between each moment and the next."""
    cuts = [moment.astimezone(UTC) for moment in moments]
    if tariffs:
        cuts = sorted({*cuts, *tariffs.changes(cuts[0], cuts[-1], zone)})
    imported, exported = (sums(database, meter_id, name, cuts) for name in (IMPORTED, EXPORTED))
    costs = _costs(cuts, imported, exported, zone, tariffs)
    place = {cut: number for number, cut in enumerate(cuts)}
    result = []
    for start, end in pairwise(moments):
        part = slice(place[start.astimezone(UTC)], place[end.astimezone(UTC)])
        figures = (_total(values[part]) for values in (imported, exported, costs))
        result.append(Period(start.astimezone(zone), end.astimezone(zone), *figures))
    return result


def _costs(
    cuts: Sequence[datetime],
    imported: Sequence[float | None],
    exported: Sequence[float | None],
    zone: ZoneInfo,
    tariffs: Tariffs | None,
) -> list[float | None]:
    """Return the cost of each part; no price changes within one."""
    costs: list[float | None] = []
    for start, bought, sold in zip(cuts, imported, exported, strict=False):
        tariff = tariffs.at(start, zone) if tariffs else None
        if tariff is None or bought is None:
            costs.append(None)
        else:
            price = tariff.price_at(start.astimezone(zone))
            costs.append(bought * price - (sold or 0) * tariff.feed_in)
    return costs


def _sums(
    database: peewee.Database, key: Row, spans: Sequence[tuple[int, int]]
) -> list[float | None]:
    """Return the sum of each span: its hours, with 5 minutes where it begins or ends within one."""
    rows = ", ".join(
        f"({place}, {a}, {b}, {start_of(a, HOUR)}, {start_of(b, HOUR)})"
        for place, (a, b) in enumerate(spans)
    )
    parts = (
        f"(SELECT SUM(delta) FROM rollup WHERE level = {level} AND meter = ? AND quantity = ? "
        f"AND bucket >= {begin} AND bucket < {end})"
        for level, begin, end in (
            (HOUR, "hour_a", "hour_b"),
            (FIVE_MINUTES, "hour_a", "a"),
            (FIVE_MINUTES, "hour_b", "b"),
        )
    )
    found = fetch(
        database,
        f"WITH span (place, a, b, hour_a, hour_b) AS (VALUES {rows}) "
        f"SELECT place, {', '.join(parts)} FROM span ORDER BY place",
        [*key] * 3,
    )
    return [_in_kwh(hours, before, after) for _, hours, before, after in found]


def _in_kwh(hours: int | None, before: int | None, after: int | None) -> float | None:
    if hours is None and after is None:
        return None
    return float((hours or 0) - (before or 0) + (after or 0)) / 1000


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 6) if known else None
