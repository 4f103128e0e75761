"""Meters over REST: one and all of them, their fields, CSV, and a thousand at once."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee
import pytest
from flask.testing import FlaskClient

from contract.meter_settings import Billing, MeterSettings, Role
from contract.readings import Reading
from history.meter_settings import change
from tests.support.web import parts
from web.latest import Message

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
Store = Callable[..., None]


def reading(meter_id: str = "1", second: float = 0, **values: float) -> Reading:
    return Reading(meter_id, START + timedelta(seconds=second), values or {"power": second})


def receive(client: FlaskClient, **messages: str) -> None:
    """Let the service receive messages; `esp1__info` stands for meters/esp1/info."""
    for name, payload in messages.items():
        topic = f"meters/{name.replace('__', '/')}"
        arrived = datetime.now(UTC)
        message = Message.of(topic, payload.encode(), retained=True, arrived=arrived, now_s=0.0)
        assert message
        parts(client).latest.handle(message)


def test_one_meter_has_an_address(client: FlaskClient, store: Store) -> None:
    store(reading("1", 5, power=7.0), reading("2", 9, power=8.0))
    receive(client, esp1__status="online")

    meters = {meter["meter_id"]: meter for meter in client.get("/meters/").json}

    assert client.get("/meters/1").json == meters["1"]
    assert client.get("/meters/esp1/").json == meters["esp1"]
    assert meters["1"]["latest"] == {
        "ts": "2026-11-22T12:00:05.000Z", "meter_id": "1", "power": 7.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/meters/{}", "/meters/{}/series", "/meters/{}/energy", "/readings/{}"]
)
@pytest.mark.parametrize("with_history", [True, False])
def test_an_unknown_meter_is_not_found_in_the_same_words_everywhere(
    client: FlaskClient, store: Store, path: str, with_history: bool
) -> None:
    if with_history:
        store(reading())

    for query in ("", "?format=csv"):
        answer = client.get(path.format("nope") + query)

        assert answer.status_code == 404
        assert answer.json == {"detail": "unknown meter 'nope'; see /meters/"}


def test_only_chosen_fields_of_a_meter_are_returned(client: FlaskClient, store: Store) -> None:
    store(reading("1"), reading("2"))

    assert client.get("/meters/?fields=name").json == [
        {"meter_id": "1", "name": "1"},
        {"meter_id": "2", "name": "2"},
    ]
    assert list(client.get("/meters/2?fields=online,latest").json) == [
        "meter_id", "online", "latest",
    ]  # fmt: skip
    assert client.get("/meters/?fields=colour").status_code == 422


def test_meters_come_page_by_page(client: FlaskClient, store: Store) -> None:
    store(*(reading(name) for name in ("10", "2", "esp", "1", "b", "33")))
    receive(client, c__status="online")

    pages, address = [], "/meters/?limit=3&fields=name"
    while address:
        answer = client.get(address)
        pages.append([meter["meter_id"] for meter in answer.json])
        address = answer.headers.get("Link", "").partition("<")[2].partition(">")[0]

    assert pages == [["1", "2", "10"], ["33", "b", "c"], ["esp"]]


def test_meters_come_as_csv_and_no_name_is_a_formula(client: FlaskClient, store: Store) -> None:
    store(reading("1", power=-7.5), reading("2", 1, voltage=230.0))
    names = ["=HYPERLINK(1)", "+1", "-1", "@x", "\\tx", "\\rx", 'a, "b"']
    for number, name in enumerate(names):
        receive(client, **{f"m{number}__info": f'{{"name": "{name}"}}'.replace('"b"', '\\"b\\"')})

    answer = client.get("/meters/?format=csv&fields=name,latest")

    assert answer.mimetype == "text/csv"
    header, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert header == ["meter_id", "name", "voltage", "power"]
    assert rows[:2] == [["1", "1", "", "-7.5"], ["2", "2", "230.0", ""]]
    assert [row[1] for row in rows[2:]] == [
        "'=HYPERLINK(1)", "'+1", "'-1", "'@x", "'\tx", "'\rx", 'a, "b"',
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_a_device_says_of_itself_breaks_nothing(client: FlaskClient, form: str) -> None:
    receive(
        client,
        a__info=r'{"name": "\ud800 half", "model": "\u0000", "interval": 1' + "0" * 400 + "}",
        b__info='{"name": 5, "model": [], "interval": true}',
        c__info='{"interval": -1e400}',
        d__info='{"interval": 1e308}',
    )

    answer = client.get(f"/meters/?format={form}")

    assert answer.status_code == 200
    if form == "json":
        assert [meter["interval"] for meter in answer.json] == [None] * 4
        assert answer.json[0]["name"] == "? half"


def test_a_chart_comes_as_csv(client: FlaskClient, store: Store) -> None:
    store(*(reading("1", 60 * n, power=100.0 + n) for n in range(60)))

    query = "quantities=power,energy&from=2026-11-22T12:00:00Z&to=2026-11-22T13:00:00Z&points=2"
    answer = client.get(f"/meters/1/series?{query}", headers={"Accept": "text/csv"})
    extremes = client.get(f"/meters/1/series?{query}&format=csv&extremes=true")

    assert answer.text.splitlines() == [
        "ts,power,energy",
        "2026-11-22T12:00:00.000Z,114.5,",
        "2026-11-22T12:30:00.000Z,144.5,",
    ]
    assert extremes.text.splitlines()[:2] == [
        "ts,power,power_min,power_max,energy,energy_min,energy_max",
        "2026-11-22T12:00:00.000Z,114.5,100.0,129.0,,,",
    ]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are run from now on, on any database."""
    found: list[str] = []
    execute = peewee.Database.execute_sql

    def execute_and_keep(
        self: peewee.Database, sql: str, params: Sequence[object] | None = None
    ) -> Any:
        found.append(sql)
        return execute(self, sql, params)

    monkeypatch.setattr(peewee.Database, "execute_sql", execute_and_keep)
    return found


def test_a_thousand_meters_take_few_statements_and_then_come_from_memory(
    client: FlaskClient, store: Store, statements: list[str]
) -> None:
    store(*(reading(f"m{n}", n, power=n) for n in range(1000)))
    client.get("/healthz")
    client.get("/meters/?limit=1")

    del statements[:]
    first = client.get("/meters/")
    taken_first = len(statements)
    again = client.get("/meters/")
    taken_again = len(statements) - taken_first

    assert first.json == again.json
    assert {meter["latest"]["power"] for meter in first.json} == set(range(1000))
    assert taken_first < 10
    assert taken_again <= 1  # which meters there are, and since when
    assert not any("readings_raw" in sql for sql in statements[taken_first:])


def test_the_list_has_what_is_stored_though_it_was_in_memory(
    client: FlaskClient, store: Store
) -> None:
    store(*(reading(f"m{n}", n) for n in range(3)))
    before = client.get("/meters/").json

    store(reading("m1", 99, power=5.0), reading("new", 50))
    after = client.get("/meters/").json

    assert [meter["meter_id"] for meter in before] == ["m0", "m1", "m2"]
    assert [meter["meter_id"] for meter in after] == ["m0", "m1", "m2", "new"]
    assert after[1]["latest"]["power"] == 5.0
    assert after[1]["last_seen"] == "2026-11-22T12:01:39.000Z"
    assert [after[0], after[2]] == [before[0], before[2]]


def test_a_meter_whose_readings_have_been_deleted_stays_listed(
    client: FlaskClient, store: Store, database: peewee.Database
) -> None:
    store(reading("1"), reading("2"))
    database.execute_sql("DELETE FROM readings_raw WHERE meter = 1")

    for _ in range(2):
        [deleted, other] = client.get("/meters/").json
        assert (deleted["meter_id"], deleted["latest"], deleted["last_seen"]) == ("1", None, None)
        assert other["latest"]


def test_the_catalogue_is_served(client: FlaskClient) -> None:
    answer = client.get("/quantities/")
    again = client.get("/quantities", headers={"If-None-Match": answer.headers["ETag"]})
    table = client.get("/quantities/?format=csv")

    energy = next(each for each in answer.json if each["name"] == "energy_import")
    assert energy == {
        "name": "energy_import", "label": "Energy import", "unit": "kWh", "decimals": 2,
        "counter": True, "additive": True, "lowest": 0, "highest": 1e9, "device_class": "energy",
        "state_class": "total_increasing",
    }  # fmt: skip
    assert again.status_code == 304
    assert table.text.splitlines()[1].startswith("voltage,Voltage,V,1,")
    assert len(table.text.splitlines()) == len(answer.json) + 1


def test_a_meter_has_the_settings_of_the_history_rather_than_those_of_its_info(
    client: FlaskClient, database: peewee.Database, store: Store
) -> None:
    store(reading())
    info = b'{"name": "Meter 1", "role": "consumer"}'
    arrived = datetime.now(UTC)
    received = Message.of("meters/1/info", info, retained=True, arrived=arrived, now_s=0.0)
    assert received
    parts(client).latest.handle(received)
    change(database, "1", MeterSettings(name="Main", role=Role.GRID, billing=Billing.NETTED))

    meter = client.get("/meters/1?fields=name,role,parent,billing").json

    assert meter == {
        "meter_id": "1", "name": "Main", "role": "grid", "parent": None, "billing": "netted",
    }  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/meters/", "/meters/1", "/meters/1/series", "/readings/", "/readings/1"]
)
def test_head_and_options_answer_as_get_allows(
    client: FlaskClient, store: Store, path: str
) -> None:
    store(reading())
    got, head, options = client.get(path), client.head(path), client.options(path)

    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert options.status_code == 200
    more = {"/readings/": {"POST"}, "/meters/1": {"PATCH"}}
    allowed = {"GET", "HEAD", "OPTIONS"} | more.get(path, set())
    assert {method.strip() for method in options.headers["Allow"].split(",")} == allowed
