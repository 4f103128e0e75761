"""The peak and the base load, checked against the readings themselves."""

from datetime import datetime, timedelta

import peewee
import pytest

from contract.readings import Reading
from history import load_curve as load
from history.readings_table import Writer
from history.retention import Keep, Retention
from tests.support.histories import NEW_YEAR, fill, wave
from tests.support.postgresql import BOTH

DATABASES = BOTH


@pytest.mark.parametrize(("kept", "exact_to_s"), [(0, 0), (5, 300), (2, 900)])
def test_the_peak_is_found_with_its_time(
    database: peewee.Database, kept: int, exact_to_s: int
) -> None:
    top = NEW_YEAR + timedelta(days=2, hours=7, minutes=20)
    fill(database, NEW_YEAR, 24 * 8, 1200, power=lambda ts: 5000.0 if ts == top else wave(ts))
    keep = {0: Keep(raw=0), 5: Keep(raw=2), 2: Keep(raw=1, five_minutes=2)}[kept]
    list(Retention(database, keep).steps((NEW_YEAR + timedelta(days=8)).timestamp()))

    found = load.peak(database, "1", "power", NEW_YEAR, NEW_YEAR + timedelta(days=7))

    assert found is not None
    assert (found.value, found.exact_to_s) == (5000.0, exact_to_s)
    assert found.ts <= top < found.ts + timedelta(seconds=max(exact_to_s, 1))


def test_the_peak_of_what_is_not_rolled_up_yet_is_found(database: peewee.Database) -> None:
    values = [(0, 5.0), (60, 9.0), (120, 9.0)]
    Writer(database).write(
        [Reading("1", NEW_YEAR + timedelta(seconds=s), {"power": p}) for s, p in values]
    )

    found = load.peak(database, "1", "power", NEW_YEAR, NEW_YEAR + timedelta(days=1))

    assert found == load.Peak(9.0, NEW_YEAR + timedelta(seconds=60), 0)


def test_a_peak_that_is_not_rolled_up_yet_is_found_among_older_ones(
    database: peewee.Database,
) -> None:
    fill(database, NEW_YEAR, 24, power=wave)
    late = NEW_YEAR + timedelta(hours=5, seconds=7)
    Writer(database).write([Reading("1", late, {"power": 5000.0})])

    found = load.peak(database, "1", "power", NEW_YEAR, NEW_YEAR + timedelta(days=1))

    assert found == load.Peak(5000.0, late, 0)


def test_the_base_load_includes_what_is_not_rolled_up_yet(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 24, power=lambda _: 500.0)
    later = [
        Reading("1", NEW_YEAR + timedelta(hours=24, minutes=n), {"power": 50.0 + 10 * (n % 5)})
        for n in range(600)
    ]
    Writer(database).write(later)

    assert load.base_load(database, "1", NEW_YEAR, NEW_YEAR + timedelta(hours=34)) == 70.0


def test_the_base_load_is_what_stays_on(database: peewee.Database) -> None:
    def fridge_and_stove(ts: datetime) -> float:
        return -800.0 if 11 <= ts.hour < 15 else 2500.0 if ts.hour == 18 else 80.0

    fill(database, NEW_YEAR, 24 * 3, power=fridge_and_stove)

    assert load.base_load(database, "1", NEW_YEAR, NEW_YEAR + timedelta(days=3)) == 80.0
    assert load.base_load(database, "nobody", NEW_YEAR, NEW_YEAR + timedelta(days=3)) is None
