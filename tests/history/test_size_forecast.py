"""The size of the history by level, and from when on each of them has anything."""

from datetime import timedelta

import peewee
import pytest

from history.retention import Keep, Retention
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, QUARTER_HOUR, RAW
from history.size_forecast import YEAR_DAYS, begins, in_a_year, level_sizes
from tests.support.histories import NEW_YEAR, fill
from tests.support.postgresql import BOTH

DATABASES = BOTH


def test_each_level_has_its_rows_and_begins_with_its_first_reading(
    database: peewee.Database,
) -> None:
    first = NEW_YEAR + timedelta(hours=10, minutes=7)
    fill(database, first, 24 * 10, every_s=600)
    keep = Keep(raw=2, five_minutes=4)
    list(Retention(database, keep).steps((NEW_YEAR + timedelta(days=10)).timestamp()))

    levels = {each.level: each for each in level_sizes(database, keep)}

    assert {level: each.first for level, each in levels.items()} == {
        RAW: NEW_YEAR + timedelta(days=8, minutes=7),
        FIVE_MINUTES: NEW_YEAR + timedelta(days=6, minutes=5),
        QUARTER_HOUR: first,
        HOUR: first,
        DAY: first,
    }
    assert levels[QUARTER_HOUR].rows == 2 * 10 * 96
    assert [each.kept_days for each in levels.values()] == [2, 4, 0, 0, 0]


@pytest.mark.parametrize(
    ("keep", "days"),
    [(Keep(raw=2), 0), (Keep(raw=2, five_minutes=4, quarter_hour=4, hour=5, day=6), 4)],
)
def test_the_history_begins_with_what_is_left_of_it(
    database: peewee.Database, keep: Keep, days: int
) -> None:
    fill(database, NEW_YEAR, 24 * 10, every_s=600)
    list(Retention(database, keep).steps((NEW_YEAR + timedelta(days=10)).timestamp()))

    assert begins(level_sizes(database, keep)) == NEW_YEAR + timedelta(days=days)


def test_a_year_of_quarter_hours_is_in_the_forecast(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 24 * 10, every_s=600)

    levels = level_sizes(database, Keep(raw=2, five_minutes=4))

    quarters = next(each for each in levels if each.level == QUARTER_HOUR)
    assert quarters.in_a_year > quarters.daily * YEAR_DAYS > 0
    assert in_a_year(levels)[0] > quarters.in_a_year
