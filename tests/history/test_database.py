"""Opening histories: of older versions, and several in one process."""

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import peewee
import pytest
from playhouse.migrations import Runner

from contract.readings import Reading
from contract.times import epoch_ms
from history import energy, queries
from history.database import MIGRATIONS, is_current, migrate, name_of, open_database
from history.dialect import fetch, run_many
from history.errors import StorageError
from history.leases import Lease, Leases
from history.periods import Unit
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from history.series import series
from history.tables import read_meters
from service.errors import SettingsError
from tests.support.postgresql import emptied

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")


def reading(meter_id: str, second: int, energy_kwh: float) -> Reading:
    return Reading(meter_id, NOON + timedelta(seconds=second), {"energy": energy_kwh})


# -- several in one process --------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path, postgresql: str) -> Iterator[list[peewee.Database]]:
    """Two histories in files, and one on a server."""
    databases = [open_database(f"sqlite:///{tmp_path}/{name}.db") for name in ("a", "b")]
    for database in databases:
        migrate(database)
    databases.append(emptied(open_database(postgresql)))
    yield databases
    for database in databases:
        database.close()


def write(database: peewee.Database, meter_id: str, steps: range) -> None:
    """Write a reading per step, whose counter advances by 1 kWh each, and roll up."""
    writer, rollups = Writer(database), Rollups(database)
    for step in steps:
        writer.write([reading(meter_id, step * 60, float(step))])
        rollups.run(float("inf"))


def check(database: peewee.Database, meter_id: str, count: int) -> None:
    """Check that a history holds the readings of this meter and of no other."""
    until = NOON + timedelta(seconds=60 * count)
    newest = reading(meter_id, 60 * (count - 1), float(count - 1))
    (hour, *_) = energy.periods(database, meter_id, Unit.DAY, NOON, until, UTC_ZONE)
    chart = series(database, meter_id, ["energy"], NOON, until, count)

    assert [meter.meter_id for meter in queries.meters(database)] == [meter_id]
    assert len(queries.readings(database, limit=1000)) == count
    assert queries.latest(database, meter_id) == newest
    assert hour.imported == count - 1
    assert len(chart.ts) == count


def test_histories_are_written_and_queried_in_turn(three: list[peewee.Database]) -> None:
    for step in range(20):
        for number, database in enumerate(three):
            write(database, f"meter{number}", range(step, step + 1))
            check(database, f"meter{number}", step + 1)


def test_histories_are_written_and_queried_at_once(three: list[peewee.Database]) -> None:
    failed: list[BaseException] = []

    def work(number: int, database: peewee.Database) -> None:
        try:
            for step in range(30):
                write(database, f"meter{number}", range(step, step + 1))
                check(database, f"meter{number}", step + 1)
        except BaseException as error:
            failed.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=work, args=each) for each in enumerate(three)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []


# -- older versions ----------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[peewee.Database]:
    """An empty database of either kind, on which no migration has run."""
    if request.param == "sqlite":
        with closing(open_database(f"sqlite:///{tmp_path}/old.db")) as database:
            yield database
        return
    url = request.getfixturevalue("postgresql")
    with closing(open_database(url)) as server:
        server.execute_sql("DROP DATABASE IF EXISTS old")
        server.execute_sql("CREATE DATABASE old")
        with closing(open_database(url.replace("/postgres", "/old"))) as database:
            yield database
        server.execute_sql("DROP DATABASE old")


def test_leases_and_watermarks_of_an_older_version_are_kept(old: peewee.Database) -> None:
    Runner(old, str(MIGRATIONS)).up("0004_duties")
    noon_ms = epoch_ms(NOON)
    run_many(old, "INSERT INTO duties (name, holder, beat) VALUES (?, ?, ?)", [("night", "one", 7)])
    run_many(
        old,
        "INSERT INTO meters (name, first_ts, last_ts, snapshots, closed_until) "
        "VALUES (?, ?, ?, ?, ?)",
        [("1", noon_ms - 1, noon_ms, True, noon_ms), ("2", 5, 6, False, 0)],
    )
    assert not is_current(old)

    steps = migrate(old)

    assert "0005_leases" in steps
    assert is_current(old)
    assert Leases(old).read("night") == Lease("one", 7)
    assert Leases(old).acquire("night", "two", Lease("one", 7)) == Lease("two", 8)
    assert [(m.name, m.retention_watermark) for m in read_meters(old)] == [("1", noon_ms), ("2", 0)]
    assert Writer(old).write([reading("1", -1, 1.0), reading("1", 1, 2.0)]) == 1
    assert fetch(old, "SELECT meter, energy FROM readings") == [("1", 2)]


def test_a_meter_of_an_older_version_has_no_role_yet(old: peewee.Database) -> None:
    Runner(old, str(MIGRATIONS)).up("0005_leases")
    statement = "INSERT INTO meters (name, first_ts, last_ts, snapshots) VALUES (?, ?, ?, ?)"
    run_many(old, statement, [("1", 5, 6, True)])

    assert "0007_meter_roles" in migrate(old)

    (meter,) = read_meters(old)
    assert (meter.name, meter.first_ts, meter.last_ts) == ("1", 5, 6)
    assert (meter.role, meter.parent, meter.title, meter.billing) == (None, None, None, None)


# -- opening -----------------------------------------------------------------------------------


def test_migrating_again_does_nothing(database: peewee.Database) -> None:
    assert migrate(database) == []
    assert is_current(database)


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


def test_a_database_without_tables_is_not_current(tmp_path: Path) -> None:
    empty = open_database(f"sqlite:///{tmp_path}/empty.db")

    assert not is_current(empty)
    empty.close()


def test_what_cannot_be_read_is_not_taken_for_another_version(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear reader, " * 100)

    with (
        closing(open_database(f"sqlite:///{tmp_path}/letter.db")) as letter,
        pytest.raises(peewee.DatabaseError, match="not a database"),
    ):
        is_current(letter)


def test_reading_while_another_writes(database: peewee.Database) -> None:
    Writer(database).write([reading("1", 0, 1.0)])
    reader = open_database(f"sqlite:///{name_of(database)}", read_only=True)

    with database.atomic():
        database.execute_sql("DELETE FROM readings_raw")
        rows = reader.execute_sql("SELECT count(*) FROM readings_raw").fetchall()

    assert rows == [(1,)]
    with pytest.raises(peewee.OperationalError, match="readonly"):
        reader.execute_sql("DELETE FROM readings_raw")
    reader.close()


def test_a_file_name_with_odd_characters_is_opened_and_named_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "50% of küche.db"
    with closing(open_database(f"sqlite:///{path}")) as writable:
        migrate(writable)

    with closing(open_database(f"sqlite:///{path}", read_only=True)) as reader:
        assert is_current(reader)
        assert name_of(reader) == str(path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "names no file"),
        ("mysql://root@localhost/meters", "should begin with sqlite:/// or postgresql://"),
        ("energy_meters.db", "should begin with sqlite:/// or postgresql://"),
    ],
)
def test_a_url_that_names_no_database_is_a_settings_error(url: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"DATABASE_URL: {message}"):
        open_database(url)


def test_a_directory_that_does_not_exist_is_a_storage_error(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/nowhere/x.db")

    with pytest.raises(StorageError, match=r"nowhere/x\.db: .*check that its directory exists"):
        migrate(database)


def test_a_file_that_is_not_a_database_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear reader, " * 100)
    database = open_database(f"sqlite:///{tmp_path}/letter.db")

    with pytest.raises(StorageError, match=r"letter\.db: .*names another program's file"):
        migrate(database)
    database.close()
