"""Costs: each line is checked against the readings and the prices themselves."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.meter_settings import MeterSettings
from contract.prices import KwhPrice
from contract.readings import Reading
from history import energy, prices, site
from history.costs import Line
from history.dialect import run
from history.meter_settings import change
from history.periods import Unit, edges
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from history.site import HouseEnergy
from history.statements import statement
from history.tables import TABLES
from history.tariffs import Tariffs
from tests.support.histories import BERLIN, KOLKATA
from tests.support.postgresql import BOTH

DATABASES = BOTH
ALL = float("inf")
UTC_ZONE = ZoneInfo("UTC")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")


def load(directory: Path, text: str) -> Tariffs:
    path = directory / "tariffs.toml"
    path.write_text(text)
    return Tariffs.load(path)


def fill(
    database: peewee.Database,
    start: datetime,
    imported: Sequence[float],
    exported: Sequence[float] = (),
    every: timedelta = timedelta(minutes=15),
) -> None:
    """Store a reading of zero, and one at the end of each interval with what was counted in it."""
    counters = {"energy": imported, "energy_export": exported}
    totals = dict.fromkeys((name for name, counted in counters.items() if counted), 0.0)
    readings = [Reading("1", start, dict(totals))]
    for n in range(len(imported)):
        for name in totals:
            totals[name] = round(totals[name] + counters[name][n], 3)
        readings.append(Reading("1", start + (n + 1) * every - timedelta(seconds=1), dict(totals)))
    Writer(database).write(readings)
    assert Rollups(database).run(ALL)


def bill(
    database: peewee.Database, since: datetime, until: datetime, tariffs: Tariffs, **more: str
) -> energy.Period:
    (period,) = energy.between(database, "1", [since, until], BERLIN, tariffs=tariffs, **more)
    return period


def lines(period: energy.Period) -> list[Line]:
    assert period.bill
    return list(period.bill.lines)


OCTOBER = datetime(2026, 10, 1, tzinfo=BERLIN).astimezone(UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=BERLIN).astimezone(UTC)
DAY = timedelta(days=1)


# -- the lines of a bill -----------------------------------------------------------------------


def test_each_window_is_a_line(database: peewee.Database, tmp_path: Path) -> None:
    fill(database, OCTOBER, [0.25] * 96)
    tariffs = load(
        tmp_path,
        """
        [[tariff]]
        valid_from = 2026-01-01
        price = 0.40
        [[tariff.window]]
        name = "night"
        from = "22:00"
        to = "06:00"
        price = 0.20
        [[tariff.window]]
        from = "12:00"
        to = "13:00"
        price = 0.30
        """,
    )

    period = bill(database, OCTOBER, OCTOBER + DAY, tariffs)

    assert lines(period) == [
        Line("energy", "night", "kWh", 0.2, 8.0, pytest.approx(1.6)),
        Line("energy", "12:00 to 13:00", "kWh", 0.3, 1.0, pytest.approx(0.3)),
        Line("energy", "other times", "kWh", 0.4, 15.0, pytest.approx(6.0)),
    ]
    assert period.cost == pytest.approx(7.9)


def test_tiers_count_from_the_beginning_of_their_month(
    database: peewee.Database, tmp_path: Path
) -> None:
    start = OCTOBER - 5 * DAY
    fill(database, start, [1.0] * 40, every=timedelta(hours=6))
    tariffs = load(
        tmp_path,
        """
        [[tariff]]
        valid_from = 2026-01-01
        price = 0.50
        [[tariff.tier]]
        up_to = 4
        per = "month"
        price = 0.20
        [[tariff.tier]]
        up_to = 10
        per = "month"
        price = 0.30
        """,
    )

    days = energy.periods(
        database, "1", Unit.DAY, OCTOBER - DAY, OCTOBER + 3 * DAY, BERLIN, tariffs=tariffs
    )
    whole = bill(database, OCTOBER - DAY, OCTOBER + 3 * DAY, tariffs)

    assert [day.cost for day in days] == pytest.approx([2.0, 0.8, 1.2, 1.6])
    assert [(line.name, line.quantity) for line in lines(whole)] == [
        ("above 10 kWh", 6.0),
        ("up to 4 kWh a month", 4.0),
        ("up to 10 kWh a month", 6.0),
    ]
    assert whole.cost == pytest.approx(5.6)


def test_tiers_of_a_year_go_on_over_a_change_of_prices(
    database: peewee.Database, tmp_path: Path
) -> None:
    fill(database, OCTOBER, [1.0] * 20, every=timedelta(hours=6))
    tariffs = load(
        tmp_path,
        """
        [[tariff]]
        valid_from = 2026-01-01
        price = 1
        [[tariff.tier]]
        up_to = 6
        per = "year"
        price = 0.5
        [[tariff]]
        valid_from = 2026-10-03
        price = 2
        [[tariff.tier]]
        up_to = 10
        per = "year"
        price = 0.7
        """,
    )

    days = energy.periods(
        database, "1", Unit.DAY, OCTOBER, OCTOBER + 5 * DAY, BERLIN, tariffs=tariffs
    )

    assert [day.cost for day in days] == pytest.approx([2.0, 1.0 + 2.0, 1.4 + 4.0, 8.0, 8.0])


def test_standing_charges_and_taxes_come_on_top(database: peewee.Database, tmp_path: Path) -> None:
    fill(database, OCTOBER, [0.25] * 4 * 24 * 31 + [0.25] * 4)
    tariffs = load(
        tmp_path,
        """
        [[tariff]]
        valid_from = 2026-01-01
        price = 0.30
        [[tariff.standing]]
        name = "base price"
        per = "month"
        price = 12.40
        [[tariff.standing]]
        name = "meter"
        per = "year"
        price = 36.5
        [[tariff.standing]]
        per = "day"
        price = 0.01
        [[tariff.tax]]
        name = "electricity tax"
        per_kwh = 0.02
        [[tariff.tax]]
        name = "VAT"
        percent = 19
        """,
    )

    month = bill(database, OCTOBER, NOVEMBER, tariffs)
    day = bill(database, OCTOBER, OCTOBER + DAY, tariffs)

    kwh = 24 * 31 + 1
    net = kwh * 0.32 + 12.4 + 3.1 + 0.31
    assert [(line.kind, line.name, line.unit) for line in lines(month)] == [
        ("energy", "energy", "kWh"),
        ("standing", "base price", "month"),
        ("standing", "meter", "year"),
        ("standing", "standing charge", "day"),
        ("tax", "electricity tax", "kWh"),
        ("tax", "VAT", "%"),
    ]
    assert [line.quantity for line in lines(month)] == pytest.approx(
        [kwh, 1, 31 / 365, 31, kwh, net]
    )
    assert month.cost == pytest.approx(net * 1.19)
    assert day.cost == pytest.approx((24 * 0.32 + 0.4 + 0.1 + 0.01) * 1.19)


def test_a_running_day_has_the_standing_charge_until_now(
    database: peewee.Database, tmp_path: Path
) -> None:
    fill(database, OCTOBER, [0.0] * 96)
    tariffs = load(
        tmp_path,
        "[[tariff]]\nvalid_from = 2026-01-01\nprice = 0.3\n"
        '[[tariff.standing]]\nper = "day"\nprice = 2.4\n',
    )
    now = OCTOBER + timedelta(hours=10)

    (day,) = energy.periods(
        database, "1", Unit.DAY, OCTOBER, OCTOBER, BERLIN, tariffs=tariffs, now=now
    )
    compared = energy.compare(database, "1", Unit.DAY, now, BERLIN, tariffs=tariffs)

    assert day.cost == compared.now.cost == pytest.approx(1.0)


HOUSE_TARIFFS = """
[meters]
flat = "tenant"
[[tariff]]
name = "household"
valid_from = 2026-01-01
price = 0.30
[[tariff.standing]]
name = "base price"
per = "month"
price = 12.40
[[tariff.tax]]
percent = 19
[[tariff]]
name = "tenant"
valid_from = 2026-01-01
price = 0.35
[[tariff.standing]]
per = "day"
price = 0.20
"""


def test_standing_charges_belong_to_meters_with_a_contract(
    database: peewee.Database, tmp_path: Path
) -> None:
    hourly = {"main": 1.0, "oven": 0.25, "flat": 0.5, "roof": 0.01}
    Writer(database).write(
        Reading(name, OCTOBER + timedelta(minutes=30 * n), {"energy": 100 + kwh * n / 2})
        for name, kwh in hourly.items()
        for n in range(-1, 2 * 24)
    )
    assert Rollups(database).run(ALL)
    for name, settings_ in {
        "main": {"role": "grid"},
        "oven": {"parent": "main"},
        "flat": {"parent": "main"},
        "roof": {"role": "production", "parent": "main"},
    }.items():
        change(database, name, MeterSettings.model_validate(settings_))
    tariffs = load(tmp_path, HOUSE_TARIFFS)
    by_hand = {
        "main": (24 * 0.30 + 12.40 / 31) * 1.19,  # the house's own contract
        "oven": 6 * 0.30 * 1.19,  # a share of it
        "flat": 12 * 0.35 + 0.20,  # a tariff of its own
        "roof": 0.24 * 0.30 * 1.19,
    }
    end = OCTOBER + DAY

    of_house = HouseEnergy(database, site.read(database), BERLIN, end, tariffs=tariffs)
    (period,) = of_house.between([OCTOBER, end])
    for name, cost in by_hand.items():
        (alone,) = energy.between(database, name, [OCTOBER, end], BERLIN, tariffs=tariffs)
        made = statement(database, name, OCTOBER, end, BERLIN, tariffs=tariffs)
        assert alone.cost == period.meters[name].cost == pytest.approx(cost), name
        assert made.total == pytest.approx(cost, abs=0.011), name
        charges = [item.name for item in made.items if item.kind == "standing"]
        assert len(charges) == (name in {"main", "flat"}), name
    assert period.cost == pytest.approx(by_hand["main"])
    (other,) = energy.between(
        database, "oven", [OCTOBER, end], BERLIN, tariffs=tariffs, tariff="tenant"
    )
    assert other.cost == pytest.approx(6 * 0.35)


def test_what_is_fed_in_is_paid_for(database: peewee.Database, tmp_path: Path) -> None:
    fill(database, OCTOBER, [0.25] * 96, [0.5] * 96)
    tariffs = load(
        tmp_path,
        "[[tariff]]\nvalid_from = 2026-01-01\nprice = 0.3\nfeed_in = 0.08\n"
        "[[tariff.tax]]\npercent = 10\n",
    )

    period = bill(database, OCTOBER, OCTOBER + DAY, tariffs)

    assert lines(period)[-1] == Line("feed_in", "feed-in", "kWh", -0.08, 48.0, -3.84)
    assert period.cost == pytest.approx(24 * 0.33 - 3.84)


# -- dynamic prices ----------------------------------------------------------------------------

SPOT = """
[[tariff]]
name = "spot"
valid_from = 2026-01-01
dynamic = true
markup = 0.1
feed_in = "dynamic"
"""


def store(database: peewee.Database, first: datetime, found: Sequence[float | None]) -> None:
    begin = int(first.timestamp())
    prices.store(
        database,
        "spot",
        {begin + n * 900: KwhPrice(p, p / 2) for n, p in enumerate(found) if p is not None},
    )


def test_dynamic_prices_price_each_quarter_hour(database: peewee.Database, tmp_path: Path) -> None:
    fill(database, OCTOBER, [0.1, 0.2, 0.3, 0.4], [1.0, 0, 0, 2.0])
    store(database, OCTOBER, [1.0, -0.5, 0.25, 0.5])

    period = bill(database, OCTOBER, OCTOBER + timedelta(hours=1), load(tmp_path, SPOT))

    energy_line, feed_in = lines(period)
    assert energy_line.amount == pytest.approx(0.1 - 0.1 + 0.075 + 0.2 + 0.1)
    assert energy_line.price == pytest.approx(0.375)
    assert feed_in.amount == pytest.approx(-1.0)


def test_energy_without_a_price_makes_the_cost_unknown(
    database: peewee.Database, tmp_path: Path
) -> None:
    fill(database, OCTOBER, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5])
    store(database, OCTOBER, [1.0, None, 1.0, None])
    tariffs = load(tmp_path, SPOT)

    hour = bill(database, OCTOBER, OCTOBER + timedelta(hours=1), tariffs)
    first = bill(database, OCTOBER, OCTOBER + timedelta(minutes=15), tariffs)

    assert hour.bill
    assert hour.bill.uncovered == pytest.approx(0.6)
    assert hour.cost is None
    assert sum(line.amount for line in lines(hour)) == pytest.approx(0.4 * 1.1)
    assert first.cost == pytest.approx(0.11)


def test_a_missing_price_of_a_time_without_consumption_does_not_matter(
    database: peewee.Database, tmp_path: Path
) -> None:
    fill(database, OCTOBER, [0.0, 0.5, 0.0, 0.5])
    store(database, OCTOBER, [None, 1.0, None, 1.0])

    period = bill(database, OCTOBER, OCTOBER + timedelta(hours=1), load(tmp_path, SPOT))

    assert period.cost == pytest.approx(1.1)


def test_another_tariff_says_what_the_same_energy_would_have_cost(
    database: peewee.Database, tmp_path: Path
) -> None:
    fill(database, OCTOBER, [0.25] * 4)
    store(database, OCTOBER, [0.3, 0.3, 0.1, 0.1])
    tariffs = load(
        tmp_path, '[meters]\n1 = "spot"\n[[tariff]]\nvalid_from = 2026-01-01\nprice = 0.5' + SPOT
    )
    hour = OCTOBER + timedelta(hours=1)

    assert bill(database, OCTOBER, hour, tariffs).cost == pytest.approx(0.3)
    assert bill(database, OCTOBER, hour, tariffs, tariff="default").cost == pytest.approx(0.5)


def test_two_tariffs_can_share_a_list_of_prices(database: peewee.Database, tmp_path: Path) -> None:
    fill(database, OCTOBER, [1.0])
    store(database, OCTOBER, [0.5])
    text = SPOT.replace('"spot"', '"other"').replace("true", '"spot"').replace("0.1", "0.25")

    assert bill(database, OCTOBER, OCTOBER + DAY, load(tmp_path, text)).cost == pytest.approx(0.75)


def test_hours_without_quarter_hours_are_spread_evenly(
    database: peewee.Database, tmp_path: Path
) -> None:
    fill(database, OCTOBER, [0.1, 0.2, 0.3, 0.401])
    store(database, OCTOBER, [1.0, 2.0, 3.0, 4.0])
    run(database, "DELETE FROM rollup WHERE level < 60")

    period = bill(
        database, OCTOBER, OCTOBER + timedelta(hours=1), load(tmp_path, SPOT.replace("0.1", "0"))
    )

    assert period.cost == pytest.approx(0.25 * 10, abs=0.01)
    assert lines(period)[0].quantity == 1.001


# -- what always holds -------------------------------------------------------------------------

TARIFFS = """
[[tariff]]
name = "windows"
valid_from = 2026-01-01
price = 0.3
feed_in = 0.05
[[tariff.window]]
from = "21:30"
to = "02:15"
days = ["sat", "sun", "mon"]
price = 0.1
[[tariff.standing]]
per = "month"
price = 10
[[tariff]]
name = "windows"
valid_from = 2026-03-29
price = 0.4
[[tariff.window]]
from = "00:00"
to = "03:00"
price = 0.2
[[tariff.tax]]
percent = 7

[[tariff]]
name = "tiers"
valid_from = 2026-03-20
price = 0.5
[[tariff.tier]]
up_to = 3
per = "month"
price = 0.2
[[tariff.tier]]
up_to = 30
per = "month"
price = 0.3
[[tariff.tax]]
per_kwh = 0.01

[[tariff]]
name = "spot"
valid_from = 2026-01-01
dynamic = true
feed_in = "dynamic"
markup = 0.02
[[tariff.standing]]
per = "year"
price = 100
"""
CHANGE = {
    BERLIN: datetime(2026, 3, 29, 1, tzinfo=UTC),
    KOLKATA: datetime(2026, 3, 29, 1, tzinfo=UTC),
    LORD_HOWE: datetime(2026, 4, 4, 15, tzinfo=UTC),
    UTC_ZONE: datetime(2026, 4, 1, tzinfo=UTC),
}


@st.composite
def days_around_a_change(draw: st.DrawFn) -> tuple[ZoneInfo, list[Reading], int]:
    zone = draw(st.sampled_from([*CHANGE]))
    seed = draw(st.integers(0, 10_000))
    chance, start = Random(seed), CHANGE[zone] - timedelta(hours=30)
    readings, imported, exported, at_s = [], 0, 0, 0.0
    while at_s < 60 * 3600:
        imported += chance.choice([0, 1, 250, 3000])
        exported += chance.choice([0, 0, 400])
        if chance.random() < 0.01:
            imported = 0
        values = {"energy": imported / 1000, "energy_export": exported / 1000}
        readings.append(Reading("1", start + timedelta(seconds=at_s), values))
        at_s += chance.choice([30, 600, 900, 5000])
    return zone, readings, seed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(case=days_around_a_change(), name=st.sampled_from(["windows", "tiers", "spot"]))
def test_quarter_hours_add_up_to_every_longer_period(
    database: peewee.Database,
    tmp_path: Path,
    case: tuple[ZoneInfo, list[Reading], int],
    name: str,
) -> None:
    zone, readings, seed = case
    for table in set(TABLES) - {"quantities"}:
        run(database, f"DELETE FROM {table}")
    Writer(database).write(readings)
    if seed % 2:
        assert Rollups(database).run(ALL)
    chance = Random(seed)
    first = int(readings[0].ts.timestamp()) // 900 * 900
    known = {first + n * 900: KwhPrice(chance.random(), chance.random()) for n in range(300)}
    prices.store(database, "spot", known)
    tariffs = load(tmp_path, TARIFFS)
    days = edges(Unit.DAY, readings[0].ts, readings[-1].ts, zone)

    def found(unit: Unit) -> list[energy.Period]:
        moments = sorted({*edges(unit, days[0], days[-1], zone), days[0], days[-1]})
        moments = [moment for moment in moments if days[0] <= moment <= days[-1]]
        return energy.between(database, "1", moments, zone, tariffs=tariffs, tariff=name)

    quarters = found(Unit.QUARTER_HOUR)
    for unit in Unit:
        for period in found(unit):
            begin, end = period.start.timestamp(), period.end.timestamp()
            parts = [q for q in quarters if begin <= q.start.timestamp() < end]
            for figure in ("imported", "exported"):
                values = [v for v in (getattr(q, figure) for q in parts) if v is not None]
                expected = sum(values) if values else None
                assert getattr(period, figure) == pytest.approx(expected, abs=1e-9)
            assert amounts([period]) == pytest.approx(amounts(parts), abs=1e-9)
            assert period.bill
            assert period.bill.uncovered == pytest.approx(
                sum(q.bill.uncovered for q in parts if q.bill)
            )


def amounts(found: Sequence[energy.Period]) -> dict[tuple[str, str], float]:
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for period in found:
        for line in lines(period):
            sums[line.kind, line.name] += line.amount
    return dict(sums)


def test_a_month_of_a_household_is_as_computed_by_hand(
    database: peewee.Database, tmp_path: Path
) -> None:
    """October in Berlin, with an hour twice, a gap, a reset, solar power and all kinds of lines."""
    readings = household_month()
    Writer(database).write(readings[:-37])
    assert Rollups(database).run(ALL)
    Writer(database).write(readings[-37:])
    known = spot_prices()
    prices.store(database, "spot", {q: KwhPrice(p) for q, p in known.items()})
    tariffs = load(tmp_path, HOUSEHOLD)

    for name, price_of in (("day-night", day_night), ("spot", lambda ts: spot(known, ts))):
        expected = by_hand(readings, price_of)
        for unit in (Unit.QUARTER_HOUR, Unit.HOUR, Unit.DAY, Unit.WEEK, Unit.MONTH):
            found = energy.periods(
                database, "1", unit, OCTOBER, NOVEMBER, BERLIN, tariffs=tariffs, tariff=name
            )
            check_periods(found, expected)


HOUSEHOLD = """
[[tariff]]
name = "day-night"
valid_from = 2026-01-01
price = 0.34
feed_in = 0.081
[[tariff.window]]
from = "22:00"
to = "06:00"
price = 0.27

[[tariff]]
name = "spot"
valid_from = 2026-01-01
dynamic = true
feed_in = 0.081
markup = 0.17
"""
Steps = list[tuple[float, int, int, float]]


def household_month() -> list[Reading]:
    """A reading each minute: standby, a fridge, cooking in the evening, a roof full of sun."""
    chance, readings, imported, exported = Random(2026), [], 4_711_000, 1_200_000
    minutes = (NOVEMBER - OCTOBER) // timedelta(minutes=1)
    for minute in range(-1, minutes):
        ts = OCTOBER + timedelta(minutes=minute, seconds=chance.random() * 50)
        local = ts.astimezone(BERLIN)
        load = 120 + 90 * (minute % 40 < 12) + chance.random() * 60
        load += 2400 * (17 <= local.hour < 20 and chance.random() < 0.3)
        sun = max(0.0, 1 - abs(local.hour + local.minute / 60 - 13) / 5) * 3000 * chance.random()
        imported += round(max(load - sun, 0) / 60)
        exported += round(max(sun - load, 0) / 60)
        if minute == 20_000:
            imported = 0  # the counter of the import is reset
        if 9_000 <= minute < 9_400:
            continue  # nothing is read
        values = {"energy": imported / 1000, "energy_export": exported / 1000}
        readings.append(Reading("1", ts, values))
    return readings


def spot_prices() -> dict[int, float]:
    chance, first = Random(7), int(OCTOBER.timestamp())
    return {
        first + n * 900: round(chance.gauss(0.09, 0.06), 5)
        for n in range((NOVEMBER - OCTOBER) // timedelta(minutes=15))
    }


def day_night(ts: datetime) -> float:
    return 0.34 if 6 <= ts.astimezone(BERLIN).hour < 22 else 0.27


def spot(known: dict[int, float], ts: datetime) -> float:
    return known[int(ts.timestamp()) // 900 * 900] + 0.17


def by_hand(readings: Sequence[Reading], price_of: object) -> Steps:
    """Return time, import, export (thousandths) and cost of each reading since the one before."""
    steps: Steps = []
    for before, after in pairwise(readings):
        old, new = ((round(r.values["energy"] * 1000)) for r in (before, after))
        drawn = new - old if new >= old else new
        fed = round((after.values["energy_export"] - before.values["energy_export"]) * 1000)
        cost = drawn / 1000 * price_of(after.ts) - fed / 1000 * 0.081  # type: ignore[operator]
        steps.append((after.ts.timestamp(), drawn, fed, cost))
    return steps


def check_periods(found: Sequence[energy.Period], steps: Steps) -> None:
    ends = [period.end.timestamp() for period in found]
    sums = [[0, 0, 0.0] for _ in found]
    number, place = [0] * len(found), 0
    for ts, drawn, fed, cost in steps:
        while ts >= ends[place]:
            place += 1
        if ts >= found[0].start.timestamp():
            number[place] += 1
            for n, value in enumerate((drawn, fed, cost)):
                sums[place][n] += value
    for period, count, (drawn, fed, cost) in zip(found, number, sums, strict=True):
        if not count:
            assert (period.imported, period.exported, period.cost) == (None, None, None)
            continue
        assert period.imported == drawn / 1000
        assert period.exported == fed / 1000
        assert period.cost == pytest.approx(cost, abs=1e-9)
