"""Prices of energy that change by the hour or quarter-hour.

The model `PriceList` is the payload of `meters/_tariff/<name>/prices`, the body of
POST /tariffs/<name>/prices, and the content of a JSON file of prices.
"""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from contract.errors import PayloadError
from contract.times import epoch_ms, format_time
from contract.validation import TIME_SCHEMA, payload_error, read_time

QUARTER_S = 900
MAX_PAYLOAD_BYTES = 65536
_PER_KWH = {"kWh": 1.0, "MWh": 0.001}


def _is_start(ts: datetime) -> bool:
    return epoch_ms(ts) % (QUARTER_S * 1000) == 0


def _start(value: object) -> object:
    expected = "should be the start of a quarter-hour, as in 2026-11-22T19:15:00Z"
    return read_time(value, _is_start, expected)


Start = Annotated[
    datetime,
    BeforeValidator(_start),
    PlainSerializer(format_time),
    WithJsonSchema(TIME_SCHEMA, mode="validation"),
]
Amount = Annotated[float, Field(strict=True, ge=-1e6, le=1e6, allow_inf_nan=False)]


class KwhPrice(NamedTuple):
    """What a kWh costs that is drawn, and what is paid for one fed in, where that is known."""

    price: float
    feed_in: float | None = None


class Price(BaseModel):
    """The price of energy from a time on."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    start: Start = Field(
        alias="from", description="RFC 3339 with a zone, or epoch seconds or milliseconds."
    )
    price: Amount = Field(description="Price of a unit that is drawn; may be negative.")
    feed_in: Amount | None = Field(None, description="Price that is paid for a unit fed in.")


class PriceList(BaseModel):
    """Prices of a tariff, each for `minutes`; a later one of the same time replaces it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    minutes: Literal[15, 30, 60] = Field(description="How long each price applies.")
    per: Literal["kWh", "MWh"] = Field("kWh", description="Unit of energy of the prices.")
    prices: tuple[Price, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        starts = sorted(price.start for price in self.prices)
        for earlier, later in pairwise(starts):
            if later - earlier < timedelta(minutes=self.minutes):
                raise ValueError(
                    f"prices: should be {self.minutes} minutes apart "
                    f"(got {format_time(earlier)} and {format_time(later)})"
                )
        return self

    def quarters(self) -> dict[int, KwhPrice]:
        """Return the prices of a kWh by the start of each quarter-hour, in epoch seconds."""
        factor = _PER_KWH[self.per]
        found = {}
        for each in self.prices:
            feed_in = None if each.feed_in is None else each.feed_in * factor
            begin = epoch_ms(each.start) // 1000
            for quarter in range(begin, begin + self.minutes * 60, QUARTER_S):
                found[quarter] = KwhPrice(each.price * factor, feed_in)
        return found

    def encode(self) -> str:
        """Return the compact JSON of the contract."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True)


def decode_prices(payload: bytes | str, most_bytes: int = MAX_PAYLOAD_BYTES) -> PriceList:
    """Return the prices in a payload; raises PayloadError naming each field that is wrong."""
    if len(payload) > most_bytes:
        raise PayloadError("too_large", [("", f"more than {most_bytes} bytes")])
    try:
        return PriceList.model_validate_json(payload)
    except ValidationError as error:
        raise payload_error(error, depth=3) from error
