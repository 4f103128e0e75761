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

from contract.quantities import DERIVED
from contract.readings import Reading
from contract.times import epoch_ms
from history import energy, queries
from history.database import MIGRATIONS, is_current, migrate, name_of, open_database
from history.dialect import fetch, run_many
from history.errors import StorageError
from history.leases import Lease, Leases
from history.periods import Unit
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.rollups import Rollups
from history.series import series
from history.tables import add_columns, quantity_ids, read_meters
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


ROLLUP = "level, meter, quantity, bucket, n, mean, min, max, last, delta"
NETTED = (
    "(SELECT id FROM quantities WHERE name IN ('energy_import_netted', 'energy_export_netted'))"
)


def energies(day: int) -> list[Reading]:
    """Return a day of readings of meter 1, of which the second half exports."""
    found = []
    for minute in range(0, 1440, 4):
        imported, exported = min(minute, 720) / 100 + day, max(minute - 720, 0) / 100 + day
        values = {"power": 1.0 * minute, "energy_import": imported, "energy_export": exported}
        ts = NOON + timedelta(days=day, minutes=minute)
        found.append(Reading("1", ts, values | {"voltage": 230.0}))
    return found


def copy_to_an_older_version(database: peewee.Database, old: peewee.Database) -> None:
    """Fill a database of an older version with what another one holds, as far as it knew that."""
    Runner(old, str(MIGRATIONS)).up("0005_leases")
    add_columns(old, ["energy_import", "energy_export"])
    run_many(
        old, "INSERT INTO quantities (name) VALUES (?)",
        fetch(database, f"SELECT name FROM quantities WHERE id NOT IN {NETTED} ORDER BY id"),
    )  # fmt: skip
    names = "name, first_ts, last_ts, retention_watermark"
    run_many(
        old, f"INSERT INTO meters ({names}, snapshots) VALUES (?, ?, ?, ?, true)",
        fetch(database, f"SELECT {names} FROM meters"),
    )  # fmt: skip
    names = "meter, ts, voltage, power, energy_import, energy_export"
    run_many(
        old, f"INSERT INTO readings_raw ({names}) VALUES (?, ?, ?, ?, ?, ?)",
        fetch(database, f"SELECT {names} FROM readings_raw"),
    )  # fmt: skip
    run_many(
        old, f"INSERT INTO rollup ({ROLLUP}) VALUES ({', '.join('?' * 10)})",
        fetch(database, f"SELECT {ROLLUP} FROM rollup WHERE level != 15 "
              f"AND quantity NOT IN {NETTED}"),
    )  # fmt: skip


def test_quarter_hours_and_netted_counters_of_an_older_version_are_made(
    old: peewee.Database, database: peewee.Database
) -> None:
    writer = Writer(database)
    for day in range(4):
        writer.write(energies(day))
    Rollups(database).run(float("inf"))
    list(Retention(database, Keep(raw=2)).steps((NOON + timedelta(days=4)).timestamp()))
    copy_to_an_older_version(database, old)
    (watermark,) = [meter.retention_watermark for meter in read_meters(database)]

    assert "0006_quarter_hours" in migrate(old)
    rounds = 0
    while Rollups(old).work_due():  # a recorder that is stopped again and again
        Rollups(old).run(0)
        rounds += 1

    everything = f"SELECT {ROLLUP} FROM rollup ORDER BY level, meter, quantity, bucket"
    netted = {quantity_ids(old)[each.name] for each in DERIVED}
    again = [row for row in fetch(old, everything) if row[2] not in netted]
    assert rounds > 8
    assert again == [row for row in fetch(database, everything) if row[2] not in netted]
    assert len([row for row in again if row[0] == 15]) > 2 * 380
    hours = f"SELECT bucket, n, delta FROM rollup WHERE level = 60 AND quantity IN {NETTED} "
    hours = f"{hours} AND bucket >= {watermark // 1000} ORDER BY quantity, bucket"
    assert fetch(old, hours) == fetch(database, hours)
    assert len(fetch(old, hours)) > 2 * 40


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


def test_a_damaged_list_of_migrations_is_a_storage_error(tmp_path: Path) -> None:
    with closing(open_database(f"sqlite:///{tmp_path}/history.db")) as database:
        migrate(database)
        database.execute_sql("DROP TABLE schema_migration")
        database.execute_sql("CREATE TABLE schema_migration (id INTEGER, name TEXT, applied TEXT)")
        database.execute_sql("INSERT INTO schema_migration (id) VALUES (1)")

        with pytest.raises(StorageError, match=r"migrations is damaged; restore a backup"):
            migrate(database)


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
