"""/utility-readings/: what a person has read off the utility's meters, and the drift of ours."""

from collections.abc import Iterator
from datetime import timedelta

import peewee
import pytest
from flask.testing import FlaskClient

from contract.readings import Reading
from history.readings_table import Writer
from history.utility_readings import UtilityReading, enter
from tests.support.histories import NEW_YEAR, fill
from tests.support.web import make_client, parts

HOUR = timedelta(hours=1)


@pytest.fixture
def client(database: peewee.Database) -> Iterator[FlaskClient]:
    """A client of a history of a meter that counts 0.6 kWh an hour, with two entries."""
    fill(database, NEW_YEAR, 12)
    Writer(database).write([Reading("2", NEW_YEAR, {"power": 1.0})])
    for hours, value in ((1, 50_000.0), (11, 50_005.0)):
        enter(database, UtilityReading("1", NEW_YEAR + hours * HOUR, value))
    opened = make_client(f"sqlite:///{database.database}")
    yield opened
    parts(opened).history.close()


def test_entries_are_listed_with_the_drift(client: FlaskClient) -> None:
    of_all, of_one = (
        client.get(path).json for path in ("/utility-readings/", "/utility-readings/1")
    )

    assert of_all == of_one
    first, last = of_all
    assert first == {
        "meter_id": "1", "register": "import", "ts": "2026-01-01T01:00:00.000Z", "value": 50_000.0,
        "counter": 1000.7, "measured_at": "2026-01-01T01:00:00.000Z", "since": None,
        "by_utility": None, "by_meter": None, "drift": None, "drift_percent": None,
    }  # fmt: skip
    assert (last["since"], last["by_utility"], last["by_meter"], last["drift"]) == (
        "2026-01-01T01:00:00.000Z", 5.0, 6.0, 1.0,
    )  # fmt: skip
    assert last["drift_percent"] == pytest.approx(20)


def test_they_come_as_csv_too(client: FlaskClient) -> None:
    lines = client.get("/utility-readings/?format=csv").text.splitlines()

    assert len(lines) == 3
    assert lines[0].startswith("meter_id,register,ts,value,")
    assert lines[2].startswith("1,import,2026-01-01T11:00:00.000Z,50005.0,")


def test_a_meter_without_entries_has_none_and_an_unknown_one_is_404(client: FlaskClient) -> None:
    assert client.get("/utility-readings/2").json == []
    assert client.get("/utility-readings/none").status_code == 404
