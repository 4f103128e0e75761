"""Counters that began again at 0, found in the roll-ups."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import peewee
import pytest

from contract.readings import Reading
from contract.times import epoch_ms
from history.readings_table import Writer
from history.resets import Reset, resets
from history.retention import Keep, Retention
from history.rollups.replacements import replace_meter
from history.rollups.rollups import Rollups
from history.tables import read_meters
from tests.support.histories import ALL, NEW_YEAR
from tests.support.postgresql import BOTH

DATABASES = BOTH
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def store(database: peewee.Database, values: Sequence[float], begin: datetime = NEW_YEAR) -> None:
    """Store a reading every ten minutes, whose export never counts."""
    Writer(database).write(
        Reading("1", begin + 10 * MINUTE * place, {"energy_import": value, "energy_export": 0.0})
        for place, value in enumerate(values)
    )
    assert Rollups(database).run(ALL)


def found(database: peewee.Database, begin: datetime, end: datetime) -> list[Reset]:
    return resets(database, read_meters(database), epoch_ms(begin), epoch_ms(end))


def counting(since: float, number: int) -> Iterator[float]:
    return (round(since + 0.1 * place, 3) for place in range(number))


@pytest.mark.parametrize(
    ("keep", "width"), [(None, 5 * MINUTE), (Keep(raw=1, five_minutes=2), 15 * MINUTE)]
)
def test_a_counter_that_begins_again_is_found_as_exactly_as_it_is_kept(
    database: peewee.Database, keep: Keep | None, width: timedelta
) -> None:
    store(database, [*counting(500, 200), *counting(0.05, 800)])
    if keep:
        list(Retention(database, keep).steps((NEW_YEAR + 30 * DAY).timestamp()))
    at = NEW_YEAR + 200 * 10 * MINUTE

    (reset,) = found(database, NEW_YEAR, NEW_YEAR + 7 * DAY)

    assert (reset.meter_id, reset.before) == ("1", 519.9)
    assert reset.begin <= at < reset.end
    assert reset.end - reset.begin == width
    assert found(database, NEW_YEAR, at - HOUR) == []
    assert found(database, at + HOUR, NEW_YEAR + 7 * DAY) == []


@pytest.mark.parametrize(
    "values",
    [
        [*counting(0, 300)],
        [*counting(500, 200), *counting(519, 200)],
        [0.0] * 300,
        [*counting(500, 100), *[509.9] * 200],
    ],
    ids=["begins at 0", "steps back a little", "never counts", "stands still"],
)
def test_a_counter_that_goes_on_is_no_reset(
    database: peewee.Database, values: Sequence[float]
) -> None:
    store(database, values)

    assert found(database, NEW_YEAR, NEW_YEAR + 7 * DAY) == []


def test_a_counter_that_stays_at_0_has_begun_again(database: peewee.Database) -> None:
    store(database, [*counting(500, 100), *[0.0] * 100])

    assert [each.before for each in found(database, NEW_YEAR, NEW_YEAR + 7 * DAY)] == [509.9]


def test_a_replaced_meter_is_no_reset(database: peewee.Database) -> None:
    store(database, [*counting(500, 200), *counting(0.05, 200)])
    replace_meter(database, "1", NEW_YEAR + 200 * 10 * MINUTE - MINUTE, {}, {})
    assert Rollups(database).run(ALL)

    assert found(database, NEW_YEAR, NEW_YEAR + 7 * DAY) == []


def test_a_reset_of_a_day_that_is_not_over_is_found(database: peewee.Database) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    begin = now - 3 * HOUR
    Writer(database).write([Reading("1", begin, {"energy_import": 500.0})])
    assert Rollups(database).run(ALL)
    store(database, [500.5, 501, 0.5, 1], begin + 10 * MINUTE)

    (reset,) = found(database, now - DAY, now)

    assert reset.before == 501
    assert reset.begin <= begin + 30 * MINUTE < reset.end
