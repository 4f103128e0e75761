"""Dynamic prices on the wire: which are valid, and what they mean by the quarter-hour."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import PayloadError
from contract.prices import KwhPrice, PriceList, decode_prices

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_S = int(NOON.timestamp())


def payload(**changes: Any) -> str:
    prices = [{"from": "2026-11-22T12:00:00Z", "price": 0.25}]
    return json.dumps({"minutes": 60, "prices": prices} | changes)


def test_a_price_of_an_hour_is_that_of_its_quarter_hours() -> None:
    quarters = decode_prices(payload()).quarters()

    assert quarters == {NOON_S + n * 900: KwhPrice(0.25) for n in range(4)}


def test_prices_per_mwh_are_converted() -> None:
    prices = [{"from": NOON_S, "price": -87.5, "feed_in": 12}]

    quarters = decode_prices(payload(minutes=15, per="MWh", prices=prices)).quarters()

    assert quarters == {NOON_S: (pytest.approx(-0.0875), pytest.approx(0.012))}


@given(
    minutes=st.sampled_from([15, 30, 60]),
    starts=st.sets(st.integers(0, 200), min_size=1),
    price=st.floats(-100, 100),
)
def test_what_was_encoded_is_decoded_the_same(minutes: int, starts: set[int], price: float) -> None:
    prices = [
        {"from": (NOON + n * timedelta(minutes=minutes)).isoformat(), "price": price + n}
        for n in starts
    ]
    given = PriceList.model_validate({"minutes": minutes, "prices": prices})

    assert decode_prices(given.encode()).quarters() == given.quarters()
    assert len(given.quarters()) == len(starts) * minutes // 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 20}, "minutes: should be 15, 30 or 60 (got 20)"),
        ({"prices": []}, "prices: "),
        ({"prices": [{"from": NOON_S}]}, "prices.0.price: Field required"),
        ({"prices": [{"from": NOON_S, "price": "x"}]}, "prices.0.price: should be a"),
        ({"prices": [{"from": NOON_S + 60, "price": 1}]}, "should be the start of a quarter-hour"),
        ({"prices": [{"from": "2026-11-22T12:00", "price": 1}]}, "should be a time with a zone"),
        (
            {"prices": [{"from": NOON_S, "price": 1}, {"from": NOON_S + 900, "price": 1}]},
            "prices: should be 60 minutes apart",
        ),
    ],
    ids=["width", "empty", "no price", "text", "within a quarter", "no zone", "overlap"],
)
def test_the_error_names_the_field_and_what_was_expected(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PayloadError) as error:
        decode_prices(payload(**changes))

    assert message in str(error.value)


def test_a_payload_that_is_too_large_or_no_json_is_rejected() -> None:
    with pytest.raises(PayloadError, match="more than"):
        decode_prices(b" " * 70_000)
    with pytest.raises(PayloadError):
        decode_prices(b"{")
