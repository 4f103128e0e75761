"""/tariffs/: which tariffs there are, and the dynamic prices of each."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import orjson
import peewee
from flask import Response
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from contract import topics
from contract.prices import Price, PriceList
from contract.times import epoch_ms, format_time, from_epoch_ms
from history import prices
from history.periods import Unit, start_of
from history.tariffs import Rates, Tariffs
from web.context import parts
from web.openapi import Api
from web.parameters import A_DAY, MeterId, Moment
from web.publishing import publish
from web.responses import error_response, invalid_parameter, json_response

LONGEST = timedelta(days=62)
DECIMALS = 8
"""Decimals to which a price is stored."""

api = Api("tariffs", "tariffs", "Tariffs and their dynamic prices")


class Tariff(TypedDict):
    """A tariff of the file: the meters that have it, and the name of its dynamic prices."""

    name: str
    currency: str
    is_default: bool
    meters: list[str]
    dynamic: str | None
    rates: Annotated[list[Rates], Field(description="As in the file; each until the next.")]


class Stored(TypedDict):
    """The dynamic prices that are stored under a name; `missing` quarter-hours lie between."""

    name: str
    since: Annotated[datetime, Field(alias="from")]
    to: datetime
    quarter_hours: int
    missing: int


class TariffList(TypedDict):
    """The tariffs, and the dynamic prices by their names."""

    tariffs: list[Tariff]
    prices: list[Stored]
    trouble: Annotated[
        str | None,
        Field(description="What is wrong with TARIFFS_FILE, so that the tariffs before it apply."),
    ]


class Prices(TypedDict):
    """The prices of a period, each for a quarter of an hour."""

    minutes: Literal[15]
    per: Literal["kWh"]
    prices: list[Price]


class TariffPath(BaseModel):
    """The tariff in the path."""

    name: MeterId = Field(description="Name of the dynamic prices.", examples=["spot"])


class PricesQuery(BaseModel):
    """Period to return."""

    since: Moment | None = Field(
        None, alias="from", description="Start (default: that of today).", examples=A_DAY["from"]
    )
    until: Moment | None = Field(
        None,
        alias="to",
        description="End, not included (default: 2 days after `from`).",
        examples=A_DAY["to"],
    )


@api.add("GET", "/tariffs/", summary="All tariffs", response=TariffList)
def list_tariffs() -> Response:
    """Tariffs of TARIFFS_FILE, and the dynamic prices that are stored."""
    stored = parts().history.query(prices.stored, empty=list[prices.Stored]())
    body = {
        "tariffs": _tariffs(parts().tariffs),
        "prices": [
            {
                "name": each.tariff,
                "from": format_time(each.since),
                "to": format_time(each.until),
                "quarter_hours": each.quarters,
                "missing": each.missing,
            }
            for each in stored
        ],
        "trouble": parts().tariffs_file.trouble,
    }
    return json_response(orjson.dumps(body))


@api.add("GET", "/tariffs/<name>/prices", summary="Dynamic prices", response=Prices)
def get_prices(path: TariffPath, query: PricesQuery) -> Response:
    """Prices of each quarter-hour, without a markup; quarter-hours without a price are absent."""
    since = query.since or start_of(Unit.DAY, datetime.now(UTC), parts().zone)
    until = query.until or since + timedelta(days=2)
    if since >= until:
        return invalid_parameter("from", "should be before `to`")
    if until - since > LONGEST:
        return invalid_parameter("from", f"should be at most {LONGEST.days} days before `to`")
    begin, end = (-(-epoch_ms(moment) // 1000) for moment in (since, until))

    def read(database: peewee.Database) -> bytes | None:
        found = prices.read(database, path.name, begin, end)
        names = {each.tariff for each in prices.stored(database)}
        return _encoded(found) if path.name in names else None

    body = parts().history.query(read, empty=None)
    if body is None:
        return error_response(404, f"prices {path.name!r}: there are none; see /tariffs/")
    return json_response(body)


@api.add(
    "POST",
    "/tariffs/<name>/prices",
    summary="Publish dynamic prices",
    responses={
        201: {"description": "Stored; the response is the list."},
        202: {"description": "Published, but not stored within 2 s."},
        503: {"description": "The broker is unreachable; try again."},
    },
    examples={
        "two hours": {
            "minutes": 60,
            "prices": [
                {"from": "2026-11-22T19:00:00Z", "price": 0.2871},
                {"from": "2026-11-22T20:00:00Z", "price": 0.2514},
            ],
        }
    },
)
def post_prices(path: TariffPath, body: PriceList) -> Response:
    """Publish prices on `meters/_tariff/<name>/prices`; they replace others of the same time."""
    quarters = body.quarters()

    def is_stored(database: peewee.Database) -> bool:
        found = prices.read(database, path.name, min(quarters), max(quarters) + 1)
        return all(
            found.price.get(quarter) == round(each.price, DECIMALS)
            for quarter, each in quarters.items()
        )

    # Retained are the prices of now and later: those of the past are for the history only.
    is_current = max(quarters) >= datetime.now(UTC).timestamp() - 3600
    topic, payload = topics.prices(path.name), body.encode()
    status = publish(topic, payload, is_stored, retain=is_current)
    if isinstance(status, Response):
        return status
    return json_response(payload, 201 if status == 200 else status)


def _tariffs(tariffs: Tariffs | None) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "currency": tariffs.currency,
            "is_default": tariff is tariffs.default,
            "meters": [meter for meter, own in tariffs.meters.items() if own == name],
            "dynamic": tariff.rates[-1].price_list,
            "rates": [rates.model_dump(mode="json", by_alias=True) for rates in tariff.rates],
        }
        for name, tariff in (tariffs.named.items() if tariffs else ())
        if tariffs
    ]


def _encoded(found: prices.Prices) -> bytes:
    rows = [
        {"from": format_time(from_epoch_ms(quarter * 1000)), "price": price}
        | ({"feed_in": found.feed_in[quarter]} if quarter in found.feed_in else {})
        for quarter, price in found.price.items()
    ]
    return orjson.dumps({"minutes": 15, "per": "kWh", "prices": rows})
