"""Writing readings: each written reading is read once, under any failure."""

from datetime import UTC, datetime, timedelta

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.quantities import QUANTITIES
from contract.readings import Reading
from history import queries, readings_table
from history.dialect import Row, fetch
from history.readings_table import MOST_REJECTED, ROWS, Rejected, Writer

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
any_values = st.fixed_dictionaries(
    {},
    optional={
        q.name: st.floats(q.kind.lowest, q.kind.highest).map(lambda value: round(value, 3))
        for q in QUANTITIES
    },
).filter(bool)


def reading(meter_id: str = "1", second: float = 0, **values: float) -> Reading:
    return Reading(meter_id, NOON + timedelta(seconds=second), values or {"power": 1.0})


def columns_of(database: peewee.Database) -> set[str]:
    return {column.name for column in database.get_columns("readings_raw")}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=any_values, milliseconds=st.integers(0, 10**11))
def test_a_reading_comes_back_as_it_was_written(
    database: peewee.Database, values: dict[str, float], milliseconds: int
) -> None:
    database.execute_sql("DELETE FROM readings_raw")
    written = Reading("1", NOON + timedelta(milliseconds=milliseconds), values)

    Writer(database).write([written])

    assert queries.latest(database, "1") == written


def test_a_reading_that_comes_twice_is_stored_once(database: peewee.Database) -> None:
    writer = Writer(database)

    assert writer.write([reading(second=1), reading(second=2)]) == 2
    assert writer.write([reading(second=2), reading(second=3)]) == 1
    assert writer.write([reading(second=4), reading(second=4)]) == 1
    assert len(queries.readings(database, "1")) == 4


def test_any_number_of_readings_is_stored_and_counted(database: peewee.Database) -> None:
    writer = Writer(database)
    for count in (ROWS - 1, ROWS, ROWS + 1, 3 * ROWS):
        meter = f"m{count}"
        given = [reading(meter, n, power=float(n)) for n in range(count)]

        assert writer.write(given[:2]) == 2
        assert writer.write(given) == count - 2

        assert queries.readings(database, meter, limit=100) == given[::-1]


def stamped(millisecond: int, power: float) -> Reading:
    ts = NOON + timedelta(milliseconds=millisecond)
    return Reading("1", ts, {"power": power}, stamped_on_arrival=True)


def powers(database: peewee.Database) -> dict[int, float]:
    """Return the stored powers by the milliseconds since noon."""
    found = queries.readings(database, "1", limit=10_000)
    return {(r.ts - NOON) // timedelta(milliseconds=1): r.values["power"] for r in found}


def test_readings_stamped_on_arrival_by_two_recorders_each_get_a_row(
    database: peewee.Database,
) -> None:
    one, two = Writer(database), Writer(database)
    one.write([stamped(n, power=n) for n in range(3)])

    two.write([stamped(n, power=10 + n) for n in range(3)])
    one.write([stamped(2, power=20), stamped(9, power=21)])

    assert powers(database) == {0: 0, 1: 1, 2: 2, 3: 10, 4: 11, 5: 12, 6: 20, 9: 21}


def test_a_long_burst_before_a_restart_costs_no_reading_after_it(database: peewee.Database) -> None:
    Writer(database).write([stamped(n, power=n) for n in range(2000)])

    Writer(database).write([stamped(500 + n, power=5000 + n) for n in range(2000)])

    assert powers(database) == {n: n for n in range(2000)} | {
        n: 3000 + n for n in range(2000, 4000)
    }


def test_readings_with_a_time_of_their_own_are_never_moved(database: peewee.Database) -> None:
    writer = Writer(database)
    writer.write([stamped(0, power=1)])

    own = Reading("1", NOON + timedelta(milliseconds=1), {"power": 2.0})
    writer.write([stamped(0, power=3), own, own, reading(power=4.0)])

    assert powers(database) == {0: 1, 1: 2, 2: 3}


def test_a_reading_stamped_on_arrival_yields_to_a_time_of_its_own_batch(
    database: peewee.Database,
) -> None:
    writer = Writer(database)
    writer.write([reading(power=0.0)])

    writer.write([reading(second=1, power=1.0), stamped(1000, power=2.0)])

    assert powers(database) == {0: 0, 1000: 1, 1001: 2}


def test_after_a_clock_was_set_back_a_batch_reads_no_long_history(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(database)
    writer.write([reading(second=n * 60) for n in range(1000)])
    fetched: list[int] = []

    def counting(*arguments: object) -> list[Row]:
        rows = fetch(*arguments)
        fetched.append(len(rows))
        return rows

    monkeypatch.setattr(readings_table, "fetch", counting)

    writer.write([stamped(0, power=5.0)])

    assert max(fetched) < 10
    assert len(queries.readings(database, "1", limit=10_000)) == 1001


def test_the_first_reading_of_a_moment_stays(database: peewee.Database) -> None:
    writer = Writer(database)

    writer.write([reading(power=1.0)])
    writer.write([reading(power=2.0)])

    assert queries.readings(database, "1") == [reading(power=1.0)]


def test_a_time_between_two_milliseconds_is_found_again(database: peewee.Database) -> None:
    late_in_the_millisecond = reading(second=0.1239)

    Writer(database).write([late_in_the_millisecond])

    assert queries.exists(database, "1", late_in_the_millisecond.ts)
    assert queries.latest(database, "1") == reading(second=0.123)


def test_a_batch_that_fails_leaves_nothing_behind(database: peewee.Database) -> None:
    writer = Writer(database)
    impossible = reading("new", 2, **{"what is this": 1.0})

    with pytest.raises(peewee.PeeweeException):
        writer.write([reading("new", 1), impossible])

    assert queries.meters(database) == []
    assert writer.write([reading("new", 1)]) == 1


def test_which_meters_send_whole_readings_is_remembered(database: peewee.Database) -> None:
    from_scalars = Reading("esp", NOON, {"power": 1.0}, from_scalars=True)

    Writer(database).write([reading("1"), from_scalars])

    assert Writer(database).snapshot_meters == ["1"]


def test_unusable_messages_are_kept_readable_and_bounded(database: peewee.Database) -> None:
    bad = Rejected("meters/1/power", b"\xff\x00much", "bad_value", "power: should be a number")
    writer = Writer(database)

    for _ in range(3):
        writer.write([], [bad] * (MOST_REJECTED // 2))

    rows = database.execute_sql("SELECT payload, count(*) FROM rejected_messages").fetchall()
    assert rows == [("\\xff\\0much", MOST_REJECTED)]


def test_a_quantity_gets_its_column_when_it_is_first_sent(database: peewee.Database) -> None:
    writer = Writer(database)
    writer.write([reading(power=7.0)])
    assert "current_thd" not in columns_of(database)

    writer.write([reading(second=1, power=8.0, current_thd=1.5)])

    assert queries.latest(database, "1") == reading(second=1, power=8.0, current_thd=1.5)
    assert database.execute_sql("SELECT power, current_thd FROM readings").fetchall() == [
        (7, None),
        (8, 1.5),
    ]


def test_a_column_that_was_rolled_back_is_added_again(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(database)
    with monkeypatch.context() as broken:
        broken.setattr(Writer, "_reject", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.write([reading(current_thd=1.5)])

    writer.write([reading(current_thd=2.5)])

    assert queries.latest(database, "1") == reading(current_thd=2.5)
