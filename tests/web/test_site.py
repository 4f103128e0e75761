"""/site/ as a client sees it: a solar house, its figures, and what is wrong with its meters."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import peewee
import pytest
from flask.testing import FlaskClient

from contract.meter_settings import MeterSettings
from contract.readings import Reading
from history.meter_settings import change
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from tests.support.web import make_client, parts
from web.latest import Message

HOURS = 50


@pytest.fixture
def client(database: peewee.Database) -> Iterator[FlaskClient]:
    opened = make_client(f"sqlite:///{database.database}", timezone="UTC")
    yield opened
    parts(opened).history.close()


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def solar_house(database: peewee.Database, now: datetime) -> None:
    """A house that uses 600 W, of it 240 W in a heat pump; the roof gives 900 W."""
    readings = []
    for step in range(HOURS * 12 + 1):
        ts, kwh = now - timedelta(hours=HOURS) + timedelta(minutes=5 * step), step / 12
        for name, power in (("main", -0.3), ("roof", -0.9), ("pump", 0.24)):
            counters = {"energy": max(power, 0) * kwh, "energy_export": max(-power, 0) * kwh}
            values = {"power": 1000 * power, **{n: round(v, 3) for n, v in counters.items()}}
            readings.append(Reading(name, ts, values))
    Writer(database).write(readings)
    assert Rollups(database).run(float("inf"))
    for name, settings in {
        "main": {"role": "grid", "name": "Main meter"},
        "roof": {"role": "production", "parent": "main"},
        "pump": {"parent": "main"},
    }.items():
        change(database, name, MeterSettings.model_validate(settings))


def receive(client: FlaskClient, now: datetime, **payloads: dict[str, Any]) -> None:
    for name, payload in payloads.items():
        meter_id, leaf = name.split("__")
        text = json.dumps({"ts": now.isoformat(), **payload}).encode()
        topic = f"meters/{meter_id}/{leaf}"
        message = Message.of(topic, text, retained=False, arrived=now, now_s=0.0)
        assert message
        parts(client).latest.handle(message)


@pytest.mark.usefixtures("solar_house")
def test_the_house_now_has_the_power_of_each_role_and_its_meters_as_a_tree(
    client: FlaskClient, now: datetime
) -> None:
    receive(
        client,
        now,
        main__reading={"power": -250.0},
        roof__reading={"power": -1000.0},
        pump__reading={"power": 300.0},
    )

    house = client.get("/site/").json

    assert house["power"] == {
        "consumption": 750.0, "grid": -250.0, "production": 1000.0, "storage": None,
        "consumers": 300.0, "rest": 450.0,
    }  # fmt: skip
    assert (house["measured_by"], house["timezone"], house["notes"]) == ("grid", "UTC", [])
    (main,) = house["meters"]
    assert (main["meter_id"], main["name"], main["role"]) == ("main", "Main meter", "grid")
    assert (main["power"], main["rest"], main["billing"]) == (-250.0, 450.0, "per_phase")
    roof, pump = main["children"]
    assert (roof["role"], roof["role_is_assumed"], roof["rest"]) == ("production", False, None)
    assert (pump["role"], pump["role_is_assumed"], pump["power"]) == ("consumer", True, 300.0)


@pytest.mark.usefixtures("solar_house")
def test_the_house_now_has_the_energy_of_today_and_yesterday(
    client: FlaskClient, now: datetime
) -> None:
    today = client.get("/site/").json["today"]

    hours = (now - now.replace(hour=0, minute=0, second=0)) / timedelta(hours=1)
    assert today["now"]["consumption"] == pytest.approx(0.6 * hours, abs=0.11)
    assert today["before_so_far"]["consumption"] == pytest.approx(0.6 * hours, abs=0.11)
    assert today["before"]["production"] == pytest.approx(0.9 * 24, abs=0.01)
    assert today["before"]["self_sufficiency"] == 1.0
    assert today["before"]["self_consumption"] == pytest.approx(2 / 3, abs=0.001)
    assert today["before"]["meters"]["pump"]["imported"] == pytest.approx(0.24 * 24, abs=0.01)


@pytest.mark.usefixtures("solar_house")
def test_a_meter_that_is_offline_or_silent_leaves_the_power_of_the_house_unknown(
    client: FlaskClient, now: datetime
) -> None:
    receive(client, now, main__reading={"power": 400.0}, pump__reading={"power": 100.0})

    without_roof = client.get("/site/").json
    receive(client, now - timedelta(minutes=2), roof__reading={"power": -50.0})
    receive(client, now, roof__info={"interval": 10})
    with_old_roof = client.get("/site/").json

    for house in (without_roof, with_old_roof):
        assert house["power"]["grid"] == 400.0
        assert (house["power"]["production"], house["power"]["consumption"]) == (None, None)
        assert house["meters"][0]["rest"] is None


@pytest.mark.usefixtures("solar_house")
def test_the_energy_of_the_house_comes_by_periods_with_that_of_each_meter(
    client: FlaskClient, now: datetime
) -> None:
    since = (now - timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
    until = now.strftime("%Y-%m-%dT00:00:00Z")

    found = client.get(f"/site/energy?period=hour&from={since}&to={until}").json

    assert [found["period"], len(found["periods"]), found["notes"]] == ["hour", 24, []]
    for hour in found["periods"]:
        assert hour["exported"] == pytest.approx(0.3, abs=0.03)
        assert hour["consumption"] == pytest.approx(0.6, abs=0.06)
        assert hour["rest"] == pytest.approx(0.36, abs=0.06)
        assert hour["meters"]["main"]["rest"] == pytest.approx(hour["rest"], abs=0.001)
    assert found["running"]["now"]["from"] <= now.isoformat()


@pytest.mark.usefixtures("solar_house")
def test_the_house_costs_the_same_where_its_meters_are_left_out(
    database: peewee.Database, tmp_path: Path
) -> None:
    tariffs = tmp_path / "tariffs.toml"
    tariffs.write_text("[[tariff]]\nvalid_from = 2020-01-01\nprice = 0.5\nfeed_in = 0.1\n")
    url = f"sqlite:///{database.database}"
    client = make_client(url, timezone="UTC", tariffs_file=tariffs)

    whole = client.get("/site/energy").json
    alone = client.get("/site/energy?meters=false").json
    table = client.get("/site/energy?meters=false&format=csv").text
    parts(client).history.close()

    known = [period for period in whole["periods"] if period["imported"] is not None]
    assert known[-1]["cost"] < 0
    assert known[-1]["meters"]["pump"]["cost"] > 0
    for period in whole["periods"]:
        del period["meters"]
    assert alone["periods"] == whole["periods"]
    assert "pump" not in table


@pytest.mark.usefixtures("solar_house")
def test_the_same_use_of_the_house_has_a_cost_by_another_tariff(
    database: peewee.Database, tmp_path: Path
) -> None:
    tariffs = tmp_path / "tariffs.toml"
    rates = "[[tariff]]\nname = {!r}\nvalid_from = 2020-01-01\nprice = {}\nfeed_in = {}\n"
    tariffs.write_text(rates.format("own", 0.5, 0.1) + rates.format("double", 1.0, 0.2))
    url = f"sqlite:///{database.database}"
    client = make_client(url, timezone="UTC", tariffs_file=tariffs)

    own, other = (
        client.get(f"/site/energy?meters=false{more}").json["periods"][-1]["cost"]
        for more in ("", "&tariff=double")
    )
    parts(client).history.close()

    assert own < 0
    assert other == pytest.approx(2 * own, abs=0.002)


@pytest.mark.usefixtures("solar_house")
def test_the_energy_of_the_house_comes_as_csv_with_columns_for_each_meter(
    client: FlaskClient, now: datetime
) -> None:
    path = "/site/energy?period=day&to=" + now.strftime("%Y-%m-%dT00:00:00Z")
    days = client.get(path).json["periods"]
    answer = client.get(path, headers={"Accept": "text/csv"})
    again = client.get(
        path, headers={"Accept": "text/csv", "If-None-Match": answer.headers["ETag"]}
    )

    lines = list(csv.DictReader(answer.text.splitlines()))
    assert [line["from"] for line in lines] == [day["from"] for day in days]
    assert lines[-1]["consumption"] == str(days[-1]["consumption"])
    assert lines[-1]["pump_imported"] == str(days[-1]["meters"]["pump"]["imported"])
    assert lines[-1]["main_rest"] == str(days[-1]["meters"]["main"]["rest"])
    assert lines[-1]["cost"] == ""
    assert again.status_code == 304


@pytest.mark.usefixtures("solar_house")
def test_the_power_of_the_house_comes_as_columns_for_a_chart(client: FlaskClient) -> None:
    house = client.get("/site/series?points=12").json
    each = client.get("/site/series?points=12&meters=true").json

    assert set(house) == {
        "ts", "consumption", "grid", "production", "storage", "consumers", "rest",
    }  # fmt: skip
    assert len(house["ts"]) == 12
    assert house["consumption"][2:-2] == [600.0] * 8
    assert each["meters"]["pump"][2:-2] == [240.0] * 8


def test_a_meter_that_is_new_is_part_of_the_house_before_it_is_stored(
    client: FlaskClient, now: datetime
) -> None:
    receive(client, now, a__reading={"power": 400.0}, a__info={"role": "grid", "name": "Main"})
    receive(client, now, b__reading={"power": 150.0}, b__info={"parent": "a"})
    receive(client, now, c__reading={"power": 7.0}, c__info={"role": "nonsense"})

    house = client.get("/site/").json

    assert house["power"]["consumption"] == 400.0
    assert house["power"]["rest"] == 243.0
    assert house["today"]["now"]["consumption"] is None
    assert [(each["meter_id"], each["role"]) for each in house["meters"]] == [
        ("a", "grid"), ("c", "consumer"),
    ]  # fmt: skip
    assert house["meters"][0]["children"][0]["role"] == "consumer"


def test_a_house_without_meters_is_empty(client: FlaskClient) -> None:
    house = client.get("/site/").json

    assert (house["meters"], house["notes"], house["measured_by"]) == ([], [], None)
    assert set(house["power"].values()) == {None}
    assert client.get("/site/energy").json["periods"][0]["consumption"] is None
    assert set(client.get("/site/series?points=3").json["consumption"]) == {None}


def test_a_parent_that_is_missing_is_noted(
    client: FlaskClient, database: peewee.Database, now: datetime
) -> None:
    Writer(database).write([Reading("a", now, {"power": 1.0})])
    database.execute_sql("UPDATE meters SET info_parent = 'gone'")

    assert client.get("/site/").json["notes"] == [
        {
            "meter_id": "a",
            "text": "its parent 'gone' has no readings",
            "kind": "parent_unknown",
            "kwh": None,
            "other": "gone",
        }
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("energy?period=decade", "period"),
        ("energy?from=2026-11-22&to=2026-11-20", "from"),
        ("energy?period=hour&from=2000-01-01", "from"),
        ("series?points=0", "points"),
        ("series?from=2026-11-22&to=2026-11-20", "from"),
    ],
)
def test_a_wrong_parameter_is_named(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/site/{query}")

    assert answer.status_code == 422
    assert answer.json["detail"][0]["loc"][-1] == field
