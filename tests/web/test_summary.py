"""What a meter and the house measured between any two times, over REST."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import peewee
import pytest
from flask.testing import FlaskClient

from contract.meter_settings import MeterSettings
from contract.readings import Reading
from history.corrections import void
from history.meter_settings import change
from history.readings_table import Writer
from history.rollups.replacements import replace_meter
from history.rollups.rollups import Rollups
from tests.support.web import make_client, parts

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PERIOD = "from=2026-03-01T13:10:00Z&to=2026-03-01T16:40:00Z"


@pytest.fixture
def client(database: peewee.Database, tmp_path: Path) -> Iterator[FlaskClient]:
    """A service of a heat pump that draws 300 W for 5 hours, and 2,000 W for one reading."""
    readings = []
    for minute in range(0, 301, 5):
        power = 2000.0 if minute == 150 else 300.0
        values = {"power": power, "energy": minute / 200}
        readings.append(Reading("pump", START + timedelta(minutes=minute), values))
    Writer(database).write(readings)
    assert Rollups(database).run(float("inf"))
    tariffs = tmp_path / "tariffs.toml"
    tariffs.write_text('currency = "EUR"\n[[tariff]]\nvalid_from = 2020-01-01\nprice = 0.5\n')
    url = f"sqlite:///{database.database}"
    opened = make_client(url, timezone="UTC", tariffs_file=tariffs)
    yield opened
    parts(opened).history.close()


def test_a_summary_is_of_exactly_the_time_between_two_times(client: FlaskClient) -> None:
    summary = client.get(f"/meters/pump/summary?{PERIOD}").json

    assert (summary["imported"], summary["exported"]) == (pytest.approx(1.05), None)
    assert (summary["cost"], summary["currency"]) == (pytest.approx(0.525), "EUR")
    assert summary["peak"] == {"power": 2000.0, "at": "2026-03-01T14:30:00.000Z", "exact_to": 0}
    assert summary["base_load"] == 300.0
    assert summary["marks"] == []


def test_a_summary_names_void_readings_and_replaced_meters(
    client: FlaskClient, database: peewee.Database
) -> None:
    noon, hour = START, timedelta(hours=1)
    void(database, "pump", noon + 2 * hour, noon + 3 * hour, "test of a heater")
    replace_meter(database, "pump", noon + 4 * hour, {}, {})

    marks = client.get(f"/meters/pump/summary?{PERIOD}").json["marks"]
    later = client.get("/meters/pump/summary?from=2026-03-01T16:30:00Z").json["marks"]

    house = client.get(f"/site/summary?{PERIOD}").json["marks"]

    assert house == marks
    assert [(mark["kind"], mark["from"], mark["why"]) for mark in marks] == [
        ("void", "2026-03-01T14:00:00.000Z", "test of a heater"),
        ("replaced", "2026-03-01T16:00:00.000Z", None),
    ]
    assert later == []


def test_a_summary_of_the_house_is_that_of_its_grid_meter(
    client: FlaskClient, database: peewee.Database
) -> None:
    change(database, "pump", MeterSettings.model_validate({"role": "grid"}))

    summary = client.get(f"/site/summary?{PERIOD}").json

    assert summary["consumption"] == pytest.approx(1.05)
    assert (summary["cost"], summary["currency"]) == (pytest.approx(0.525), "EUR")


@pytest.mark.parametrize("address", ["/site/summary", "/meters/pump/summary"])
@pytest.mark.parametrize(
    "query", ["", "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "from=2001-01-01T00:00:00Z"]
)
def test_a_summary_without_a_usable_period_is_refused(
    client: FlaskClient, address: str, query: str
) -> None:
    answer = client.get(f"{address}?{query}")

    assert answer.status_code == 422
    assert answer.json["detail"][0]["loc"] == ["query", "from"]


def test_a_summary_of_an_unknown_meter_is_not_found(client: FlaskClient) -> None:
    assert client.get(f"/meters/nobody/summary?{PERIOD}").status_code == 404
