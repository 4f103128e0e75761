"""/utility-readings/: what a person has read off the utility's meters, and the drift of ours."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import peewee
import pytest
from flask.testing import FlaskClient

from contract.readings import Reading
from history.readings_table import Writer
from history.utility_readings import UtilityReading, enter
from tests.support.histories import NEW_YEAR, fill
from tests.support.parts import wait_until
from tests.support.web import make_client, parts
from tests.web.test_live import Site

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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A broker, a recorder and the service, with a meter that counted 2 kWh a day."""
    with ExitStack() as stack:
        site = Site(tmp_path_factory.mktemp("site"), stack)
        readings = [{"ts": f"2026-11-0{day}T08:00:00Z", "energy": 100 + 2 * day} for day in (1, 3)]
        site.publish(*(("meters/main/reading", json.dumps(reading)) for reading in readings))
        wait_until(lambda: len(site.get("/readings/main")[1]) == 2)
        yield site


def ask(site: Site, method: str, path: str, body: object = None) -> tuple[int, Any]:
    data, head = json.dumps(body).encode() if body else None, {"Content-Type": "application/json"}
    request = Request(f"{site.url}/utility-readings/{path}", data, head, method=method)
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["detail"]


def entries(site: Site) -> list[tuple[str, float]]:
    return [(each["ts"], each["value"]) for each in site.get("/utility-readings/main")[1]]


def test_an_entry_is_stored_corrected_and_removed(site: Site) -> None:
    first = {"ts": "2026-11-01T09:00:00+01:00", "value": 5000}
    assert ask(site, "POST", "main", first)[0] == 201

    status, found = ask(site, "POST", "main", {"ts": "2026-11-03T08:00:00Z", "value": 5004.1})
    assert (status, found["drift"]) == (201, -0.1)
    assert found["drift_percent"] == pytest.approx(100 * -0.1 / 4.1)

    assert ask(site, "POST", "main", first | {"value": 5000.1})[1]["value"] == 5000.1
    assert entries(site) == [
        ("2026-11-01T08:00:00.000Z", 5000.1), ("2026-11-03T08:00:00.000Z", 5004.1),
    ]  # fmt: skip

    status, found = ask(site, "DELETE", "main?ts=2026-11-03T08:00:00Z&register=import")
    assert (status, found["value"]) == (200, 5004.1)
    assert entries(site) == [("2026-11-01T08:00:00.000Z", 5000.1)]
    assert ask(site, "DELETE", "main?ts=2026-11-03T08:00:00Z")[0] == 404


def test_an_entry_without_a_time_is_of_now(site: Site) -> None:
    status, found = ask(site, "POST", "main", {"value": 1.5, "register": "export"})

    assert (status, found["register"]) == (201, "export")
    age = datetime.now(UTC) - datetime.fromisoformat(found["ts"])
    assert timedelta() <= age < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("meter_id", "body", "status", "message"),
    [
        ("mian", {"value": 1}, 404, "meter 'mian' has no readings"),
        ("main", {"value": -1}, 422, "should be greater than or equal to 0"),
        ("main", {"value": "12"}, 422, "should be a valid number"),
        ("main", {"register": "import"}, 422, "Field required"),
        ("main", {"value": 1, "register": "both"}, 422, "should be 'import' or 'export'"),
        ("main", {"value": 1, "ts": "2999-01-01T00:00:00Z"}, 422, "should not be in the future"),
        ("main", {"value": 1, "ts": "1969-12-31T00:00:00Z"}, 422, "should be a time from 1970 on"),
        ("main", {"value": 1, "ts": "noon"}, 422, "should be a time with a zone"),
    ],
)
def test_a_mistake_in_an_entry_is_named(
    site: Site, meter_id: str, body: object, status: int, message: str
) -> None:
    before = entries(site)

    found = ask(site, "POST", meter_id, body)

    assert found[0] == status
    assert message in json.dumps(found[1])
    assert entries(site) == before


def test_without_a_broker_nothing_is_entered(client: FlaskClient) -> None:
    answer = client.post("/utility-readings/1", json={"value": 1.0})

    assert answer.status_code == 503
    assert "nothing was published" in answer.json["detail"]
