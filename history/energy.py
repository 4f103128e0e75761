"""Energy and cost by the hour, day, week, month or year of a site's own clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import peewee

from contract.arrival import MOST_AHEAD
from contract.times import epoch_ms, from_epoch_ms
from history.counters import Advances, counters_of
from history.dialect import dialect_of
from history.periods import Unit, edges, start_of, start_of_next
from history.tables import Meter, read_meter
from history.tariffs import Tariffs


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
    is the whole of February. The running period includes the newest reading, also of a device whose
    clock is a little ahead.
    """
    now = now.astimezone(UTC)
    start = start_of(unit, now, zone)
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        now = min(_with_newest(meter, now), start_of_next(unit, start, zone))
        earlier = start_of(unit, start - timedelta(seconds=1), zone)
        point = min(earlier + (now - start), start)
        moments = [earlier, point, start, now]
        so_far, rest, running = _between(database, meter, moments, zone, tariffs)
    return Comparison(running, so_far, _joined(so_far, rest))


def between(
    database: peewee.Database,
    meter_id: str,
    moments: Sequence[datetime],
    zone: ZoneInfo,
    *,
    tariffs: Tariffs | None = None,
) -> list[Period]:
    """Return energy and cost between each moment and the next."""
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        return _between(database, meter, moments, zone, tariffs)


def _between(
    database: peewee.Database,
    meter: Meter | None,
    moments: Sequence[datetime],
    zone: ZoneInfo,
    tariffs: Tariffs | None,
) -> list[Period]:
    cuts = [moment.astimezone(UTC) for moment in moments]
    if tariffs:
        cuts = sorted({*cuts, *tariffs.changes(cuts[0], cuts[-1], zone)})
    imported, exported = _sums(database, meter, cuts)
    costs = _costs(cuts, imported, exported, zone, tariffs)
    place = {cut: number for number, cut in enumerate(cuts)}
    result = []
    for start, end in pairwise(moments):
        part = slice(place[start.astimezone(UTC)], place[end.astimezone(UTC)])
        figures = (_total(values[part]) for values in (imported, exported, costs))
        result.append(Period(start.astimezone(zone), end.astimezone(zone), *figures))
    return result


def _sums(
    database: peewee.Database, meter: Meter | None, cuts: Sequence[datetime]
) -> tuple[list[float | None], list[float | None]]:
    """Return the kWh drawn and fed in between each moment and the next; None without a reading."""
    if meter is None:
        nothing: list[float | None] = [None] * (len(cuts) - 1)
        return nothing, nothing
    counters = counters_of(database, meter.id)
    found = Advances(database, meter.id, counters).between([epoch_ms(cut) for cut in cuts])
    imported, exported = (
        [None if advance is None else advance / 1000 for advance in found[name]]
        for name in counters
    )
    return imported, exported


def _with_newest(meter: Meter | None, now: datetime) -> datetime:
    """Return the end of what has been measured by now: after a reading that is a little ahead."""
    newest = from_epoch_ms(meter.last_ts) if meter else now
    return newest + timedelta(milliseconds=1) if now <= newest <= now + MOST_AHEAD else now


def _joined(first: Period, second: Period) -> Period:
    imported, exported, cost = (
        _total(pair)
        for pair in (
            (first.imported, second.imported),
            (first.exported, second.exported),
            (first.cost, second.cost),
        )
    )
    return Period(first.start, second.end, imported, exported, cost)


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


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 6) if known else None
