"""Energy and cost by the hour, day, week, month or year of a site's own clock."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

import peewee

from contract.arrival import MOST_AHEAD
from contract.meter_settings import Billing
from contract.times import epoch_ms, from_epoch_ms
from history import prices
from history.costs import Cost, Pricing, Segment
from history.counters import Advances, Counters, counters_of
from history.dialect import dialect_of
from history.periods import Unit, edges, start_of, start_of_next
from history.rollups.netting import NETTED_IMPORT
from history.tables import Meter, read_meter
from history.tariffs import Tariff, Tariffs

FAR = datetime(9000, 1, 1, tzinfo=UTC)
Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Period:
    """The energy that a meter counted in a period, in kWh, and its cost; None where unknown.

    `exported` is None for a meter that counts no export. `cost` is that of the import, less what
    is paid for the export; `bill` has its lines, and is None without a tariff.
    """

    start: datetime
    end: datetime
    imported: float | None
    exported: float | None = None
    cost: float | None = None
    bill: Cost | None = None


class Counted(NamedTuple):
    """The kWh that a meter counted in a period, None where there was no reading."""

    imported: float | None
    exported: float | None


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
    tariff: str | None = None,
    now: datetime = FAR,
) -> list[Period]:
    """Return energy and cost of each period that `since` to `until` touches.

    `tariff` is the name of another tariff than that of the meter. Standing charges accrue until
    `now`.
    """
    moments = edges(unit, since, until, zone)
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        picked = chosen(tariffs, meter_id, tariff)
        return _periods(database, meter, list(pairwise(moments)), zone, picked, now)


def between(
    database: peewee.Database,
    meter_id: str,
    moments: Sequence[datetime],
    zone: ZoneInfo,
    *,
    tariffs: Tariffs | None = None,
    tariff: str | None = None,
    now: datetime = FAR,
) -> list[Period]:
    """Return the same between each moment and the next."""
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        picked = chosen(tariffs, meter_id, tariff)
        return _periods(database, meter, list(pairwise(moments)), zone, picked, now)


def compare(
    database: peewee.Database,
    meter_id: str,
    unit: Unit,
    now: datetime,
    zone: ZoneInfo,
    *,
    tariffs: Tariffs | None = None,
    tariff: str | None = None,
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
        end = min(_with_newest(meter, now), start_of_next(unit, start, zone))
        earlier = start_of(unit, start - timedelta(seconds=1), zone)
        point = min(earlier + (end - start), start)
        spans = [(start, end), (earlier, point), (earlier, start)]
        picked = chosen(tariffs, meter_id, tariff)
        return Comparison(*_periods(database, meter, spans, zone, picked, now))


def counted(
    database: peewee.Database, meter_id: str, moments: Sequence[datetime], billing: Billing
) -> list[Counted]:
    """Return what a meter counted between each moment and the next, by one way of billing.

    It is None where nothing was counted in that way.
    """
    nothing = [Counted(None, None)] * (len(moments) - 1)
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        if meter is None:
            return nothing
        counters = counters_of(database, meter.id, billing)
        if billing is Billing.NETTED and counters.imported != NETTED_IMPORT:
            return nothing
        sums = Advances(database, meter.id, counters).between([epoch_ms(each) for each in moments])
    return [Counted(_kwh([a]), _kwh([b])) for a, b in zip(*map(sums.get, counters), strict=True)]


def chosen(tariffs: Tariffs | None, meter_id: str, name: str | None) -> Tariff | None:
    """Return the tariff of this name, else that of the meter."""
    if tariffs is None:
        return None
    return tariffs.named[name] if name else tariffs.of(meter_id)


def _with_newest(meter: Meter | None, now: datetime) -> datetime:
    """Return the end of what has been measured by now: after a reading that is a little ahead."""
    newest = from_epoch_ms(meter.last_ts) if meter else now
    return newest + timedelta(milliseconds=1) if now <= newest <= now + MOST_AHEAD else now


def _periods(
    database: peewee.Database,
    meter: Meter | None,
    spans: Sequence[Span],
    zone: ZoneInfo,
    tariff: Tariff | None,
    now: datetime,
) -> list[Period]:
    """Return energy and cost of spans, which may overlap."""
    if meter is None:
        return [Period(*_local(span, zone), None) for span in spans]
    moments = {moment.astimezone(UTC) for span in spans for moment in span}
    breaks = tariff.breaks(min(moments), max(moments), zone) if tariff else ()
    cuts = sorted({*moments, *breaks})
    counters = counters_of(database, meter.id)
    advances = Advances(database, meter.id, counters)
    sums = advances.between([epoch_ms(cut) for cut in cuts])
    counted = [sums[name] for name in counters]
    if tariff:
        pricing = _pricing(database, advances, counters, cuts, tariff, zone, now)
        segments = list(_segments(advances, counters, cuts, sums, tariff, zone))
    place = {cut: number for number, cut in enumerate(cuts)}
    found = []
    for span in spans:
        part = slice(*(place[moment.astimezone(UTC)] for moment in span))
        imported, exported = (_kwh(values[part]) for values in counted)
        bill = pricing.cost(segments[part]) if tariff else None
        cost = bill.amount if bill and imported is not None else None
        found.append(Period(*_local(span, zone), imported, exported, cost, bill))
    return found


def _pricing(
    database: peewee.Database,
    advances: Advances,
    counters: Counters,
    cuts: Sequence[datetime],
    tariff: Tariff,
    zone: ZoneInfo,
    now: datetime,
) -> Pricing:
    """Return the prices of a tariff, with all that they depend on."""
    rates = tariff.within(cuts[0], cuts[-1], zone)
    lists = {each.price_list for each in rates if each.price_list}
    columns: dict[str, prices.Column] = {}
    if lists or any(each.windows for each in rates):
        columns[counters.imported] = "price"
    if any(each.feed_in == "dynamic" for each in rates):
        columns[counters.exported] = "feed_in"
    quarters = advances.quarters([epoch_ms(cut) for cut in cuts], columns)
    span = quarters.begin, epoch_ms(cuts[-1]) // 1000 + 1
    known = {
        (name, column): prices.read_scaled(database, name, column, *span)
        for name in lists
        for column in columns.values()
    }
    return Pricing(tariff, zone, counters, quarters, known, now)


def _segments(
    advances: Advances,
    counters: Counters,
    cuts: Sequence[datetime],
    sums: Mapping[str, Sequence[int | None]],
    tariff: Tariff,
    zone: ZoneInfo,
) -> Iterator[Segment]:
    """Yield what was counted between the cuts, with the consumption before it that tiers count."""
    drawn: dict[Unit, int] = {}
    counted = zip(*(sums[name] for name in counters), strict=True)
    for (start, end), (imported, exported) in zip(pairwise(cuts), counted, strict=True):
        rates = tariff.at(start, zone)
        unit = rates.tiers_per if rates else None
        for each in drawn.keys() | ({unit} if unit else set()):
            begin = start_of(each, start, zone)
            if begin == start:
                drawn[each] = 0
            elif each not in drawn:
                before = advances.between([epoch_ms(begin), epoch_ms(start)])
                drawn[each] = before[counters.imported][0] or 0
        yield Segment(start, end, imported or 0, exported or 0, drawn[unit] if unit else 0)
        drawn = {each: before + (imported or 0) for each, before in drawn.items()}


def _kwh(advances: Sequence[int | None]) -> float | None:
    known = [advance for advance in advances if advance is not None]
    return sum(known) / 1000 if known else None


def _local(span: Span, zone: ZoneInfo) -> Span:
    return span[0].astimezone(zone), span[1].astimezone(zone)
