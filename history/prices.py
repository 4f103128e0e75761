"""Dynamic prices: a row for each tariff and quarter-hour, in the currency of the tariffs file.

A price of an hour is four equal rows, so that prices of another width replace it where they lie.
A quarter-hour without a row has no price. Prices are integers of a hundred-millionth, which a year
of them is read as twice as fast as floats.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, get_args

import peewee

from contract.prices import QUARTER_S, KwhPrice
from contract.times import from_epoch_ms
from history.dialect import dialect_of, fetch, run_many, transaction

SCALE = 10**8
Column = Literal["price", "feed_in"]


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
            [
                (tariff, quarter, *map(_scaled, price))
                for quarter, price in sorted(quarters.items())
            ],
        )


def _scaled(price: float | None) -> int | None:
    return None if price is None else round(price * SCALE)


def read(database: peewee.Database, tariff: str, begin: int, end: int) -> Prices:
    """Return the prices of the quarter-hours that begin between two times (epoch s)."""
    price, feed_in = (
        {quarter: each / SCALE for quarter, each in scaled.items()}
        for name in get_args(Column)
        for scaled in [read_scaled(database, tariff, name, begin, end)]
    )
    return Prices(price, feed_in)


def read_scaled(
    database: peewee.Database, tariff: str, column: Column, begin: int, end: int
) -> dict[int, int]:
    """Return the known prices, of what is drawn or fed in, by quarter-hour, as they are stored."""
    quarters, prices = dialect_of(database).fetch_columns(
        ("quarter", column),
        f"tariff_prices WHERE tariff = ? AND quarter >= ? AND quarter < ? AND {column} IS NOT NULL",
        (tariff, begin, end),
        "quarter",
    )
    return dict(zip(quarters, prices, strict=True))


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
