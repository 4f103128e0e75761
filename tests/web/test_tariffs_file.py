"""The tariffs file: read again when a person changes it, while the service runs."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import peewee
import pytest
from flask.testing import FlaskClient

from contract.readings import Reading
from history.readings_table import Writer
from service.errors import SettingsError
from tests.support.web import make_client, parts
from web.tariffs_file import TariffsFile

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z"
TARIFF = "[[tariff]]\nvalid_from = 2026-01-01\nprice = {}\n"


@pytest.fixture
def client(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FlaskClient]:
    """A client of a history of 24 kWh, in a directory without tariffs."""
    monkeypatch.chdir(tmp_path)
    hours = (START + timedelta(hours=n) for n in range(25))
    Writer(database).write(Reading("1", ts, {"energy": float(n)}) for n, ts in enumerate(hours))
    opened = make_client(f"sqlite:///{database.database}", timezone="UTC")
    yield opened
    parts(opened).history.close()


def cost(client: FlaskClient) -> Any:
    return client.get(f"/meters/1/energy?{DAY}").json["periods"][0]["cost"]


def test_a_file_that_appears_or_changes_counts_at_once(client: FlaskClient, tmp_path: Path) -> None:
    path, costs = tmp_path / "tariffs.toml", [cost(client)]
    for price in (0.5, 0.25):
        path.write_text(TARIFF.format(price))
        costs.append(cost(client))

    assert costs == [None, pytest.approx(11.5), pytest.approx(5.75)]
    assert client.get("/site/energy?period=day").json["currency"] == "EUR"


def test_a_mistake_keeps_the_tariffs_of_before_and_is_reported_until_it_is_mended(
    client: FlaskClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tariffs.toml"
    path.write_text(TARIFF.format(0.5))
    before = cost(client)
    path.write_text(TARIFF.format("'free'"))
    with caplog.at_level(logging.INFO):
        during = [cost(client), cost(client)]
        trouble = client.get("/tariffs/").json["trouble"]
        path.write_text(TARIFF.format(0.125))
        after = cost(client)

    assert [before, *during, after] == [pytest.approx(each) for each in (11.5, 11.5, 11.5, 2.875)]
    assert "tariff.0.price: input should be a valid number" in trouble
    assert caplog.text.count("keeping the tariffs read before") == 1
    assert "is valid again" in caplog.text
    assert client.get("/tariffs/").json["trouble"] is None


def test_a_file_that_is_gone_keeps_its_tariffs(client: FlaskClient, tmp_path: Path) -> None:
    path = tmp_path / "tariffs.toml"
    path.write_text(TARIFF.format(0.5))
    before = cost(client)
    path.unlink()

    assert cost(client) == before
    assert client.get("/tariffs/").json["trouble"] == "does not exist any more"


def test_a_required_file_has_to_be_there_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "tariffs.toml"

    assert TariffsFile(path, is_required=False).tariffs() is None
    with pytest.raises(SettingsError, match=r"tariffs.toml"):
        TariffsFile(path, is_required=True)
