"""Energy: each answer is checked against the readings themselves."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import peewee
import pytest

from contract.readings import Reading
from history import energy
from history.periods import Unit
from history.readings_table import Writer
from history.retention import Keep, Retention
from tests.support.histories import BERLIN, KOLKATA, NEW_YEAR, fill, wave
from tests.support.postgresql import BOTH

DATABASES = BOTH


def test_energy_of_a_period_is_its_last_counter_less_the_last_before(
    database: peewee.Database,
) -> None:
    readings = fill(database, datetime(2026, 3, 27, 3, tzinfo=UTC), 24 * 4, power=wave)

    for zone, unit in product((BERLIN, KOLKATA), Unit):
        found = energy.periods(database, "1", unit, readings[0].ts, readings[-1].ts, zone)
        check_energy(found, readings)


def check_energy(found: Sequence[energy.Period], readings: Sequence[Reading]) -> None:
    before = readings[0].values["energy"]
    for period in found:
        inside = [r.values["energy"] for r in readings if r.ts.timestamp() < period.end.timestamp()]
        assert period.imported == pytest.approx(inside[-1] - before, abs=1e-6)
        before = inside[-1]
    assert before == readings[-1].values["energy"]


def test_days_of_23_and_25_hours_have_their_energy(database: peewee.Database) -> None:
    fill(database, datetime(2026, 3, 27, tzinfo=BERLIN), 24 * 5, every_s=900)

    days = energy.periods(
        database,
        "1",
        Unit.DAY,
        datetime(2026, 3, 28, tzinfo=BERLIN),
        datetime(2026, 3, 31, tzinfo=BERLIN),
        BERLIN,
    )

    assert [day.imported for day in days] == pytest.approx([14.4, 13.8, 14.4])
    assert [day.start.hour for day in days] == [0, 0, 0]


def test_a_period_without_readings_has_no_energy(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 24)

    days = energy.periods(
        database, "1", Unit.DAY, NEW_YEAR, NEW_YEAR + timedelta(days=3), ZoneInfo("UTC")
    )

    assert [day.imported is None for day in days] == [False, True, True]
    assert all(day.exported is None and day.cost is None for day in days)


def test_sums_stay_exact_where_five_minutes_are_deleted(database: peewee.Database) -> None:
    readings = fill(database, NEW_YEAR, 24 * 20, every_s=1800, power=wave)
    now = (NEW_YEAR + timedelta(days=20)).timestamp()
    list(Retention(database, Keep(raw=5, five_minutes=10)).steps(now))

    days = energy.periods(database, "1", Unit.DAY, readings[0].ts, readings[-1].ts, KOLKATA)

    total = readings[-1].values["energy"] - readings[0].values["energy"]
    assert sum(day.imported or 0 for day in days) == pytest.approx(total, abs=1e-6)


def test_the_running_day_stands_beside_the_day_before_at_the_same_time(
    database: peewee.Database,
) -> None:
    fill(database, NEW_YEAR, 24 * 3, every_s=300)
    now = NEW_YEAR + timedelta(days=2, hours=9)

    compared = energy.compare(database, "1", Unit.DAY, now, ZoneInfo("UTC"))

    assert compared.now.imported == pytest.approx(5.4)
    assert compared.before_so_far.imported == pytest.approx(5.4)
    assert compared.before.imported == pytest.approx(14.4)
    assert compared.before_so_far.end == NEW_YEAR + timedelta(days=1, hours=9)


def test_the_last_of_march_compares_with_the_whole_of_february(database: peewee.Database) -> None:
    fill(database, datetime(2026, 1, 30, tzinfo=UTC), 24 * 65, every_s=4 * 3600)

    compared = energy.compare(
        database, "1", Unit.MONTH, datetime(2026, 3, 31, 12, tzinfo=UTC), ZoneInfo("UTC")
    )

    assert compared.before_so_far == compared.before


def test_what_was_read_since_the_last_roll_up_is_in_every_answer(
    database: peewee.Database,
) -> None:
    readings = fill(database, NEW_YEAR, 24 + 9, every_s=300)
    later = [
        Reading("1", readings[-1].ts + timedelta(seconds=10 * n), {"energy": counter(readings, n)})
        for n in range(1, 61)
    ]
    Writer(database).write(later)
    first = [readings[0].values["energy"]]
    now = later[-1].ts - timedelta(seconds=30)  # the device's clock is ahead

    for unit in Unit:
        shown = energy.periods(database, "1", unit, now, now, ZoneInfo("UTC"))[-1]
        running = energy.compare(database, "1", unit, now, ZoneInfo("UTC")).now
        before = [r.values["energy"] for r in (*readings, *later) if r.ts < shown.start]
        assert shown.imported == running.imported
        assert running.imported == pytest.approx(
            later[-1].values["energy"] - (before or first)[-1], abs=1e-6
        )


def counter(readings: Sequence[Reading], n: int) -> float:
    return round(readings[-1].values["energy"] + n * 0.004, 3)


def test_a_meter_that_sends_only_energy_import_has_consumption(database: peewee.Database) -> None:
    Writer(database).write(
        Reading("1", NEW_YEAR + timedelta(hours=n), {"energy_import": n / 2, "energy_export": n})
        for n in range(25)
    )

    (day,) = energy.periods(database, "1", Unit.DAY, NEW_YEAR, NEW_YEAR, ZoneInfo("UTC"))

    assert (day.imported, day.exported) == (11.5, 23)


def test_the_comparison_is_exact_to_the_second(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 25, every_s=10, power=lambda _: 3600.0)
    now = NEW_YEAR + timedelta(days=1, minutes=33, seconds=20)

    compared = energy.compare(database, "1", Unit.DAY, now, ZoneInfo("UTC"))

    assert compared.now.imported == pytest.approx(2.0)
    assert compared.before_so_far.imported == pytest.approx(1.99)  # the first reading counts 0
