"""Dynamic prices in the history."""

from datetime import UTC, datetime
from pathlib import Path

import peewee
import pytest
from playhouse.migrations import Runner

from contract.prices import KwhPrice
from history import prices
from history.database import MIGRATIONS, migrate, open_database
from tests.support.postgresql import BOTH

DATABASES = BOTH

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_S = int(NOON.timestamp())


def test_later_prices_replace_earlier_ones_where_they_lie(database: peewee.Database) -> None:
    hour = {NOON_S + n * 900: KwhPrice(0.5, 0.1) for n in range(4)}
    prices.store(database, "spot", hour)
    prices.store(database, "spot", {NOON_S + 900: KwhPrice(0.25), NOON_S + 3600: KwhPrice(-0.125)})
    prices.store(database, "other", {NOON_S: KwhPrice(9.0)})

    found = prices.read(database, "spot", NOON_S, NOON_S + 7200)

    assert found.price == {
        NOON_S: 0.5,
        NOON_S + 900: 0.25,
        NOON_S + 1800: 0.5,
        NOON_S + 2700: 0.5,
        NOON_S + 3600: -0.125,
    }
    assert found.feed_in == {NOON_S: 0.1, NOON_S + 1800: 0.1, NOON_S + 2700: 0.1}


def test_only_the_prices_of_the_period_are_read(database: peewee.Database) -> None:
    prices.store(database, "spot", {NOON_S + n * 900: KwhPrice(n) for n in range(10)})

    assert list(prices.read(database, "spot", NOON_S + 900, NOON_S + 2700).price.values()) == [1, 2]
    assert prices.read(database, "none", 0, 2**40) == ({}, {})


def test_the_list_shows_what_there_is(database: peewee.Database) -> None:
    prices.store(database, "spot", {NOON_S + n * 900: KwhPrice(n) for n in (0, 1, 7)})

    assert prices.stored(database) == [
        prices.Stored("spot", NOON, datetime(2026, 11, 22, 14, tzinfo=UTC), 3)
    ]


def test_a_history_from_before_there_were_prices_is_migrated(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/old.db")
    database.connect()
    runner = Runner(database, str(MIGRATIONS))
    runner.up("0005_leases")

    assert "0008_prices" in migrate(database)
    prices.store(database, "spot", {NOON_S: KwhPrice(1.0)})
    assert prices.stored(database)
    database.close()


@pytest.mark.parametrize("price", [0.1, -0.00012345, 123456.78901234, 1e-8, 0.087321, 1e6, -1e6])
def test_a_price_of_eight_decimals_is_stored_exactly(
    database: peewee.Database, price: float
) -> None:
    prices.store(database, "spot", {NOON_S: KwhPrice(price, price)})

    found = prices.read(database, "spot", NOON_S, NOON_S + 1)

    assert found == ({NOON_S: price}, {NOON_S: price})
