"""/voids/: what a person has taken out of every sum."""

from collections.abc import Iterator
from datetime import timedelta

import peewee
import pytest
from flask.testing import FlaskClient

from contract.readings import Reading
from history.corrections import undo, void
from history.readings_table import Writer
from tests.support.histories import NEW_YEAR, fill
from tests.support.web import make_client, parts

HOUR = timedelta(hours=1)


@pytest.fixture
def client(database: peewee.Database) -> Iterator[FlaskClient]:
    """A client of a history with two voids, one of which was undone."""
    fill(database, NEW_YEAR, 12)
    Writer(database).write([Reading("2", NEW_YEAR, {"power": 1.0})])
    for hours in (1, 5):
        begin = NEW_YEAR + hours * HOUR
        void(database, "1", begin, begin + HOUR, "=wrong, phase")
    undo(database, "1", NEW_YEAR + 5 * HOUR, NEW_YEAR + 6 * HOUR)
    opened = make_client(f"sqlite:///{database.database}")
    yield opened
    parts(opened).history.close()


def test_voids_are_listed_with_those_that_were_undone(client: FlaskClient) -> None:
    of_all, of_one = (client.get(path).json for path in ("/voids/", "/voids/1"))

    assert of_all == of_one
    first, last = of_all
    assert (first["meter_id"], first["from"], first["to"], first["why"]) == (
        "1", "2026-01-01T01:00:00.000Z", "2026-01-01T02:00:00.000Z", "=wrong, phase",
    )  # fmt: skip
    assert first["undone"] is None
    assert last["undone"] >= last["made"]


def test_they_come_as_csv_too(client: FlaskClient) -> None:
    lines = client.get("/voids/?format=csv").text.splitlines()

    assert lines[0] == "meter_id,from,to,why,made,undone"
    assert lines[1].startswith(
        '1,2026-01-01T01:00:00.000Z,2026-01-01T02:00:00.000Z,"\'=wrong, phase",'
    )


def test_a_meter_without_voids_has_none_and_an_unknown_one_is_404(client: FlaskClient) -> None:
    assert client.get("/voids/2").json == []
    assert client.get("/voids/none").status_code == 404
