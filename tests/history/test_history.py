"""The history: what was written comes back, once, in a database that anyone can read."""

import json
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.quantities import QUANTITIES
from contract.readings import Reading
from history import queries, series
from history.database import is_current, migrate, name_of, open_database
from history.errors import StorageError
from history.readings_table import MOST_REJECTED, Rejected, Writer
from service.errors import SettingsError
from tests.support.parts import require

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


def path_of(database: peewee.Database) -> Path:
    return Path(str(database.database))


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


def test_readings_come_newest_first_within_their_bounds(database: peewee.Database) -> None:
    Writer(database).write([reading("1", s) for s in range(10)] + [reading("2", 4.5)])

    since, until = NOON + timedelta(seconds=3), NOON + timedelta(seconds=6)
    found = queries.readings(database, since=since, until=until)

    assert found == [reading("1", 5), reading("2", 4.5), reading("1", 4), reading("1", 3)]
    assert queries.readings(database, "1", limit=2) == [reading("1", 9), reading("1", 8)]
    assert queries.readings(database, "nobody") == []


def test_meters_are_listed_as_a_person_would_with_first_and_newest_time(
    database: peewee.Database,
) -> None:
    writer = Writer(database)
    writer.write([reading(name, 5) for name in ("esp", "10", "2")])
    writer.write([reading("2", 9), reading("2", 1)])

    meters = queries.meters(database)

    assert [meter.meter_id for meter in meters] == ["2", "10", "esp"]
    assert (meters[0].first_seen, meters[0].last_seen) == (
        reading(second=1).ts,
        reading(second=9).ts,
    )


def test_a_chart_has_means_of_equal_slices_and_leaves_gaps_open(database: peewee.Database) -> None:
    Writer(database).write([reading(second=s, power=s) for s in (0, 1, 2, 3, 10, 11)])

    chart = series.columns(database, "1", ["power"], NOON, NOON + timedelta(seconds=12), points=6)

    assert chart["power"] == [0.5, 2.5, 10.5]
    assert [ts - NOON.timestamp() for ts in chart["ts"] if ts] == [0, 2, 10]


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


def test_migrating_again_does_nothing(database: peewee.Database) -> None:
    assert migrate(database) == []
    assert is_current(database)


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


def test_a_column_that_was_added_in_vain_is_added_again(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(database)
    with monkeypatch.context() as broken:
        broken.setattr(Writer, "_reject", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.write([reading(current_thd=1.5)])

    writer.write([reading(current_thd=2.5)])

    assert queries.latest(database, "1") == reading(current_thd=2.5)


def test_a_reader_sees_a_column_that_was_added_meanwhile(database: peewee.Database) -> None:
    writer = Writer(database)
    writer.write([reading(power=7.0)])
    with closing(open_database(f"sqlite:///{path_of(database)}", read_only=True)) as other:
        other.connect()
        assert queries.latest(other, "1") == reading(power=7.0)

        writer.write([reading(second=1, charge=2.0)])

        assert queries.latest(other, "1") == reading(second=1, charge=2.0)


def test_a_database_of_a_newer_version_is_refused(database: peewee.Database) -> None:
    database.execute_sql(
        "INSERT INTO schema_migration (name, applied) VALUES ('9999_later', '2030-01-01')"
    )

    with pytest.raises(StorageError, match=r"by a newer version .9999_later.; update"):
        migrate(database)


def test_a_file_with_the_tables_of_another_program_is_refused(tmp_path: Path) -> None:
    other = open_database(f"sqlite:///{tmp_path}/other.db")
    other.execute_sql("CREATE TABLE readings (id INTEGER)")

    with pytest.raises(StorageError, match=r"other.db: holds another program's tables .readings."):
        migrate(other)

    assert other.get_tables() == ["readings"]
    other.close()


def test_pages_go_through_all_readings_once_though_new_ones_come(database: peewee.Database) -> None:
    writer = Writer(database)
    moments = [(m, s) for s in range(120) for m in ("1", "2", "3") if s % 7 or m != "2"]
    writer.write([reading(m, s, power=s) for m, s in moments])
    first = queries.page(database, limit=50)
    writer.write([reading("1", 500, power=1.0)])

    seen, following = list(first.readings), first.next
    while following:
        following_page = queries.page(database, after=following, limit=50)
        seen += following_page.readings
        following = following_page.next

    assert len(seen) == len({(r.meter_id, r.ts) for r in seen}) == 342
    assert [r.ts for r in seen] == sorted((r.ts for r in seen), reverse=True)


def test_a_database_without_tables_is_not_current(tmp_path: Path) -> None:
    empty = open_database(f"sqlite:///{tmp_path}/empty.db")

    assert not is_current(empty)
    empty.close()


def test_the_sqlite_command_line_shows_times_meters_and_units(database: peewee.Database) -> None:
    Writer(database).write([reading("esp1", 0.25, power=-1234.5, voltage=230.421)])
    program = require("sqlite3")

    answer = subprocess.check_output(
        [program, "-json", path_of(database), "SELECT time, meter, voltage, power FROM readings"]
    )

    assert json.loads(answer) == [
        {"time": "2026-11-22T12:00:00.250Z", "meter": "esp1", "voltage": 230.421, "power": -1234.5}
    ]


def test_reading_while_another_writes(database: peewee.Database) -> None:
    Writer(database).write([reading()])
    reader = open_database(f"sqlite:///{path_of(database)}", read_only=True)

    with database.atomic():
        database.execute_sql("DELETE FROM readings_raw")
        rows = reader.execute_sql("SELECT count(*) FROM readings_raw").fetchall()

    assert rows == [(1,)]
    with pytest.raises(peewee.OperationalError, match="readonly"):
        reader.execute_sql("DELETE FROM readings_raw")
    reader.close()


def test_a_file_name_with_odd_characters_is_opened_and_told_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "50% of küche.db"
    with closing(open_database(f"sqlite:///{path}")) as writable:
        migrate(writable)

    with closing(open_database(f"sqlite:///{path}", read_only=True)) as reader:
        assert is_current(reader)
        assert name_of(reader) == str(path)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://", "names no file"),
        ("mysql://root@localhost/meters", "should begin with sqlite:/// or postgresql://"),
        ("energy_meters.db", "should begin with sqlite:/// or postgresql://"),
    ],
)
def test_a_url_that_names_no_database_is_told(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match=f"DATABASE_URL: {says}"):
        open_database(url)


def test_a_directory_that_does_not_exist_is_told(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/nowhere/x.db")

    with pytest.raises(StorageError, match=r"nowhere/x\.db: .*check that its directory exists"):
        migrate(database)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear reader, " * 100)
    database = open_database(f"sqlite:///{tmp_path}/letter.db")

    with pytest.raises(StorageError, match=r"letter\.db: .*names another program's file"):
        migrate(database)
    database.close()
