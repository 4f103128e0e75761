"""`meters/<id>/peak`: the running quarter-hour, as a program that sheds load receives it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contract.readings import Reading
from history.database import migrate, open_database
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from tests.recorder.test_recorder import start
from tests.support.parts import wait_until
from tests.support.plain_client import PlainClient

QUARTER = timedelta(minutes=15)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return tmp_path / "recorder" / "energy_meters.db"


@pytest.fixture
def client(broker_port: int) -> Iterator[PlainClient]:
    with PlainClient(broker_port) as connected:
        yield connected


def newest(client: PlainClient, meter_id: str = "1") -> dict[str, Any]:
    found = [each for each in client.messages if each.topic == f"meters/{meter_id}/peak"]
    content: dict[str, Any] = json.loads(found[-1].payload) if found else {}
    return content


def reading(ts: datetime, energy: float, power: float = 1000.0) -> str:
    return Reading("1", ts, {"power": power, "energy": round(energy, 3)}).encode()


def test_the_running_quarter_hour_is_projected_at_each_reading(
    broker_port: int, client: PlainClient, history: Path
) -> None:
    client.subscribe("meters/+/peak")
    first = datetime.now(UTC)
    with start(broker_port, history, PEAK_INTERVAL=0.1):
        client.publish("meters/1/reading", reading(first, 100))
        wait_until(lambda: newest(client))
        ts = first + timedelta(seconds=1)
        client.publish("meters/1/reading", reading(ts, 100.001, power=5000.0))
        wait_until(lambda: newest(client)["ts"] > f"{first.isoformat()[:19]}.999")

    shown = newest(client)
    begin = datetime.fromisoformat(shown["from"])
    assert begin == datetime.min.replace(tzinfo=UTC) + (
        (ts - datetime.min.replace(tzinfo=UTC)) // QUARTER * QUARTER
    )
    rest_h = (begin + QUARTER - ts) / timedelta(hours=1)
    assert shown["projected"] == pytest.approx((0.001 + 5 * rest_h) * 4000, rel=0.05, abs=2)
    assert "month_peak" not in shown


def test_the_highest_demand_of_the_month_stays_over_a_restart(
    broker_port: int, client: PlainClient, history: Path
) -> None:
    now = datetime.now(UTC)
    history.parent.mkdir()
    database = open_database(f"sqlite:///{history}")
    migrate(database)
    Writer(database).write(
        Reading("1", now - timedelta(minutes=45 - n), {"power": 60.0, "energy": 100 + n / 1000})
        for n in range(46)
    )
    assert Rollups(database).run(float("inf"))
    database.close()
    client.subscribe("meters/1/peak")

    with start(broker_port, history, TIMEZONE="UTC"):
        client.publish("meters/1/reading", reading(now + timedelta(seconds=1), 100.046))
        wait_until(lambda: newest(client))

    if (now - timedelta(minutes=45)).month == now.month:
        assert newest(client)["month_peak"] == pytest.approx(60, abs=4)
        assert newest(client)["month_peak_at"] < newest(client)["from"]


def test_messages_are_retained_and_limited_in_number(
    broker_port: int, client: PlainClient, history: Path
) -> None:
    client.subscribe("meters/1/peak")
    begin = datetime.now(UTC)
    with start(broker_port, history, PEAK_INTERVAL=900):
        for n in range(20):
            client.publish("meters/1/reading", reading(begin + timedelta(milliseconds=n), 100))
        wait_until(lambda: newest(client))
        client.publish("meters/2/reading", reading(begin, 5).replace('"1"', '"2"'))
        client.subscribe("meters/2/peak")
        wait_until(lambda: newest(client, "2"))

    assert len([each for each in client.messages if each.topic == "meters/1/peak"]) == 1
    with PlainClient(broker_port) as later:
        later.subscribe("meters/1/peak")
        wait_until(lambda: newest(later))


def test_no_message_is_published_where_that_is_switched_off(
    broker_port: int, client: PlainClient, history: Path
) -> None:
    client.subscribe("meters/#")
    with start(broker_port, history, PEAK_INTERVAL=0):
        for n in range(3):
            client.publish("meters/1/reading", reading(datetime.now(UTC), 100 + n))
            wait_until(lambda: len(client.messages) > n)  # noqa: B023

    assert newest(client) == {}
