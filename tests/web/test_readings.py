"""Stored readings over REST: pages in both orders, fields, CSV, ETags, and a year as a stream."""

import csv
import gzip
import io
import json
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any

import gevent
import peewee
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from contract.readings import Reading
from history import queries
from history.database import migrate, open_database
from history.dialect import run
from tests.support.parts import Part, free_port
from tests.support.web import parts
from web.server import serve

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = "from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z"
MANY = 2500
MINUTES = 365 * 24 * 60
MOST_GROWN_KB = 15_000
Store = Callable[..., None]


def reading(meter_id: str = "1", second: float = 0, **values: float) -> Reading:
    return Reading(meter_id, START + timedelta(seconds=second), values or {"power": second})


def following(answer: TestResponse) -> str | None:
    """Return the address of the next page."""
    link = answer.headers.get("Link")
    if link is None:
        return None
    assert link.endswith('>; rel="next"')
    return link.removeprefix("<").partition(">")[0]


def walk(client: FlaskClient, address: str | None) -> list[list[Any]]:
    """Return the pages from an address on."""
    pages = []
    while address:
        answer = client.get(address)
        assert answer.status_code == 200
        pages.append(answer.json)
        address = following(answer)
    return pages


@pytest.mark.parametrize("path", ["/readings/", "/readings/1"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_links_lead_through_all_pages(
    client: FlaskClient, store: Store, path: str, order: str
) -> None:
    store(*(reading("1", second) for second in range(25)))

    pages = walk(client, f"{path}?limit=10&order={order}&fields=power")

    powers = [[each["power"] for each in page] for page in pages]
    counted = list(range(25)) if order == "asc" else list(range(24, -1, -1))
    assert powers == [counted[:10], counted[10:20], counted[20:]]


def test_the_link_keeps_the_other_parameters(client: FlaskClient, store: Store) -> None:
    store(*(reading(meter, second) for second in range(9) for meter in ("1", "2")))

    pages = walk(
        client, "/readings/?meter=2&limit=2&from=2026-11-22T13:00:03+01:00&to=2026-11-22T12:00:08Z"
    )

    assert [(each["meter_id"], each["power"]) for page in pages for each in page] == [
        ("2", power) for power in (7, 6, 5, 4, 3)
    ]


def test_a_page_that_ends_with_the_last_reading_has_no_link(
    client: FlaskClient, store: Store
) -> None:
    store(*(reading("1", second) for second in range(10)))

    assert "Link" not in client.get("/readings/?limit=10").headers
    assert "Link" in client.get("/readings/?limit=9").headers


def test_a_plain_request_still_returns_the_newest_hundred(
    client: FlaskClient, store: Store
) -> None:
    store(*(reading("1", second) for second in range(150)))

    answer = client.get("/readings/")

    assert [each["power"] for each in answer.json] == list(range(149, 49, -1))
    assert len(client.get(following(answer) or "").json) == 50


def test_only_chosen_fields_are_returned(client: FlaskClient, store: Store) -> None:
    store(reading(power=5.0, voltage=230.0, energy=7.0))

    [found] = client.get("/readings/?fields=energy,ts,power,current").json

    assert found == {
        "ts": "2026-11-22T12:00:00.000Z", "meter_id": "1", "power": 5.0, "energy": 7.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cursor=5", "cursor"),
        ("cursor=1.1;", "cursor"),
        (f"cursor={'9' * 400}.1", "cursor"),
        (f"cursor=1.{'9' * 10}", "cursor"),
        ("cursor=-1.1", "cursor"),
        ("cursor=%00", "cursor"),
        ("order=up", "order"),
        ("fields=power,weather", "fields"),
        ("fields=", "fields"),
        ("format=xml", "format"),
        ("limit=1&limit=2", "limit"),
        (f"limit={'9' * 5000}", "limit"),
        ("limit=1e999", "limit"),
        ("meter=a%20b", "meter"),
        ("meter=%00", "meter"),
        ("meter_id=%ED%A0%80", "meter_id"),
        ("meter=%FF", "meter"),
    ],
)
@pytest.mark.parametrize("path", ["/readings/", "/readings/1"])
def test_an_invalid_parameter_is_named(
    client: FlaskClient, path: str, query: str, field: str
) -> None:
    if path == "/readings/1" and field.startswith("meter"):
        path = "/readings/"
    answer = client.get(f"{path}?{query}")

    assert answer.status_code == 422
    assert [wrong["loc"] for wrong in answer.json["detail"]] == [["query", field]]


@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00%2B14:00",
        "1969-12-31T23:59:59Z",
        "3000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-14:00",
        "-1",
        "1e300",
        "99999999999",
        "9" * 400,
        "-62135596800",
        "nan",
        "inf",
        "%00",
        "2026-11-22T12:00:00Z%00",
        "%ED%A0%80",
    ],
)
@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize("path", ["/readings/", "/readings/1", "/meters/1/series"])
def test_a_time_at_the_ends_of_the_calendar_is_invalid(
    client: FlaskClient, path: str, name: str, moment: str
) -> None:
    answer = client.get(f"{path}?{name}={moment}")

    assert answer.status_code == 422
    assert [wrong["loc"] for wrong in answer.json["detail"]] == [["query", name]]


@pytest.mark.parametrize("meter_id", ["%00", "a%00b", "_bridge", "a%20b", "x" * 33, "%ED%A0%80"])
@pytest.mark.parametrize("path", ["/readings/{}", "/meters/{}", "/meters/{}/series"])
def test_an_id_that_no_meter_can_have_is_invalid(
    client: FlaskClient, path: str, meter_id: str
) -> None:
    answer = client.get(path.format(meter_id))

    assert answer.status_code == 422
    assert [wrong["loc"] for wrong in answer.json["detail"]] == [["path", "meter_id"]]


def test_the_newest_reading_that_a_client_polls_is_always_the_stored_one(
    client: FlaskClient, store: Store, database: peewee.Database
) -> None:
    for second in range(20):
        store(reading("1", second), reading("2", second, power=-second))
        for _ in range(2):
            assert client.get("/readings/1?limit=1").json[0]["power"] == second
            assert client.get("/readings/2?limit=1").json[0]["power"] == -second
            assert len(client.get("/readings/1?limit=2").json) == min(second + 1, 2)
        assert client.get("/readings/1?limit=1&format=csv").text.endswith(f",{float(second)},\r\n")
    database.execute_sql("DELETE FROM readings_raw WHERE ts > ?", (0,))

    assert client.get("/readings/1?limit=1").json == []
    assert client.get("/readings/nobody?limit=1").status_code == 404


# -- CSV ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["format", "accept", "both"])
def test_readings_come_as_csv(client: FlaskClient, store: Store, how: str) -> None:
    store(reading(power=-5.5, voltage=230.0), reading("esp", 1, power=1e-3))

    query = "" if how == "accept" else "?format=csv"
    accept = {"format": "*/*", "accept": "text/csv", "both": "application/json"}[how]
    answer = client.get(f"/readings/{query}", headers={"Accept": accept})

    assert answer.mimetype == "text/csv"
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["ts", "meter_id", "voltage", "current", "power", "energy"],
        ["2026-11-22T12:00:01.000Z", "esp", "", "", "0.001", ""],
        ["2026-11-22T12:00:00.000Z", "1", "230.0", "", "-5.5", ""],
    ]


def test_the_columns_of_csv_are_the_fields_in_their_order(
    client: FlaskClient, store: Store
) -> None:
    store(reading(power=5.0, voltage=230.0))

    answer = client.get(f"/readings/1?format=csv&fields=charge,power&{DAY}")

    assert answer.text.splitlines() == [
        "ts,meter_id,charge,power",
        "2026-11-22T12:00:00.000Z,1,,5.0",
    ]


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/csv;q=0.5,application/json", "application/json"),
        ("text/csv,application/json;q=0.5", "text/csv"),
        ("text/*", "text/csv"),
    ],
)
def test_the_accept_header_chooses_the_form(
    client: FlaskClient, accept: str | None, mimetype: str
) -> None:
    answer = client.get("/readings/", headers={"Accept": accept} if accept else {})

    assert answer.mimetype == mimetype
    assert "Accept" in answer.headers["Vary"]


def test_a_form_that_there_is_not_is_an_error_in_json(client: FlaskClient) -> None:
    for path in ("/readings/", "/readings/1", "/meters/", "/meters/1/series", "/quantities/"):
        answer = client.get(path, headers={"Accept": "application/xml"})

        assert answer.status_code == 406
        assert "text/csv" in answer.json["detail"]


# -- ETags -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/readings/",
        "/readings/1",
        "/readings/?format=csv",
        "/readings/?limit=1",
        "/meters/1/series",
        "/meters/1/series?format=csv",
    ],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_period_that_has_ended_is_sent_again_only_when_it_has_changed(
    client: FlaskClient, store: Store, path: str, encoding: str
) -> None:
    store(*(reading("1", second) for second in range(200)))
    address = f"{path}{'&' if '?' in path else '?'}{DAY}"
    headers = {"Accept-Encoding": encoding}

    first = client.get(address, headers=headers)
    known = headers | {"If-None-Match": first.headers["ETag"]}
    again = client.get(address, headers=known)
    store(reading("1", 300))
    changed = client.get(address, headers=known)

    assert first.headers["Cache-Control"] == "private, no-cache"
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert changed.status_code == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_a_period_that_goes_on_has_no_etag(client: FlaskClient, store: Store) -> None:
    store(reading())
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).timestamp()

    for path in (f"/readings/?from=2026-11-22T00:00:00Z&to={tomorrow}", "/meters/1/series"):
        answer = client.get(path)

        assert "ETag" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"


# -- streams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("path", ["/readings/", "/readings/1"])
def test_all_readings_of_a_period_are_returned_without_a_limit(
    client: FlaskClient, store: Store, path: str, order: str
) -> None:
    store(*(reading("1", second) for second in range(MANY)))
    store(*(reading("2", second + 0.5) for second in range(MANY)))

    answer = client.get(f"{path}?{DAY}&order={order}")

    found = answer.json
    assert len(found) == (2 * MANY if path == "/readings/" else MANY)
    assert [each["ts"] for each in found] == sorted(
        (each["ts"] for each in found), reverse=order == "desc"
    )
    assert "Link" not in answer.headers


def test_a_stream_has_the_same_bytes_in_every_form(client: FlaskClient, store: Store) -> None:
    store(*(reading("1", second, power=second, voltage=230.5) for second in range(MANY)))

    plain = client.get(f"/readings/?{DAY}")
    packed = client.get(f"/readings/?{DAY}", headers={"Accept-Encoding": "gzip"})
    table = client.get(f"/readings/?{DAY}&format=csv")
    by_page = [each for page in walk(client, f"/readings/?{DAY}&limit=700") for each in page]

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert plain.json == by_page
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [(row["ts"], float(row["power"])) for row in rows] == [
        (each["ts"], each["power"]) for each in by_page
    ]


def test_readings_that_arrive_during_a_stream_change_nothing(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(*(reading("1", second) for second in range(MANY)))
    page, pages = queries.page, iter(range(MANY, MANY + 10))

    def page_and_store(*arguments: Any, **options: Any) -> queries.Page:
        found = page(*arguments, **options)
        store(reading("1", next(pages)))
        return found

    monkeypatch.setattr(queries, "page", page_and_store)
    found = client.get(f"/readings/?{DAY}").json

    assert [each["power"] for each in found] == list(range(MANY - 1, -1, -1))


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of a year: a reading every minute, filled by SQL."""
    path = tmp_path_factory.mktemp("year") / "energy_meters.db"
    database = open_database(f"sqlite:///{path}")
    migrate(database)
    begin = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp() * 1000)
    with database.atomic():
        run(
            database,
            "INSERT INTO meters (name, first_ts, last_ts, snapshots) VALUES ('1', ?, ?, ?)",
            (begin, begin + (MINUTES - 1) * 60_000, True),
        )
        run(
            database,
            "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO readings_raw (meter, ts, voltage, current, power, energy) "
            f"SELECT 1, {begin} + i * 60000, 230000 + i % 5000, i % 9999, i % 99999, i * 7 FROM n",
            (MINUTES - 1,),
        )
    database.close()
    return path


def resident_kb(part: Part) -> int:
    status = Path(f"/proc/{part.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_year_streams_in_constant_memory(year: Path, tmp_path: Path, encoding: str) -> None:
    port = free_port()
    settings = {"HTTP_PORT": port, "MQTT_PORT": free_port(), "DATABASE_URL": f"sqlite:///{year}"}
    with Part.module("web", directory=tmp_path, **settings) as web:
        web.wait_for("listening")
        client = HTTPConnection("127.0.0.1", port, timeout=60)
        client.request("GET", f"/readings/?{DAY}")
        client.getresponse().read()
        path = "/readings/?from=2025-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&order=asc"
        client.request("GET", path, headers={"Accept-Encoding": encoding})
        response = client.getresponse()
        sizes, count, unpack = [], 0, zlib.decompressobj(zlib.MAX_WBITS | 32)
        while chunk := response.read(1_000_000):
            sizes.append(resident_kb(web))
            count += (unpack.decompress(chunk) if encoding == "gzip" else chunk).count(b"{")
        client.close()

    assert count == MINUTES
    later = sizes[len(sizes) // 2 :]  # before, SQLite fills the cache of each thread
    assert len(later) > 2
    assert max(later) - min(later) < MOST_GROWN_KB


def test_a_stream_holds_no_query_open_while_the_client_waits(year: Path, tmp_path: Path) -> None:
    port = free_port()
    settings = {"HTTP_PORT": port, "MQTT_PORT": free_port(), "DATABASE_URL": f"sqlite:///{year}"}
    with Part.module("web", directory=tmp_path, **settings) as web:
        web.wait_for("listening")
        clients = [HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(9)]
        *waiting, other = clients  # more than there are threads for queries
        for client in waiting:
            client.request("GET", "/readings/?from=2025-01-01T00:00:00Z&to=2026-01-01T00:00:00Z")
            client.getresponse().read(1)
        other.request("GET", "/readings/1?limit=100")
        answered = len(json.loads(other.getresponse().read()))
        with closing(sqlite3.connect(year)) as database:
            busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        for client in clients:
            client.close()

    assert answered == 100
    assert not busy


def test_a_stream_that_breaks_off_cannot_be_taken_for_a_whole_one(
    client: FlaskClient,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store(*(reading("1", second) for second in range(MANY)))
    page, calls = queries.page, []

    def page_or_trouble(*arguments: Any, **options: Any) -> queries.Page:
        calls.append(1)
        if len(calls) > 1:
            raise peewee.OperationalError("disk I/O error")
        return page(*arguments, **options)

    monkeypatch.setattr(queries, "page", page_or_trouble)
    port = free_port()
    server = serve(
        client.application, parts(client).settings.model_copy(update={"http_port": port})
    )

    def read() -> bytes | Exception:
        with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            connection.request("GET", f"/readings/?{DAY}")
            try:
                return connection.getresponse().read()
            except (IncompleteRead, ConnectionError) as error:
                return error

    received = gevent.get_hub().threadpool.apply(read)  # the server runs in this thread
    server.stop()

    assert isinstance(received, IncompleteRead | ConnectionError)

    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("response cut off: database ")
    assert "disk I/O error" in line
    assert capsys.readouterr().err == ""
