"""/tariffs/: which tariffs there are, and their dynamic prices, on a real broker and recorder."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from tests.support.parts import wait_until
from tests.support.plain_client import PlainClient
from tests.web.test_posting import Site

FILE = """
currency = "CHF"
[meters]
7 = "market"
[[tariff]]
name = "fixed"
valid_from = 2026-01-01
price = 0.3
[[tariff]]
name = "market"
valid_from = 2026-01-01
dynamic = "spot"
"""
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("tariffs")
    (directory / "tariffs.toml").write_text(FILE)
    with ExitStack() as stack:
        yield Site(directory, stack)


@pytest.fixture
def name() -> str:
    """Prices of this test alone."""
    return uuid4().hex[:8]


def body(*prices: float, start: datetime = NOON, **more: Any) -> dict[str, Any]:
    return {
        "minutes": 60,
        "prices": [
            {"from": (start + n * timedelta(hours=1)).isoformat(), "price": price}
            for n, price in enumerate(prices)
        ],
    } | more


def test_the_tariffs_of_the_file_are_listed(site: Site) -> None:
    status, answer = site.get("/tariffs/")

    assert status == 200
    rates = [tariff.pop("rates") for tariff in answer["tariffs"]]
    assert [[each["valid_from"] for each in some] for some in rates] == [["2026-01-01"]] * 2
    assert (rates[0][0]["price"], rates[1][0]["dynamic"]) == (0.3, "spot")
    assert answer["tariffs"] == [
        {
            "name": "fixed",
            "currency": "CHF",
            "is_default": True,
            "meters": [],
            "dynamic": None,
        },
        {
            "name": "market",
            "currency": "CHF",
            "is_default": False,
            "meters": ["7"],
            "dynamic": "spot",
        },
    ]


def test_posted_prices_are_stored_and_returned_by_the_quarter_hour(site: Site, name: str) -> None:
    status, _ = site.ask(f"/tariffs/{name}/prices", body(250, -20, per="MWh"))
    found = site.get(f"/tariffs/{name}/prices?from=2026-11-22T12:45:00Z&to=2026-11-22T13:30:00Z")

    assert status == 201
    assert found == (
        200,
        {
            "minutes": 15,
            "per": "kWh",
            "prices": [
                {"from": "2026-11-22T12:45:00.000Z", "price": 0.25},
                {"from": "2026-11-22T13:00:00.000Z", "price": -0.02},
                {"from": "2026-11-22T13:15:00.000Z", "price": -0.02},
            ],
        },
    )
    listed = [each for each in site.get("/tariffs/")[1]["prices"] if each["name"] == name]
    assert listed == [
        {
            "name": name,
            "from": "2026-11-22T12:00:00.000Z",
            "to": "2026-11-22T14:00:00.000Z",
            "quarter_hours": 8,
            "missing": 0,
        }
    ]


def test_what_is_returned_can_be_posted_again(site: Site, name: str) -> None:
    site.ask(f"/tariffs/{name}/prices", body(0.25))
    _, found = site.get(f"/tariffs/{name}/prices?from=2026-11-22T00:00:00Z")

    assert site.ask(f"/tariffs/{name}/prices", found)[0] == 201


def test_prices_of_today_are_retained_and_those_of_the_past_are_not(site: Site, name: str) -> None:
    today = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    site.ask(f"/tariffs/{name}/prices", body(0.25, start=today))
    site.ask(f"/tariffs/{name}/prices", body(0.5, start=today - timedelta(days=9)))

    with PlainClient(site.mqtt) as client:
        client.subscribe(f"meters/_tariff/{name}/prices")
        wait_until(lambda: client.messages)
        assert [b'"price":0.25' in message.payload for message in client.messages] == [True]


@pytest.mark.parametrize(
    ("path", "given", "status", "place"),
    [
        ("none/prices", None, 404, "there are none"),
        ("a b/prices", None, 422, "should be 1 to 32"),
        ("spot/prices?from=2026-01-01T00:00:00Z&to=2026-12-01T00:00:00Z", None, 422, "62 days"),
        ("spot/prices?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", None, 422, "before `to`"),
        ("spot/prices", {"minutes": 7, "prices": []}, 422, "15, 30 or 60"),
        ("spot/prices", body(1, start=NOON + timedelta(minutes=1)), 422, "quarter-hour"),
        ("spot/prices", body(1) | {"prices": body(1)["prices"] * 2}, 422, "60 minutes apart"),
    ],
)
def test_an_invalid_request_says_what_was_expected(
    site: Site, path: str, given: Any, status: int, place: str
) -> None:
    answer = site.ask(f"/tariffs/{path.replace(' ', '%20')}", given)

    assert answer[0] == status
    assert place in str(answer[1])


def test_without_a_broker_prices_are_not_accepted(client: FlaskClient, name: str) -> None:
    answer = client.post(f"/tariffs/{name}/prices", json=body(1))

    assert answer.status_code == 503
    assert "nothing was published" in answer.json["detail"]


def test_without_a_file_there_are_no_tariffs(client: FlaskClient) -> None:
    assert client.get("/tariffs/").json == {"tariffs": [], "prices": [], "trouble": None}
