"""Statements: their figures, what is remarked, and that they can be verified for ever."""

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import peewee
import pytest

from contract.meter_settings import MeterSettings
from contract.prices import KwhPrice
from contract.readings import Reading
from history import prices
from history.corrections import undo, void
from history.dialect import run
from history.errors import StorageError
from history.meter_settings import change
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.replacements import replace_meter
from history.rollups.rollups import Rollups
from history.statements import (
    Check,
    Correction,
    Gap,
    Item,
    Register,
    Statement,
    Swap,
    WaitingError,
    complete_until,
    statement,
)
from history.tariffs import Tariffs
from history.utility_readings import UtilityReading, enter
from tests.support.histories import BERLIN
from tests.support.postgresql import BOTH

DATABASES = BOTH
ALL = float("inf")
BEGIN = datetime(2026, 10, 1, tzinfo=BERLIN).astimezone(UTC)
END = datetime(2026, 11, 1, tzinfo=BERLIN).astimezone(UTC)
HOUR = timedelta(hours=1)
SHORT = BEGIN + 30 * HOUR
TARIFF = """
[[tariff]]
name = "house"
valid_from = 2026-01-01
price = 0.333
[[tariff.standing]]
name = "base price"
per = "month"
price = 9.99
[[tariff.tax]]
name = "VAT"
percent = 19
[[tariff]]
name = "spot"
valid_from = 2026-01-01
dynamic = true
"""


@pytest.fixture
def tariffs(tmp_path: Path) -> Tariffs:
    path = tmp_path / "tariffs.toml"
    path.write_text(TARIFF)
    return Tariffs.load(path)


def write(
    database: peewee.Database, since: datetime, until: datetime, first: float = 1000.0
) -> None:
    """Store a reading every five minutes of a meter that counts 0.6 kWh an hour, and its export."""
    number = (until - since) // timedelta(minutes=5)
    Writer(database).write(
        Reading(
            "1",
            since + n * timedelta(minutes=5),
            {"energy": round(first + n * 0.05, 3), "energy_export": round(n * 0.001, 3)},
        )
        for n in range(number)
    )


def roll_up(database: peewee.Database) -> None:
    assert Rollups(database).run(ALL)


def made(
    database: peewee.Database,
    tariffs: Tariffs | None = None,
    until: datetime = END,
    **more: str,
) -> Statement:
    return statement(database, "1", BEGIN, until, BERLIN, tariffs=tariffs, **more)


def test_a_statement_has_registers_consumption_and_cost(
    database: peewee.Database, tariffs: Tariffs
) -> None:
    write(database, BEGIN - HOUR, END + HOUR)
    roll_up(database)
    change(database, "1", MeterSettings(name="Flat 1", serial="4711"))

    found = made(database, tariffs)

    hours = 745  # the clocks are set back
    assert (found.name, found.serial, found.currency, found.tariff) == (
        "Flat 1", "4711", "EUR", "house",
    )  # fmt: skip
    assert found.imported == pytest.approx(hours * 0.6)
    assert found.registers == (
        Register("energy", 1000.55, 1447.55, pytest.approx(447), is_first=False),
        Register("energy_export", 0.011, 8.951, pytest.approx(8.94), is_first=False),
    )
    assert found.items == (
        Item("energy", "energy", pytest.approx(447), "kWh", 0.333, 148.85),
        Item("standing", "base price", pytest.approx(1), "month", 9.99, 9.99),
        Item("tax", "VAT", 158.84, "%", 19, 30.18),
        Item("feed_in", "feed-in", pytest.approx(8.94), "kWh", 0, 0.0),
    )
    assert found.total == pytest.approx(148.85 + 9.99 + 30.18)
    assert (found.gaps, found.swaps, found.estimated) == ((), (), 0)


def test_a_percentage_is_that_of_the_lines_as_they_are_shown(
    database: peewee.Database, tmp_path: Path
) -> None:
    """Three charges of 10.004 are shown as 10.00 each, and their tax is that of 30.00."""
    path, charges = tmp_path / "more.toml", ""
    for name in ("meter", "service", "network"):
        charges += f"[[tariff.standing]]\nname = '{name}'\nper = 'month'\nprice = 10.004\n"
    path.write_text(
        "[[tariff]]\nvalid_from = 2026-01-01\nprice = 0\n"
        f"{charges}[[tariff.tax]]\nname = 'VAT'\npercent = 50\n"
    )
    write(database, BEGIN - HOUR, END + HOUR)
    roll_up(database)

    found = made(database, Tariffs.load(path))

    shown = {item.name: (item.quantity, item.amount) for item in found.items}
    assert shown["VAT"] == (30.0, 15.0)
    assert [shown[name][1] for name in ("meter", "service", "network")] == [10.0, 10.0, 10.0]
    assert found.total == 45.0


def test_without_tariffs_there_is_no_cost(database: peewee.Database) -> None:
    write(database, BEGIN, END)
    roll_up(database)

    found = made(database)

    assert (found.tariff, found.items, found.total) == (None, (), None)
    assert found.registers[0].is_first
    assert found.registers[0].opening == 1000.0


def test_times_without_readings_and_what_was_counted_at_their_end(
    database: peewee.Database,
) -> None:
    write(database, BEGIN + 2 * HOUR, BEGIN + 10 * HOUR)
    write(database, BEGIN + 15 * HOUR, SHORT, first=1009.0)
    roll_up(database)

    found = made(database, until=SHORT)

    local = BEGIN.astimezone(BERLIN)
    assert found.gaps == (
        Gap(local, local + 2 * HOUR, pytest.approx(0.1)),
        Gap(local + 10 * HOUR, local + 15 * HOUR, pytest.approx(9 - 4.75 + 0.1)),
    )


def test_a_period_without_any_reading_is_one_gap(database: peewee.Database) -> None:
    write(database, END, END + HOUR)
    roll_up(database)

    found = made(database)

    assert found.gaps == (Gap(BEGIN.astimezone(BERLIN), END.astimezone(BERLIN), None),)
    assert (found.imported, found.registers) == (None, ())


def test_a_replaced_meter_is_named_with_its_registers(database: peewee.Database) -> None:
    at = BEGIN + 10 * HOUR
    write(database, BEGIN - HOUR, at)
    write(database, at, SHORT + HOUR, first=5.0)
    replace_meter(database, "1", at, {"energy": 1006.6}, {"energy": 4.9})
    roll_up(database)

    found = made(database, until=SHORT)

    assert found.swaps == (Swap(at.astimezone(BERLIN), "energy", 1006.6, 4.9),)
    assert found.imported == pytest.approx(18, abs=0.2)


def test_energy_without_a_price_makes_the_total_unknown(
    database: peewee.Database, tariffs: Tariffs
) -> None:
    write(database, BEGIN - HOUR, SHORT)
    roll_up(database)
    begin = int(BEGIN.timestamp())
    prices.store(database, "spot", {begin + n * 900: KwhPrice(0.1) for n in range(100)})

    found = made(database, tariffs, SHORT, tariff="spot")

    assert found.total is None
    assert found.uncovered == pytest.approx(18 - 15)
    assert found.items[0].amount == pytest.approx(1.5)


def test_readings_that_a_person_made_void_are_named(database: peewee.Database) -> None:
    write(database, BEGIN - HOUR, SHORT + HOUR)
    void(database, "1", BEGIN + 2 * HOUR, BEGIN + 4 * HOUR, "the meter was tested")
    void(database, "1", BEGIN - HOUR, BEGIN, "before the period")
    void(database, "1", BEGIN + 6 * HOUR, BEGIN + 7 * HOUR, "by mistake")
    undo(database, "1", BEGIN + 6 * HOUR, BEGIN + 7 * HOUR)
    roll_up(database)

    found = made(database, until=SHORT)

    local = BEGIN.astimezone(BERLIN)
    assert found.corrections == (
        Correction(local + 2 * HOUR, local + 4 * HOUR, "the meter was tested"),
    )
    assert [(gap.start, gap.end) for gap in found.gaps] == [(local + 2 * HOUR, local + 4 * HOUR)]


def test_what_the_utility_counted_before_our_first_reading_is_not_compared(
    database: peewee.Database,
) -> None:
    write(database, BEGIN + 10 * HOUR, SHORT)
    roll_up(database)
    for hours, value in ((0, 100.0), (20, 112.0)):
        enter(database, UtilityReading("1", BEGIN + hours * HOUR, value))

    *_, check = made(database, until=SHORT).checks

    assert (check.by_utility, check.by_meter) == (12, None)


def test_readings_of_the_utility_are_compared(database: peewee.Database) -> None:
    write(database, BEGIN - 20 * HOUR, SHORT + HOUR)
    roll_up(database)
    local = BEGIN.astimezone(BERLIN)
    for hours, value in ((-10, 500.0), (10.1, 511.9), (400, 900.0)):
        enter(database, UtilityReading("1", local + hours * HOUR, value))

    found = made(database, until=SHORT)

    (check,) = found.checks
    assert check == Check(
        local + 10.1 * HOUR,
        "energy",
        511.9,
        local - 10 * HOUR,
        pytest.approx(11.9),
        pytest.approx(12.0),
    )


@pytest.mark.parametrize(("column", "factor"), [("backfill_from", 1000), ("quarters_from", 1)])
def test_a_statement_waits_until_an_older_history_is_rolled_up(
    database: peewee.Database, column: str, factor: int
) -> None:
    write(database, BEGIN - HOUR, SHORT + HOUR)
    roll_up(database)

    for at, is_refused in ((BEGIN, True), (SHORT, False)):
        value = int(at.timestamp()) * factor
        run(database, f"UPDATE meters SET {column} = ?", (value,))
        with pytest.raises(WaitingError) if is_refused else nullcontext():
            made(database, until=SHORT)


def test_a_running_period_is_complete_until_its_last_full_hour(database: peewee.Database) -> None:
    write(database, BEGIN - HOUR, SHORT)
    now = SHORT - timedelta(minutes=20)
    assert Rollups(database, clock=now.timestamp).run(ALL)
    half = timedelta(minutes=30)

    def complete(until: datetime) -> datetime:
        found = complete_until(database, ["1"], until, BERLIN)
        made(database, until=found)  # it is not refused
        return found

    assert complete(now) == now
    assert complete(SHORT) == SHORT - HOUR
    assert complete(BEGIN + 3 * HOUR + half) == BEGIN + 3 * HOUR + half
    with pytest.raises(WaitingError):
        made(database, until=SHORT)

    late = Reading("1", BEGIN + 5 * HOUR + half, {"energy": 1003.9})
    Writer(database).write([late])
    assert complete(now) == BEGIN + 5 * HOUR


# -- the hash ----------------------------------------------------------------------------------


def test_a_statement_stays_the_same_when_readings_are_deleted(
    database: peewee.Database, tariffs: Tariffs
) -> None:
    write(database, BEGIN - 30 * HOUR, SHORT + HOUR)
    roll_up(database)
    before = made(database, tariffs, SHORT)

    later = (END + timedelta(days=500)).timestamp()
    list(Retention(database, Keep(raw=30, five_minutes=90)).steps(later))

    assert made(database, tariffs, SHORT) == before


@pytest.mark.parametrize(
    "what", ["energy", "registers", "replaced meters", "void readings", "tariff", "prices"]
)
def test_the_hashes_name_what_has_changed(
    database: peewee.Database, tmp_path: Path, tariffs: Tariffs, what: str
) -> None:
    write(database, BEGIN - HOUR, SHORT + HOUR)
    roll_up(database)
    prices.store(database, "spot", {int(BEGIN.timestamp()): KwhPrice(0.1)})
    before = made(database, tariffs, SHORT, tariff="spot")

    if what == "energy":
        run(database, "UPDATE rollup SET delta = delta + 1 WHERE bucket >= ? AND bucket < ?",
            (int(BEGIN.timestamp()), int(BEGIN.timestamp()) + 900))  # fmt: skip
    if what == "registers":
        run(database, "UPDATE rollup SET last = last + 1")
    if what == "replaced meters":
        run(database, "INSERT INTO meter_events (meter, ts, quantity, kind) "
            "VALUES (1, ?, 0, 'replaced')", (int(BEGIN.timestamp()) * 1000,))  # fmt: skip
    if what == "void readings":
        run(database, "INSERT INTO voids (meter, begin_ts, end_ts, why, made_at) "
            "VALUES (1, ?, ?, 'why', 0)", (0, int(END.timestamp()) * 1000))  # fmt: skip
    if what == "prices":
        prices.store(database, "spot", {int(BEGIN.timestamp()): KwhPrice(0.2)})
    if what == "tariff":
        (tmp_path / "tariffs.toml").write_text(TARIFF + "markup = 0.01\n")
        tariffs = Tariffs.load(tmp_path / "tariffs.toml")
    after = made(database, tariffs, SHORT, tariff="spot")

    changed = {part for part, value in after.rests_on.items() if value != before.rests_on[part]}
    assert what in changed
    assert after.hash != before.hash
    assert replace(after, hash=before.hash) != before


def test_what_is_outside_the_period_changes_nothing(
    database: peewee.Database, tariffs: Tariffs
) -> None:
    write(database, BEGIN - HOUR, SHORT + HOUR)
    roll_up(database)
    before = made(database, tariffs, SHORT)

    write(database, SHORT + 2 * HOUR, SHORT + 9 * HOUR, first=2000)
    roll_up(database)
    prices.store(database, "spot", {int(SHORT.timestamp()): KwhPrice(0.1)})

    assert made(database, tariffs, SHORT) == before


def test_a_statement_waits_for_the_roll_up_of_its_readings(database: peewee.Database) -> None:
    write(database, BEGIN, SHORT)

    with pytest.raises(StorageError, match=r"meter 1: readings before .* wait to be rolled up"):
        made(database, None, SHORT)


def test_a_meter_without_history_has_no_statement(database: peewee.Database) -> None:
    with pytest.raises(StorageError, match="meter 1: has no history"):
        made(database, None, SHORT)
