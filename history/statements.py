"""Statements: what a meter counted in a period, what that costs, and all that it rests on.

The hashes are those of figures that are kept forever, so that a statement can be verified when the
readings themselves have been deleted.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from statistics import median_low
from typing import Any
from zoneinfo import ZoneInfo

import peewee

from contract.times import epoch_ms, format_time, from_epoch_ms
from history import energy, prices, site
from history.costs import Kind
from history.counters import QUARTER_MS, QUARTER_S, Advances, Counters, counters_of
from history.dialect import dialect_of, fetch, fetch_one, placeholders
from history.errors import StorageError
from history.periods import Unit, start_of
from history.rollups.levels import HOUR, QUARTER_HOUR, width_s
from history.rollups.replacements import ALL_COUNTERS
from history.tables import Meter, quantity_ids, read_meter, read_meters
from history.tariffs import Tariff, Tariffs
from history.utility_readings import comparisons
from history.voids import read_voids

_CENT = Decimal("0.01")
_SAME = 1e-6
"""Difference up to which two sums of amounts are the same."""

Span = tuple[datetime, datetime]


class NoHouseError(StorageError):
    """Raised where no meter measures the consumption of a house."""


class WaitingError(StorageError):
    """Raised while readings of a period wait to be rolled up, so that a statement would change."""


@dataclass(frozen=True, slots=True)
class Register:
    """What a counter showed before a period and at its end, and what it counted, in kWh.

    A counter without an older reading opens with its first one (`is_first`).
    """

    counter: str
    opening: float
    closing: float
    counted: float
    is_first: bool


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the bill; its amount is rounded to hundredths."""

    kind: Kind
    name: str
    quantity: float
    unit: str
    price: float | None
    amount: float


@dataclass(frozen=True, slots=True)
class Swap:
    """A replaced meter: what a counter of the old and of the new one showed; None: not known."""

    at: datetime
    counter: str | None
    old_end: float | None
    new_start: float | None


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without readings; what was counted in it is part of the quarter-hour at its end.

    `counted` is that of this quarter-hour in kWh, None where the period ends within the gap.
    """

    start: datetime
    end: datetime
    counted: float | None


@dataclass(frozen=True, slots=True)
class Correction:
    """A time whose readings a person has taken out of every sum, and why."""

    start: datetime
    end: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Check:
    """A reading of the utility's own meter, and what both have counted since the one before.

    That of our meter is counted by whole quarter-hours. Energies are in kWh, None where unknown.
    """

    at: datetime
    counter: str
    value: float
    since: datetime | None
    by_utility: float | None
    by_meter: float | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What a meter counted in a period and what it costs.

    `runs_until` is the end of a period that is not over: the statement is so far, and not final.
    `total` is the sum of the items, None where `uncovered` energy (kWh) has no price. `estimated`
    is the energy that is known by the hour alone, and is spread evenly over its hour. `rests_on`
    has the hash of each kind of figures that the statement rests on, and `hash` that of all.
    """

    meter_id: str
    name: str
    serial: str | None
    since: datetime
    until: datetime
    runs_until: datetime | None
    timezone: str
    imported: float | None
    exported: float | None
    registers: tuple[Register, ...]
    tariff: str | None
    currency: str | None
    items: tuple[Item, ...]
    total: float | None
    uncovered: float
    estimated: float
    swaps: tuple[Swap, ...]
    corrections: tuple[Correction, ...]
    checks: tuple[Check, ...]
    gaps: tuple[Gap, ...]
    rests_on: dict[str, str]
    hash: str


@dataclass(frozen=True, slots=True)
class Share:
    """A meter of a house and what it counted, in kWh."""

    meter_id: str
    name: str
    role: str
    parent: str | None
    imported: float | None
    exported: float | None


@dataclass(frozen=True, slots=True)
class House:
    """What the meters of a house measured together, in kWh; None where unknown.

    `billed` are the meters whose statements are that of the house. `runs_until`, `rests_on` and
    `hash` are as in a statement.
    """

    since: datetime
    until: datetime
    runs_until: datetime | None
    timezone: str
    billed: tuple[str, ...]
    figures: dict[str, float | None]
    meters: tuple[Share, ...]
    rests_on: dict[str, str]
    hash: str


def complete_until(
    database: peewee.Database, meter_ids: Collection[str], until: datetime, zone: ZoneInfo
) -> datetime:
    """Return the end of the last local hour that waits for no roll-up of some meters.

    It is `until` where nothing before that waits.
    """
    meters = [meter.id for meter in read_meters(database, meter_ids)]
    some, end = placeholders(meters), epoch_ms(until) // 1000
    rows = fetch(
        database,
        f"SELECT MIN(bucket) FROM rollup_dirty WHERE meter IN ({some}) UNION ALL "
        f"SELECT MIN(bucket + minutes * 60) - 1 FROM rollup_running WHERE meter IN ({some}) "
        f"UNION ALL SELECT MIN(backfill_from) / 1000 FROM meters WHERE id IN ({some}) "
        f"UNION ALL SELECT MIN(quarters_from) FROM meters WHERE id IN ({some})",
        meters * 4,
    )
    first = min((int(at_s) for (at_s,) in rows if at_s is not None), default=end)
    return until if first >= end else start_of(Unit.HOUR, from_epoch_ms(first * 1000), zone)


def house(
    database: peewee.Database,
    since: datetime,
    until: datetime,
    zone: ZoneInfo,
    *,
    runs_until: datetime | None = None,
) -> House:
    """Return what the meters of a house measured; raises NoHouseError and WaitingError."""
    with dialect_of(database).snapshot():
        meters = site.read(database)
        (period,) = site.HouseEnergy(database, meters, zone, until).between([since, until])
        nodes = period.site.nodes
        for node in nodes.values():
            _refuse_waiting(database, node.meter, until)
    if period.site.measured_by is None:
        raise NoHouseError(
            "the house: no meter measures its consumption",
            remedy="give a meter the role grid: meterflow meter ID --role grid",
        )
    shares = tuple(
        Share(
            name,
            node.meter.title or name,
            node.role,
            node.parent,
            period.meters[name].imported,
            period.meters[name].exported,
        )
        for name, node in nodes.items()
    )
    figures = {
        "consumption": period.balance.consumption,
        "imported": period.imported,
        "exported": period.exported,
        "production": period.balance.production,
        "self-consumed": period.self_consumed,
        "charged": period.charged,
        "discharged": period.discharged,
        "measured at consumers": period.balance.consumers,
        "not measured at consumers": period.balance.rest,
    }
    rests_on = {
        "energy": _hash([[each.meter_id, each.imported, each.exported] for each in shares]),
        "roles": _hash([[each.meter_id, each.role, each.parent] for each in shares]),
        "names": _hash([[each.meter_id, each.name] for each in shares]),
    }
    billed = tuple(period.site.billed)
    local = since.astimezone(zone), until.astimezone(zone)
    ends = runs_until.astimezone(zone) if runs_until else None
    return House(*local, ends, zone.key, billed, figures, shares, rests_on, _hash(rests_on))


def statement(
    database: peewee.Database,
    meter_id: str,
    since: datetime,
    until: datetime,
    zone: ZoneInfo,
    *,
    tariffs: Tariffs | None = None,
    tariff: str | None = None,
    runs_until: datetime | None = None,
) -> Statement:
    """Return the statement of a meter; `tariff` names another one than the meter's.

    `runs_until` is when the period ends of which this is the part so far. `since` and `until` are
    edges of quarter-hours. Raises StorageError for a meter without history, and WaitingError.
    """
    span = since, until
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        if meter is None:
            raise StorageError(f"meter {meter_id}: has no history")
        _refuse_waiting(database, meter, until)
        (period,) = energy.between(
            database, meter_id, span, zone, tariffs=tariffs, tariff=tariff, now=until
        )
        chosen = energy.chosen_of(database, tariffs, meter_id, tariff)
        counters = counters_of(database, meter.id)
        counted = _Counted(database, meter, counters, span)
        registers = tuple(_registers(database, meter, counters.registers, span))
        swaps = tuple(_swaps(database, meter, counters.registers, span, zone))
        corrections = tuple(_corrections(database, meter, span, zone))
        checks = tuple(_checks(database, meter, counters, span, zone))
        rests_on = {
            "energy": _hash(counted.quarters),
            "registers": _hash([asdict(register) for register in registers]),
            "replaced meters": _hash([asdict(swap) for swap in swaps]),
            "void readings": _hash([asdict(each) for each in corrections]),
            "readings of the utility": _hash([asdict(each) for each in checks]),
            "name and serial number": _hash([meter.title, meter.serial]),
        }
        if tariffs and chosen:
            rests_on |= _hashes_of_tariff(database, chosen, tariffs.currency, span, zone)
            rests_on |= _hash_of_tiers(database, meter, counters, chosen, span, zone)
    items, total = _items(period)
    return Statement(
        meter_id,
        meter.title or meter_id,
        meter.serial,
        since.astimezone(zone),
        until.astimezone(zone),
        runs_until.astimezone(zone) if runs_until else None,
        zone.key,
        period.imported,
        period.exported,
        registers,
        chosen.name if chosen else None,
        tariffs.currency if tariffs else None,
        items,
        total,
        period.bill.uncovered if period.bill else 0.0,
        counted.estimated,
        swaps,
        corrections,
        checks,
        tuple(counted.gaps(zone)),
        rests_on,
        _hash(rests_on),
    )


def _refuse_waiting(database: peewee.Database, meter: Meter, until: datetime) -> None:
    """Raise WaitingError where roll-ups of the period are not what they will be."""
    end = epoch_ms(until) // 1000
    if fetch_one(
        database,
        "SELECT 1 FROM rollup_dirty WHERE meter = ? AND bucket < ? UNION ALL "
        "SELECT 1 FROM rollup_running WHERE meter = ? AND bucket + minutes * 60 <= ? UNION ALL "
        "SELECT 1 FROM meters WHERE id = ? AND (backfill_from < ? OR quarters_from < ?) LIMIT 1",
        (meter.id, end, meter.id, end, meter.id, end * 1000, end),
    ):
        raise WaitingError(
            f"meter {meter.name}: readings before {format_time(until)} wait to be rolled up",
            remedy="let the recorder run for some minutes, and try again",
            transient=True,
        )


# -- what was counted --------------------------------------------------------------------------


class _Counted:
    """The quarter-hours of a period that have readings, and what was counted in each."""

    def __init__(
        self, database: peewee.Database, meter: Meter, counters: Counters, span: Span
    ) -> None:
        begin, end = (epoch_ms(moment) // 1000 for moment in span)
        advances = Advances(database, meter.id, counters)
        found = advances.quarters([epoch_ms(moment) for moment in span])
        measured = advances.measured_quarters(counters.imported, begin, end)
        present = sorted({*measured, *found.spread})
        imported, exported = (found.advances[name] for name in counters)
        places = [(quarter - begin) // QUARTER_S for quarter in present]
        self.quarters = [
            (quarter, imported[place], exported[place])
            for quarter, place in zip(present, places, strict=True)
        ]
        self.estimated = sum(wh for q, wh, _ in self.quarters if q in found.spread) / 1000
        self._edges = [begin - QUARTER_S, *present, end]

    def gaps(self, zone: ZoneInfo) -> list[Gap]:
        """Return where quarter-hours with readings are further apart than usual."""
        usual = median_low([b - a for a, b in pairwise(self._edges[1:-1])] or [QUARTER_S])
        counted = {quarter: wh / 1000 for quarter, wh, _ in self.quarters}
        found = []
        for before, after in pairwise(self._edges):
            if after - before > usual:
                start, end = (from_epoch_ms(s * 1000) for s in (before + QUARTER_S, after))
                found.append(Gap(start.astimezone(zone), end.astimezone(zone), counted.get(after)))
        return found


def _registers(
    database: peewee.Database, meter: Meter, counters: Counters, span: Span
) -> Iterator[Register]:
    """Yield what each counter showed; none of a counter without readings until the end."""
    numbers = quantity_ids(database, counters)
    begin, end = (epoch_ms(moment) for moment in span)
    counted = Advances(database, meter.id, counters).between([begin, end])
    for name in counters:
        opening = _shown_before(database, meter, numbers[name], begin // 1000)
        closing = _shown_before(database, meter, numbers[name], end // 1000)
        if closing is not None:
            is_first = opening is None
            shown = _first_shown(database, meter, numbers[name]) if opening is None else opening
            advance = (counted[name][0] or 0) / 1000
            yield Register(name, shown / 1000, closing / 1000, advance, is_first)


def _shown_before(database: peewee.Database, meter: Meter, number: int, end: int) -> int | None:
    """Return a counter's last value before an edge of a quarter-hour (epoch s)."""
    rows = []
    for level in (QUARTER_HOUR, HOUR):
        row = fetch_one(
            database,
            "SELECT bucket, last FROM rollup WHERE level = ? AND meter = ? AND quantity = ? "
            "AND bucket <= ? ORDER BY bucket DESC LIMIT 1",
            (level, meter.id, number, end - width_s(level)),
        )
        rows += [(row[0] + width_s(level), row[1])] if row else []
    return max(rows)[1] if rows else None


def _first_shown(database: peewee.Database, meter: Meter, number: int) -> int:
    """Return a counter's first value; its first reading counts nothing."""
    rows = [
        fetch_one(
            database,
            "SELECT bucket, last - delta FROM rollup WHERE level = ? AND meter = ? "
            "AND quantity = ? ORDER BY bucket LIMIT 1",
            (level, meter.id, number),
        )
        for level in (QUARTER_HOUR, HOUR)
    ]
    return int(min(row for row in rows if row)[1])


def _swaps(
    database: peewee.Database, meter: Meter, counters: Counters, span: Span, zone: ZoneInfo
) -> Iterator[Swap]:
    """Yield the replacements of these counters; an entry for all of them where none has its own."""
    names = {number: name for name, number in quantity_ids(database, counters).items()}
    rows = fetch(
        database,
        "SELECT ts, quantity, old_end, new_start FROM meter_events "
        "WHERE meter = ? AND kind = 'replaced' AND ts >= ? AND ts < ? ORDER BY ts, quantity",
        (meter.id, *(epoch_ms(moment) for moment in span)),
    )
    own = {ts for ts, quantity, *_ in rows if quantity in names}
    for ts, quantity, *values in rows:
        if quantity in names or (quantity == ALL_COUNTERS and ts not in own):
            shown = (None if value is None else value / 1000 for value in values)
            yield Swap(from_epoch_ms(ts).astimezone(zone), names.get(quantity), *shown)


def _corrections(
    database: peewee.Database, meter: Meter, span: Span, zone: ZoneInfo
) -> Iterator[Correction]:
    for void in read_voids(database, meter.name):
        if void.undone_at is None and void.begin < span[1] and void.end > span[0]:
            yield Correction(void.begin.astimezone(zone), void.end.astimezone(zone), void.why)


def _checks(
    database: peewee.Database, meter: Meter, counters: Counters, span: Span, zone: ZoneInfo
) -> Iterator[Check]:
    """Yield the readings of the utility's meter from the beginning to the end of a period."""
    advances = Advances(database, meter.id, counters)
    for each in comparisons(database, meter.name):
        reading, by_meter, since = each.reading, None, None
        if span[0] <= reading.ts <= span[1]:
            if each.since and each.by_utility is not None:
                since = each.since.astimezone(zone)
                moments = [epoch_ms(ts) // QUARTER_MS * QUARTER_MS for ts in (since, reading.ts)]
                (advance,) = advances.between(moments)[counters[reading.exported]]
                is_whole = epoch_ms(since) >= meter.first_ts
                by_meter = advance / 1000 if is_whole and advance is not None else None
            at, register = reading.ts.astimezone(zone), counters.registers[reading.exported]
            yield Check(at, register, reading.value, since, each.by_utility, by_meter)


# -- what it costs -----------------------------------------------------------------------------


def _items(period: energy.Period) -> tuple[tuple[Item, ...], float | None]:
    """Return the lines of a bill with rounded amounts, and their sum, which a person can check."""
    if period.bill is None:
        return (), None
    lines = period.bill.lines
    taxed = [line for line in lines if line.kind != "feed_in" and line.unit != "%"]
    net, exact = sum(_cents(line.amount) for line in taxed), sum(line.amount for line in taxed)
    items, total = [], Decimal(0)
    for line in lines:
        quantity, amount = round(line.quantity, 8), _cents(line.amount)
        price = None if line.price is None else round(line.price, 8)
        if line.unit == "%" and line.price is not None:
            # Of all lines it is the percentage of what they show.
            base = net if abs(line.quantity - exact) < _SAME else _cents(line.quantity)
            quantity, amount = float(base), _cents(base * Decimal(str(line.price)) / 100)
        items.append(Item(line.kind, line.name, quantity, line.unit, price, float(amount)))
        total += amount
    return tuple(items), None if period.cost is None else float(total)


def _cents(amount: float | Decimal) -> Decimal:
    return Decimal(str(round(amount, 9))).quantize(_CENT, ROUND_HALF_UP)


def _hashes_of_tariff(
    database: peewee.Database, tariff: Tariff, currency: str, span: Span, zone: ZoneInfo
) -> dict[str, str]:
    rates = tariff.within(*span, zone)
    begin, end = (epoch_ms(moment) // 1000 for moment in span)
    lists = sorted({each.price_list for each in rates if each.price_list})
    columns: tuple[prices.Column, ...] = ("price", "feed_in")
    known = [
        [name, column, prices.read_scaled(database, name, column, begin, end)]
        for name in lists
        for column in columns
    ]
    return {
        "tariff": _hash([currency, *(each.model_dump(mode="json") for each in rates)]),
        "prices": _hash(known),
    }


def _hash_of_tiers(
    database: peewee.Database,
    meter: Meter,
    counters: Counters,
    tariff: Tariff,
    span: Span,
    zone: ZoneInfo,
) -> dict[str, str]:
    """Return the hash of what was drawn before a period in the month or year of its tiers."""
    units = {rates.tiers_per for rates in tariff.within(*span, zone) if rates.tiers_per}
    starts = sorted(start_of(unit, span[0], zone) for unit in units)
    if not starts or starts[-1] == span[0] == starts[0]:
        return {}
    moments = [epoch_ms(moment) for moment in (*starts, span[0])]
    drawn = Advances(database, meter.id, [counters.imported]).between(moments)
    return {"energy before, for its tiers": _hash(drawn[counters.imported])}


def _hash(figures: Any) -> str:
    """Return the SHA-256 of figures in a form that does not depend on the program."""
    text = json.dumps(figures, sort_keys=True, separators=(",", ":"), default=format_time)
    return hashlib.sha256(text.encode()).hexdigest()
