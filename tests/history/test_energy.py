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
