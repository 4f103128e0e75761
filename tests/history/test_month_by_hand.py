"""A month with everything that happens to a meter, computed again from its readings in Decimal.

Nothing here uses the code that it checks: only readings, prices and the sentences of the
documentation. March in Berlin has a day of 23 hours, other prices from the 16th on, a reset, a
replaced meter, a gap, void readings, and dynamic prices with gaps.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import peewee
import pytest

from contract.prices import KwhPrice
from contract.readings import Reading
from history import energy, prices
from history.corrections import void
from history.periods import Unit, edges
from history.readings_table import Writer
from history.rollups.replacements import replace_meter
from history.rollups.rollups import Rollups
from history.statements import statement
from history.tables import read_meter
from history.tariffs import Tariffs
from tests.support.histories import BERLIN

BEGIN, END = (datetime(2026, month, 1, tzinfo=BERLIN).astimezone(UTC) for month in (3, 4))
CHANGE = date(2026, 3, 16)
RESET, REPLACED = BEGIN + timedelta(days=6, hours=3), BEGIN + timedelta(days=21, hours=11)
GAP = BEGIN + timedelta(days=9, hours=1), BEGIN + timedelta(days=9, hours=8, minutes=20)
VOID = BEGIN + timedelta(days=13, hours=2, minutes=7), BEGIN + timedelta(days=13, hours=20)
WITHOUT_PRICE = BEGIN + timedelta(days=4), BEGIN + timedelta(days=4, hours=2)
FILE = """
[[tariff]]
name = "windows"
valid_from = 2026-01-01
price = 0.3127
feed_in = 0.0786
[[tariff.window]]
from = "22:00"
to = "06:00"
days = ["mon", "tue", "wed", "thu", "fri"]
price = 0.2419
[[tariff.standing]]
name = "base price"
per = "month"
price = 12.49
[[tariff.tax]]
name = "electricity tax"
per_kwh = 0.0205
[[tariff.tax]]
name = "VAT"
percent = 19
[[tariff]]
name = "windows"
valid_from = 2026-03-16
price = 0.3333
feed_in = 0.0786
[[tariff.standing]]
name = "base price"
per = "year"
price = 171.15
[[tariff.tax]]
name = "VAT"
percent = 19

[[tariff]]
name = "tiers"
valid_from = 2026-01-01
price = 0.41
[[tariff.tier]]
up_to = 100
per = "month"
price = 0.2777
[[tariff.tier]]
up_to = 250
per = "month"
price = 0.3555
[[tariff.tax]]
percent = 7
[[tariff]]
name = "tiers"
valid_from = 2026-03-16
price = 0.44
[[tariff.tier]]
up_to = 200
per = "month"
price = 0.3111
[[tariff.standing]]
per = "day"
price = 0.35

[[tariff]]
name = "spot"
valid_from = 2026-01-01
dynamic = true
feed_in = "dynamic"
markup = 0.1744
[[tariff.tax]]
name = "VAT"
percent = 19
"""
Amounts = dict[tuple[str, str], Decimal]


@dataclass
class Step:
    """What was counted at a reading since the one before, in kWh."""

    ts: datetime
    drawn: Decimal
    fed_in: Decimal

    @property
    def day(self) -> date:
        return self.ts.astimezone(BERLIN).date()

    @property
    def quarter(self) -> int:
        return int(self.ts.timestamp()) // 900 * 900


@dataclass
class Bill:
    """The lines of a period before taxes in percent, by the rates that apply."""

    lines: dict[date, Amounts] = field(default_factory=lambda: defaultdict(dict))
    uncovered: Decimal = Decimal(0)

    def add(self, since: date, kind: str, name: str, amount: Decimal) -> None:
        lines = self.lines[since]
        lines[kind, name] = lines.get((kind, name), Decimal(0)) + amount


Price = Callable[[Bill, Step], None]


# -- the month ---------------------------------------------------------------------------------


Shown = tuple[int, int]
NEW_START = (4_000_000, 0)


class Month(NamedTuple):
    """The readings that are stored, times and counters (Wh) of those that count.

    `old_end` is what the old meter showed when it was replaced.
    """

    readings: list[Reading]
    counts: list[tuple[datetime, Shown]]
    old_end: Shown


def month() -> Month:
    chance, readings, counts = Random(2026), list[Reading](), list[tuple[datetime, Shown]]()
    old_end = (0, 0)
    imported, exported = 8_123_456, 777_001
    for n in range(-2, (END - BEGIN) // timedelta(minutes=5)):
        ts = BEGIN + timedelta(minutes=5 * n, seconds=round(chance.random() * 290, 3))
        hour = ts.astimezone(BERLIN).hour
        sun = chance.random() * 250 * max(0, 1 - abs(hour - 13) / 6)
        load = 15 + chance.choice([0, 0, 40, 160]) * (6 <= hour < 23)
        imported += round(max(load - sun, 0))
        exported += round(max(sun - load, 0))
        if ts - timedelta(minutes=5) < RESET <= ts:
            imported = round(load)
        if readings and readings[-1].ts < REPLACED <= ts:
            old_end = imported, exported
            imported, exported = 4_000_321, 12
        if GAP[0] <= ts < GAP[1]:
            continue
        is_void = VOID[0] <= ts < VOID[1]
        shown = (9_999_999, 1) if is_void else (imported, exported)
        values = dict(
            zip(("energy", "energy_export"), (each / 1000 for each in shown), strict=True)
        )
        readings.append(Reading("1", ts, values))
        if not is_void:
            counts.append((ts, shown))
    return Month(readings, counts, old_end)


def steps(given: Month) -> Iterator[Step]:
    for (before, old), (ts, new) in pairwise(given.counts):
        counted = []
        for a, b, end, start in zip(old, new, given.old_end, NEW_START, strict=True):
            if before < REPLACED <= ts:
                counted.append((end - a) + (b - start))
            else:
                counted.append(b if 2 * b < a else b - a)
        yield Step(ts, *(Decimal(each) / 1000 for each in counted))


def dynamic_prices() -> dict[int, tuple[Decimal, Decimal]]:
    chance, first = Random(7), int(BEGIN.timestamp())
    quarters = range(first, int(END.timestamp()), 900)
    return {
        q: (round(Decimal(chance.gauss(0.08, 0.07)), 5), round(Decimal(chance.random() / 10), 5))
        for q in quarters
        if not WITHOUT_PRICE[0].timestamp() <= q < WITHOUT_PRICE[1].timestamp()
    }


# -- by hand -----------------------------------------------------------------------------------


def by_windows(bill: Bill, step: Step) -> None:
    quarter = datetime.fromtimestamp(step.quarter, BERLIN)
    if step.day < CHANGE:
        begins = quarter.date() - timedelta(days=quarter.time() < time(6))
        is_night = not time(6) <= quarter.time() < time(22) and begins.weekday() < 5
        name, price = ("22:00 to 06:00", "0.2419") if is_night else ("other times", "0.3127")
        bill.add(FIRST, "energy", name, step.drawn * Decimal(price))
        bill.add(FIRST, "tax", "electricity tax", step.drawn * Decimal("0.0205"))
    else:
        bill.add(CHANGE, "energy", "energy", step.drawn * Decimal("0.3333"))
    since = FIRST if step.day < CHANGE else CHANGE
    bill.add(since, "feed_in", "feed-in", step.fed_in * Decimal("-0.0786"))


FIRST = date(2026, 1, 1)
TIERS = {
    FIRST: [("up to 100 kWh a month", 100, "0.2777"), ("up to 250 kWh a month", 250, "0.3555"),
            ("above 250 kWh", 10**9, "0.41")],
    CHANGE: [("up to 200 kWh a month", 200, "0.3111"), ("above 200 kWh", 10**9, "0.44")],
}  # fmt: skip


class ByTiers:
    """Goes through the tiers of a month."""

    def __init__(self) -> None:
        self.drawn = Decimal(0)

    def __call__(self, bill: Bill, step: Step) -> None:
        since, lowest = (FIRST if step.day < CHANGE else CHANGE), Decimal(0)
        after = self.drawn + step.drawn
        for name, limit, price in TIERS[since]:
            part = min(after, Decimal(limit)) - max(self.drawn, lowest)
            if part > 0:
                bill.add(since, "energy", name, part * Decimal(price))
            lowest = Decimal(limit)
        self.drawn = after


def by_spot(bill: Bill, step: Step) -> None:
    found = dynamic_prices_once().get(step.quarter)
    if found is None:
        bill.uncovered += step.drawn + step.fed_in
        return
    bill.add(FIRST, "energy", "dynamic price", step.drawn * (found[0] + Decimal("0.1744")))
    bill.add(FIRST, "feed_in", "feed-in", -step.fed_in * found[1])


_PRICES: dict[int, tuple[Decimal, Decimal]] = {}


def dynamic_prices_once() -> dict[int, tuple[Decimal, Decimal]]:
    if not _PRICES:
        _PRICES.update(dynamic_prices())
    return _PRICES


def standing(name: str, day: date) -> tuple[str, Decimal] | None:
    """Return the standing charge of a local day."""
    if name == "windows":
        share = Decimal("12.49") / 31 if day < CHANGE else Decimal("171.15") / 365
        return "base price", share
    return ("standing charge", Decimal("0.35")) if name == "tiers" and day >= CHANGE else None


PERCENT = {
    ("windows", FIRST): ("VAT", 19), ("windows", CHANGE): ("VAT", 19), ("tiers", FIRST): ("tax", 7),
    ("spot", FIRST): ("VAT", 19),
}  # fmt: skip


def taxed(name: str, bill: Bill) -> Amounts:
    """Return the lines of a bill with its taxes in percent, which feed-in does not have."""
    found: Amounts = defaultdict(Decimal)
    for since, lines in bill.lines.items():
        for key, amount in lines.items():
            found[key] += amount
        net = sum((each for (kind, _), each in lines.items() if kind != "feed_in"), Decimal(0))
        if (name, since) in PERCENT:
            tax, percent = PERCENT[name, since]
            found["tax", tax] += net * percent / 100
    return found


def bills(name: str, counted: list[Step]) -> dict[date, Bill]:
    """Return the bill of each local day."""
    price: Price = {"windows": by_windows, "tiers": ByTiers(), "spot": by_spot}[name]
    found: dict[date, Bill] = {}
    for n in range(31):
        day = date(2026, 3, 1) + timedelta(days=n)
        found[day] = Bill()
        if charge := standing(name, day):
            found[day].add(FIRST if day < CHANGE else CHANGE, "standing", *charge)
    for step in counted:
        price(found[step.day], step)
    return found


def together(each: list[Bill]) -> Bill:
    found = Bill()
    for bill in each:
        found.uncovered += bill.uncovered
        for since, lines in bill.lines.items():
            for (kind, name), amount in lines.items():
                found.add(since, kind, name, amount)
    return found


# -- the comparison ----------------------------------------------------------------------------


@pytest.fixture
def counted(database: peewee.Database) -> list[Step]:
    """Store the month, the last hours of it not rolled up; return what was counted by hand."""
    readings, _, old_end = given = month()
    Writer(database).write(readings[:-30])
    assert Rollups(database).run(float("inf"))
    Writer(database).write(readings[-30:])
    old, new = (
        dict(zip(("energy", "energy_export"), (each / 1000 for each in shown), strict=True))
        for shown in (old_end, NEW_START)
    )
    replace_meter(database, "1", REPLACED, old, new)
    void(database, "1", *VOID, "a phase was not connected")
    prices.store(
        database,
        "spot",
        {q: KwhPrice(*map(float, pair)) for q, pair in dynamic_prices_once().items()},
    )
    return [step for step in steps(given) if step.ts >= BEGIN]


@pytest.fixture
def tariffs(tmp_path: Path) -> Tariffs:
    path = tmp_path / "tariffs.toml"
    path.write_text(FILE)
    return Tariffs.load(path)


@pytest.mark.parametrize("name", ["windows", "tiers", "spot"])
def test_each_day_and_the_month_have_the_lines_that_were_computed_by_hand(
    database: peewee.Database, counted: list[Step], tariffs: Tariffs, name: str
) -> None:
    by_day = bills(name, counted)

    for unit in (Unit.DAY, Unit.MONTH):
        found = energy.periods(
            database, "1", unit, BEGIN, END, BERLIN, tariffs=tariffs, tariff=name
        )
        for period in found:
            days = [by_day[period.start.date()]] if unit is Unit.DAY else [*by_day.values()]
            bill = together(days)
            inside = [s for s in counted if period.start <= s.ts < period.end]
            assert period.imported == pytest.approx(float(sum(s.drawn for s in inside)), abs=1e-9)
            assert period.exported == pytest.approx(float(sum(s.fed_in for s in inside)), abs=1e-9)
            amounts: dict[tuple[str, str], float] = defaultdict(float)
            assert period.bill
            for line in period.bill.lines:
                amounts[line.kind, line.name] += line.amount
            by_hand = {key: float(amount) for key, amount in taxed(name, bill).items()}
            same = {key: amounts.get(key, 0.0) for key in {*amounts, *by_hand}}
            assert same == pytest.approx({key: by_hand.get(key, 0.0) for key in same}, abs=1e-8)
            assert period.bill.uncovered == pytest.approx(float(bill.uncovered), abs=1e-9)
            assert (period.cost is None) == bool(bill.uncovered)


@pytest.mark.usefixtures("counted")
def test_figures_without_a_bill_are_those_of_the_bill(
    database: peewee.Database, tariffs: Tariffs
) -> None:
    meter = read_meter(database, "1")
    assert meter
    week = edges(Unit.HOUR, BEGIN + timedelta(days=1), BEGIN + timedelta(days=17), BERLIN)
    spans = [*pairwise(week), (week[0], week[-1]), (week[3], week[40] + timedelta(minutes=7))]

    for name in (None, "windows", "tiers", "spot"):
        tariff = tariffs.named[name] if name else None
        of_meter = energy.MeterEnergy(database, meter, BERLIN, tariff)
        figures = of_meter.figures(energy.Spans(spans))
        for period, found in zip(of_meter.periods(spans), figures, strict=True):
            bill = period.bill
            expected = (period.imported, period.exported, period.cost, bill and bill.uncovered)
            assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["windows", "tiers"])
def test_a_statement_of_the_month_is_right_to_the_cent(
    database: peewee.Database, counted: list[Step], tariffs: Tariffs, name: str
) -> None:
    assert Rollups(database).run(float("inf"))
    bill = taxed(name, together([*bills(name, counted).values()]))

    found = statement(database, "1", BEGIN, END, BERLIN, tariffs=tariffs, tariff=name)

    shown: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for item in found.items:
        shown[item.kind, item.name] += Decimal(str(item.amount))
    for key, amount in bill.items():
        parts = sum(1 for item in found.items if (item.kind, item.name) == key)
        assert abs(shown[key] - amount) <= parts * Decimal("0.0051"), key
        if parts == 1 and key[0] != "tax":
            assert shown[key] == amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert found.total == float(sum(shown.values()))
    assert found.imported == float(sum(step.drawn for step in counted))
    assert [each.why for each in found.corrections] == ["a phase was not connected"]
    assert len({swap.at for swap in found.swaps}) == 1
    assert any(gap.start < GAP[1] and gap.end > GAP[0] for gap in found.gaps)
