"""Dynamic prices: a row for each tariff and quarter-hour, in the currency of the tariffs file.

A price of an hour is four equal rows, so that prices of another width replace it where they lie.
A quarter-hour without a row has no price.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import peewee

from contract.prices import QUARTER_S, KwhPrice
from contract.times import from_epoch_ms
from history.dialect import dialect_of, fetch, run_many, transaction


class Prices(NamedTuple):
    """What a kWh costs that is drawn, and one is paid that is fed in, by quarter-hour (epoch s)."""

    price: dict[int, float]
    feed_in: dict[int, float]


class Stored(NamedTuple):
    """The dynamic prices of a tariff: the first, the end of the last, and their number."""

    tariff: str
    since: datetime
    until: datetime
    quarters: int

    @property
    def missing(self) -> int:
        """The number of quarter-hours between them without a price."""
        return (self.until - self.since) // timedelta(seconds=QUARTER_S) - self.quarters


def store(database: peewee.Database, tariff: str, quarters: Mapping[int, KwhPrice]) -> None:
    """Store prices by the start of their quarter-hour (epoch s), in place of those there."""
    with transaction(database):
        run_many(
            database,
            "INSERT INTO tariff_prices (tariff, quarter, price, feed_in) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (tariff, quarter) DO UPDATE SET price = excluded.price, "
            "feed_in = excluded.feed_in",
            [(tariff, quarter, *price) for quarter, price in sorted(quarters.items())],
        )


def read(database: peewee.Database, tariff: str, begin: int, end: int) -> Prices:
    """Return the prices of the quarter-hours that begin between two times (epoch s)."""
    quarters, prices, feed_ins = dialect_of(database).fetch_columns(
        ("quarter", "price", "feed_in"),
        "tariff_prices WHERE tariff = ? AND quarter >= ? AND quarter < ?",
        (tariff, begin, end),
        "quarter",
    )
    paid = {q: paid for q, paid in zip(quarters, feed_ins, strict=True) if paid is not None}
    return Prices(dict(zip(quarters, prices, strict=True)), paid)


def stored(database: peewee.Database) -> list[Stored]:
    """Return which dynamic prices there are, by the names of their tariffs."""
    rows = fetch(
        database,
        "SELECT tariff, MIN(quarter), MAX(quarter), COUNT(*) FROM tariff_prices "
        "GROUP BY tariff ORDER BY tariff",
    )
    return [
        Stored(tariff, from_epoch_ms(first * 1000), from_epoch_ms((last + QUARTER_S) * 1000), count)
        for tariff, first, last, count in rows
    ]
