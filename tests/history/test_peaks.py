"""Demand by the quarter-hour: its maximum in each month, and the running one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import peewee
import pytest

from contract.meter_settings import Billing, MeterSettings
from contract.readings import Reading
from contract.times import epoch_ms
from history import peaks
from history.meter_settings import change
from history.peaks import Demand, RunningQuarter
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from tests.support.histories import BERLIN
from tests.support.postgresql import BOTH

DATABASES = BOTH
ALL = float("inf")
START = datetime(2026, 10, 30, 23, tzinfo=UTC)  # midnight in Berlin
QUARTER = timedelta(minutes=15)


def fill(
    database: peewee.Database,
    hours: float,
    power: Callable[[datetime], float],
    *,
    names: tuple[str, ...] = ("energy", "power"),
    rolled_up: bool = True,
    every_s: int = 60,
) -> list[Reading]:
    counter, readings = 5000.0, []
    for n in range(int(hours * 3600 / every_s)):
        ts = START + timedelta(seconds=n * every_s + 1)
        counter += power(ts) * every_s / 3_600_000
        values = {"energy": round(counter, 3), "power": power(ts)}
        readings.append(Reading("1", ts, {name: values[name] for name in names}))
    Writer(database).write(readings)
    if rolled_up:
        assert Rollups(database).run(ALL)
    return readings


def cooking(ts: datetime) -> float:
    """Return 300 W; from 18:00 to 18:30 on 31 October 3 kW, on 1 November 6 kW."""
    local = ts.astimezone(BERLIN)
    if local.hour != 18 or local.minute >= 30 or local.day == 2:
        return 300.0
    return 6000.0 if local.month == 11 else 3000.0


def test_the_highest_demand_of_each_month_comes_with_its_time(database: peewee.Database) -> None:
    fill(database, 24 * 3, cooking)

    october, november = peaks.months(database, "1", START, START + timedelta(days=3), BERLIN)

    assert (october.highest, november.highest) == (
        Demand(datetime(2026, 10, 31, 18, tzinfo=BERLIN), pytest.approx(3000, abs=12)),
        Demand(datetime(2026, 11, 1, 18, tzinfo=BERLIN), pytest.approx(6000, abs=12)),
    )
    assert november.start == datetime(2026, 11, 1, tzinfo=BERLIN)


def test_demand_includes_what_was_read_since_the_last_roll_up(database: peewee.Database) -> None:
    fill(database, 20, cooking, rolled_up=False, every_s=300)

    (month,) = peaks.months(database, "1", START, START, BERLIN)

    assert month.highest
    assert month.highest.power == pytest.approx(3000, abs=12)


def test_what_was_counted_in_a_gap_is_no_peak(database: peewee.Database) -> None:
    readings = fill(database, 2, lambda _: 500.0, rolled_up=False)
    later = readings[-1].ts + timedelta(hours=3)
    Writer(database).write(
        Reading("1", later + timedelta(minutes=n), {"energy": 5050 + n / 100}) for n in range(40)
    )
    assert Rollups(database).run(ALL)

    (month,) = peaks.months(database, "1", START, START, BERLIN)

    assert month.highest
    assert month.highest.power == pytest.approx(600, abs=13)


def test_a_meter_that_sends_power_alone_has_the_mean_of_its_power(
    database: peewee.Database,
) -> None:
    fill(database, 3, lambda ts: 1000.0 if ts < START + 5 * QUARTER else 400.0, names=("power",))

    (month,) = peaks.months(database, "1", START, START, BERLIN)

    assert month.highest == Demand(START + QUARTER, 1000.0)


@pytest.mark.parametrize("names", [("power",), ("energy",)])
def test_the_running_quarter_hour_has_no_demand_yet(
    database: peewee.Database, names: tuple[str, ...]
) -> None:
    """A kettle at the beginning of a quarter-hour is no mean of the whole of it."""
    begin = START + 4 * QUARTER
    fill(database, 62 / 60, lambda ts: 9000.0 if ts >= begin else 500.0, names=names, every_s=10)

    (month,) = peaks.months(database, "1", START, START, BERLIN, now=begin + timedelta(minutes=2))

    assert month.highest
    assert month.highest.power < 1000


def test_a_meter_without_history_has_no_peak(database: peewee.Database) -> None:
    (month,) = peaks.months(database, "1", START, START, BERLIN)

    assert month.highest is None
    assert peaks.running(database, "1", START) is None


# -- the running quarter-hour ------------------------------------------------------------------


@pytest.mark.parametrize("names", [("energy", "power"), ("power",), ("energy",)])
def test_the_running_quarter_hour_is_projected_from_what_was_counted_and_the_power_now(
    database: peewee.Database, names: tuple[str, ...]
) -> None:
    begin = START + 4 * QUARTER
    fill(
        database,
        70 / 60,
        lambda ts: 1000.0 if ts < begin + timedelta(minutes=5) else 4000.0,
        names=names,
        every_s=10,
    )

    running = peaks.running(database, "1", begin + timedelta(minutes=10))

    assert running
    assert running.start == begin
    assert running.measured_until == begin + timedelta(minutes=9, seconds=51)
    assert running.so_far == pytest.approx(2500, rel=0.02)
    if "power" in names:
        assert running.projected == pytest.approx(3000, rel=0.02)
    else:
        assert running.projected == pytest.approx(2500, rel=0.02)


def test_before_its_first_reading_a_quarter_hour_is_not_there(database: peewee.Database) -> None:
    fill(database, 1, lambda _: 1000.0)

    assert peaks.running(database, "1", START + 4 * QUARTER) is None


def test_readings_one_by_one_complete_the_demands_of_the_history(
    database: peewee.Database,
) -> None:
    chance = Random(3)
    readings = fill(database, 10, lambda _: chance.choice([100.0, 2000.0, 7000.0]), every_s=30)

    quarter, demands = RunningQuarter(), []
    for reading in readings:
        wh = round(reading.values["energy"] * 1000)
        demands.append(quarter.add(epoch_ms(reading.ts), [wh], reading.values["power"]))

    found = [demand for demand in demands if demand]
    (month,) = peaks.months(database, "1", START, START, BERLIN)
    best = max(found, key=lambda demand: demand.power)
    assert len(found) == 38  # not the first quarter-hour, and not the running one
    assert month.highest == best


def test_a_quarter_hour_after_a_gap_begins_with_its_first_reading() -> None:
    quarter = RunningQuarter()
    begin = epoch_ms(START)
    quarter.add(begin, [1000])
    quarter.add(begin + 10 * 900_000 + 300_000, [9000])
    quarter.add(begin + 10 * 900_000 + 600_000, [9100])

    running = quarter.state()

    assert running
    assert running.so_far == pytest.approx(1200)
    assert running.projected == pytest.approx((100 + 100) * 4)
    assert quarter.add(begin + 11 * 900_000, [9200]) is None
    assert quarter.add(begin + 11 * 900_000, [9999]) is None  # not newer


def test_demand_is_netted_where_the_bill_is(database: peewee.Database) -> None:
    names = ("energy_import", "energy_export")
    Writer(database).write(
        Reading(
            "1",
            START + timedelta(minutes=n, seconds=59),
            dict(zip(names, (n / 10, n / 40), strict=True)),
        )
        for n in range(70)
    )
    assert Rollups(database).run(ALL)
    change(database, "1", MeterSettings(billing=Billing.NETTED))

    (month,) = peaks.months(database, "1", START, START, BERLIN)
    running = peaks.running(database, "1", START + 5 * QUARTER - timedelta(minutes=5))

    assert month.highest
    assert month.highest.power == pytest.approx(4500)  # 6 kW drawn, 1.5 kW fed in
    assert running
    assert running.projected == pytest.approx(4500, rel=0.01)
