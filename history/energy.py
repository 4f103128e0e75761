"""Energy and cost by the hour, day, week, month or year of a site's own clock."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise, repeat
from typing import NamedTuple
from zoneinfo import ZoneInfo

import peewee

from contract.arrival import MOST_AHEAD
from contract.meter_settings import Billing
from contract.times import epoch_ms, from_epoch_ms
from history import prices
from history.costs import Cost, Pricing, Segment
from history.counters import Advances, counters_of
from history.dialect import dialect_of
from history.hierarchy import site_of
from history.periods import Unit, edges, start_of, start_of_next
from history.rollups.netting import NETTED_IMPORT
from history.tables import Meter, read_meter, read_meters
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


class Figures(NamedTuple):
    """The same without a bill: energy in kWh, its cost, and how much of it has no price."""

    imported: float | None
    exported: float | None = None
    cost: float | None = None
    uncovered: float | None = None


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


class Spans:
    """Spans of time, which may overlap, and the cuts at which they begin and end, all in UTC."""

    def __init__(self, spans: Sequence[Span], breaks: Iterable[datetime] = ()) -> None:
        self.spans = [(a.astimezone(UTC), b.astimezone(UTC)) for a, b in spans]
        self.cuts = sorted({*(moment for span in self.spans for moment in span), *breaks})
        self.cuts_ms = [epoch_ms(cut) for cut in self.cuts]
        place = {cut: number for number, cut in enumerate(self.cuts)}
        self.parts = [(place[a], place[b]) for a, b in self.spans]
        self._cut: dict[tuple[datetime, ...], Spans] = {}

    def cut_at(self, breaks: Iterable[datetime]) -> "Spans":
        """Return the same spans with more cuts."""
        more = tuple(breaks)
        if {*more} <= {*self.cuts}:
            return self
        if more not in self._cut:
            self._cut[more] = Spans(self.spans, {*self.cuts, *more})
        return self._cut[more]


class MeterEnergy:
    """Energy and cost of a meter by a tariff, within one snapshot of the database.

    Standing charges accrue until `now`.
    """

    def __init__(
        self,
        database: peewee.Database,
        meter: Meter,
        zone: ZoneInfo,
        tariff: Tariff | None = None,
        now: datetime = FAR,
    ) -> None:
        self._database, self._meter, self._zone = database, meter, zone
        self._tariff, self._now = tariff, now
        self._counters = counters_of(database, meter.id)
        self._advances = Advances(database, meter.id, self._counters)

    def periods(self, spans: Sequence[Span]) -> list[Period]:
        """Return energy and cost of each span, with its bill."""
        given = self._cut(Spans(spans))
        counted = self._counted(given)
        energies = zip(*(_sums(values, given.parts) for values in counted), strict=True)
        if self._tariff:
            pricing, segments = self._priced(self._tariff, given, counted)
            bills: Iterable[Cost | None] = [pricing.cost(segments[a:b]) for a, b in given.parts]
        else:
            bills = repeat(None, len(spans))
        return [
            Period(
                *_local(span, self._zone),
                imported,
                exported,
                bill.amount if bill and imported is not None else None,
                bill,
            )
            for span, (imported, exported), bill in zip(spans, energies, bills, strict=True)
        ]

    def figures(self, spans: Spans, *, costs: bool = True) -> list[Figures]:
        """Return energy of each span, and its cost, which takes longer."""
        given = self._cut(spans) if costs else spans
        counted = self._counted(given)
        imported, exported = (_sums(values, given.parts) for values in counted)
        if self._tariff is None or not costs:
            return list(map(Figures, imported, exported))
        pricing, segments = self._priced(self._tariff, given, counted)
        totals = [pricing.total(segments[a:b]) for a, b in given.parts]
        return [
            Figures(kwh, fed_in, None if kwh is None else total.cost, total.uncovered)
            for kwh, fed_in, total in zip(imported, exported, totals, strict=True)
        ]

    def running(self, unit: Unit) -> list[Span]:
        """Return the running period, the one before up to the same point, and the whole of it.

        "The same point" is as far from the period's beginning, but not after its end: on 31 March
        it is the whole of February. The running period includes the newest reading, also of a
        device whose clock is a little ahead.
        """
        now = self._now.astimezone(UTC)
        start = start_of(unit, now, self._zone)
        newest = from_epoch_ms(self._meter.last_ts)
        is_ahead = now <= newest <= now + MOST_AHEAD
        end = newest + timedelta(milliseconds=1) if is_ahead else now
        return running(unit, start, min(end, start_of_next(unit, start, self._zone)), self._zone)

    def _cut(self, spans: Spans) -> Spans:
        if self._tariff is None:
            return spans
        return spans.cut_at(self._tariff.breaks(spans.cuts[0], spans.cuts[-1], self._zone))

    def _counted(self, spans: Spans) -> list[Sequence[int | None]]:
        sums = self._advances.between(spans.cuts_ms)
        return [sums[name] for name in self._counters]

    def _priced(
        self, tariff: Tariff, spans: Spans, counted: Sequence[Sequence[int | None]]
    ) -> tuple[Pricing, list[Segment]]:
        """Return the prices of a tariff, and what was counted between the cuts."""
        pricing = self._pricing(tariff, spans)
        return pricing, list(self._segments(tariff, spans.cuts, *counted))

    def _pricing(self, tariff: Tariff, spans: Spans) -> Pricing:
        """Return the prices of a tariff, with all that they depend on."""
        cuts, counters = spans.cuts, self._counters
        rates = tariff.within(cuts[0], cuts[-1], self._zone)
        lists = {each.price_list for each in rates if each.price_list}
        columns: dict[str, prices.Column] = {}
        if lists or any(each.windows for each in rates):
            columns[counters.imported] = "price"
        if any(each.feed_in == "dynamic" for each in rates):
            columns[counters.exported] = "feed_in"
        quarters = self._advances.quarters(spans.cuts_ms, columns)
        span = quarters.begin, spans.cuts_ms[-1] // 1000 + 1
        known = {
            (name, column): prices.read_scaled(self._database, name, column, *span)
            for name in lists
            for column in columns.values()
        }
        return Pricing(self._zone, counters, quarters, known, self._now)

    def _segments(
        self,
        tariff: Tariff,
        cuts: Sequence[datetime],
        imported: Sequence[int | None],
        exported: Sequence[int | None],
    ) -> Iterator[Segment]:
        """Yield what was counted between the cuts, with the consumption before that tiers count."""
        drawn: dict[Unit, int] = {}
        all_rates = tariff.each_at(cuts[:-1], self._zone)
        counted = zip(pairwise(cuts), all_rates, imported, exported, strict=True)
        for (start, end), rates, kwh, fed_in in counted:
            unit, before = rates.tiers_per if rates else None, 0
            if drawn or unit:
                self._begin_tiers(drawn, unit, start)
                before = drawn[unit] if unit else 0
                drawn |= {each: total + (kwh or 0) for each, total in drawn.items()}
            yield Segment(start, end, rates, kwh or 0, fed_in or 0, before)

    def _begin_tiers(self, drawn: dict[Unit, int], unit: Unit | None, start: datetime) -> None:
        """Note what has been drawn at a moment in each period that tiers count."""
        for each in drawn.keys() | ({unit} if unit else set()):
            begin = start_of(each, start, self._zone)
            if begin == start:
                drawn[each] = 0
            elif each not in drawn:
                before = self._advances.between([epoch_ms(begin), epoch_ms(start)])
                drawn[each] = before[self._counters.imported][0] or 0


def running(unit: Unit, start: datetime, end: datetime, zone: ZoneInfo) -> list[Span]:
    """Return a period until `end`, the one before up to the same point, and the whole of it."""
    earlier = start_of(unit, start - timedelta(seconds=1), zone)
    return [(start, end), (earlier, min(earlier + (end - start), start)), (earlier, start)]


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
    return between(database, meter_id, moments, zone, tariffs=tariffs, tariff=tariff, now=now)


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
    spans = list(pairwise(moments))
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        if meter is None:
            return [Period(*_local(span, zone), None) for span in spans]
        picked = chosen_of(database, tariffs, meter_id, tariff)
        return MeterEnergy(database, meter, zone, picked, now).periods(spans)


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
    """Return the running period beside the one before it."""
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        if meter is None:
            spans = running(unit, start_of(unit, now, zone), now.astimezone(UTC), zone)
            return Comparison(*(Period(*_local(span, zone), None) for span in spans))
        picked = chosen_of(database, tariffs, meter_id, tariff)
        of_meter = MeterEnergy(database, meter, zone, picked, now)
        return Comparison(*of_meter.periods(of_meter.running(unit)))


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


def chosen(
    tariffs: Tariffs | None, meter_id: str, name: str | None, billed: Collection[str]
) -> Tariff | None:
    """Return the tariff of this name, else that of the meter.

    It has its standing charges for the meters `billed`, which are those of the house's bill, and
    for those to which the file of tariffs gives one by name. All others have a share of that bill.
    """
    if tariffs is None:
        return None
    tariff = tariffs.named[name] if name else tariffs.of(meter_id)
    is_contract = meter_id in tariffs.meters or meter_id in billed
    return tariff if is_contract else tariff.without_standing


def chosen_of(
    database: peewee.Database, tariffs: Tariffs | None, meter_id: str, name: str | None
) -> Tariff | None:
    """Return the same of a meter in the history."""
    billed = site_of(read_meters(database)).billed if tariffs else []
    return chosen(tariffs, meter_id, name, billed)


def _sums(values: Sequence[int | None], parts: Sequence[tuple[int, int]]) -> list[float | None]:
    """Return the kWh of each part of some advances, most of which are a single one."""
    kwh = [None if value is None else value / 1000 for value in values]
    return [kwh[a] if b - a == 1 else _kwh(values[a:b]) for a, b in parts]


def _kwh(advances: Sequence[int | None]) -> float | None:
    known = [advance for advance in advances if advance is not None]
    return sum(known) / 1000 if known else None


def _local(span: Span, zone: ZoneInfo) -> Span:
    return span[0].astimezone(zone), span[1].astimezone(zone)
