"""Readings of the utility's meter: what ours has counted more or less since the one before."""

from datetime import datetime, timedelta

import peewee
import pytest

from contract.meter_settings import Billing, MeterSettings
from contract.readings import Reading
from history.errors import StorageError
from history.meter_settings import change
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.replacements import replace_meter
from history.rollups.rollups import Rollups
from history.utility_readings import Comparison, UtilityReading, comparisons, enter, remove
from tests.support.histories import ALL, NEW_YEAR, fill
from tests.support.postgresql import BOTH

DATABASES = BOTH
HOUR = timedelta(hours=1)


def enter_at(
    database: peewee.Database, hours: float, value: float, *, exported: bool = False
) -> datetime:
    ts = NEW_YEAR + hours * HOUR
    enter(database, UtilityReading("1", ts, value, exported))
    return ts


def drifts(database: peewee.Database) -> list[float | None]:
    return [each.drift for each in comparisons(database, "1")]


def test_the_drift_is_what_our_meter_has_counted_more_since_the_entry_before(
    database: peewee.Database,
) -> None:
    fill(database, NEW_YEAR, 24 * 10)  # 0.6 kWh an hour, from 1000.1 on
    first = enter_at(database, 1, 50_000)
    enter_at(database, 101, 50_059)  # ours has counted 60
    enter_at(database, 201, 50_119.5)

    found = comparisons(database)

    assert [each.since for each in found[:2]] == [None, first]
    assert [each.by_utility for each in found] == [None, 59, 60.5]
    assert [each.by_meter for each in found] == [None, 60, 60]
    assert [each.drift for each in found] == [None, 1, -0.5]
    assert found[1].drift_percent == pytest.approx(100 / 59)
    assert found[1].counter == pytest.approx(1000.1 + 0.6 * 101, abs=0.001)
    assert found[1].measured_at == found[1].reading.ts


def test_the_order_of_entries_does_not_matter_and_one_can_be_put_right(
    database: peewee.Database,
) -> None:
    fill(database, NEW_YEAR, 48)
    for hours, value in ((40, 124.0), (10, 106), (20, 11), (20, 112)):
        enter_at(database, hours, value)

    assert drifts(database) == [None, 0, 0]


def test_an_entry_that_is_removed_is_compared_no_more(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 48)
    times = [enter_at(database, hours, 100 + hours * 0.6) for hours in (10, 20, 40)]

    assert not remove(database, "1", times[1], exported=True)
    assert remove(database, "1", times[1], exported=False)
    assert not remove(database, "1", times[1], exported=False)

    assert [each.by_utility for each in comparisons(database)] == [None, 18]


def test_the_comparison_outlives_the_readings(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 24 * 10)
    for day in (1, 2, 9):
        enter_at(database, day * 24 + 0.27, 100 + day * 14)
    before = comparisons(database)

    keep = Keep(raw=2, five_minutes=3)
    list(Retention(database, keep).steps((NEW_YEAR + timedelta(days=10)).timestamp()))

    after = comparisons(database)
    assert [each.drift for each in after] == [each.drift for each in before]
    assert [each.counter for each in after] == pytest.approx(
        [each.counter for each in before], abs=0.15
    )


def test_a_meter_that_was_replaced_goes_on(database: peewee.Database) -> None:
    sent = fill(database, NEW_YEAR, 10)
    new = [
        Reading("1", NEW_YEAR + hour * HOUR, {"energy": round((hour - 10) * 0.6, 3)})
        for hour in range(10, 20)
    ]
    Writer(database).write(new)
    replace_meter(database, "1", new[0].ts, {"energy": sent[-1].values["energy"]}, {"energy": 0})
    assert Rollups(database).run(ALL)
    enter_at(database, 5, 100)
    enter_at(database, 15, 106)

    assert drifts(database) == [None, -0.1]  # ten minutes pass until the new meter counts


def test_import_and_export_are_compared_each_with_its_own_counter(
    database: peewee.Database,
) -> None:
    readings = [
        Reading("1", NEW_YEAR + n * HOUR, {"energy_import": n * 2.0, "energy_export": n * 1.0})
        for n in range(11)
    ]
    Writer(database).write(readings)
    assert Rollups(database).run(ALL)
    for hours in (0, 10):
        enter_at(database, hours, 500 + hours * 2)
        enter_at(database, hours, 70 + hours * 1.5, exported=True)

    found = {each.reading.exported: each for each in comparisons(database) if each.since}

    assert (found[False].by_meter, found[False].drift) == (20, 0)
    assert (found[True].by_meter, found[True].drift) == (10, -5)


def test_a_netted_bill_is_compared_with_netted_counters(database: peewee.Database) -> None:
    readings = [
        Reading("1", NEW_YEAR + n * HOUR, {"energy_import": n * 2.0, "energy_export": n * 0.5})
        for n in range(11)
    ]
    Writer(database).write(readings)
    assert Rollups(database).run(ALL)
    change(database, "1", MeterSettings(billing=Billing.NETTED))
    enter_at(database, 0.5, 100)
    enter_at(database, 9.5, 113.5)

    assert drifts(database) == [None, 0]
    assert comparisons(database)[1].counter == 18  # what the meter itself shows


def test_nothing_is_compared_that_our_meter_has_not_seen(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 24)
    enter_at(database, -5, 97)
    enter_at(database, 10, 106)
    enter_at(database, 20, 12)  # another meter of the utility
    enter_at(database, 22, 13.2)

    before, first, lower, last = comparisons(database)

    assert (before.counter, before.measured_at) == (None, None)
    assert (first.by_utility, first.by_meter, first.drift) == (9, None, None)
    assert (lower.by_utility, lower.drift) == (None, None)
    assert last.drift == 0


def test_an_entry_needs_a_meter_with_history(database: peewee.Database) -> None:
    entry = UtilityReading("9", NEW_YEAR, 1)

    with pytest.raises(StorageError, match="meter 9: has no history"):
        enter(database, entry)
    with pytest.raises(StorageError, match="meter 9: has no history"):
        remove(database, "9", NEW_YEAR, exported=False)
    assert comparisons(database) == []


def test_the_drift_of_nothing_has_no_percentage() -> None:
    comparison = Comparison(UtilityReading("1", NEW_YEAR, 5), by_utility=0, by_meter=0.5)

    assert (comparison.drift, comparison.drift_percent) == (0.5, None)
