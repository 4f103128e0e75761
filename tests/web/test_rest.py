"""REST as a client sees it, on a real history and without a broker."""

import gzip
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gevent
import peewee
import pytest
from flask.testing import FlaskClient

from contract.readings import Reading
from history.database import migrate, open_database
from history.readings_table import Writer
from tests.support.parts import ROOT
from tests.support.web import make_client, parts
from web.latest import Message

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CURL_BODY = '{"meter_id": 1, "voltage": 230.5, "current": 5.2, "power": 1200.0, "energy": 1500.0}'


def hour(meter_id: str = "1") -> list[Reading]:
    return [
        Reading(meter_id, START + timedelta(minutes=n), {"power": 100.0 + n, "energy": float(n)})
        for n in range(60)
    ]


def test_readings_come_newest_first_in_the_form_of_the_contract(
    client: FlaskClient, store: Callable[..., None]
) -> None:
    store(*hour())

    answer = client.get("/readings/?limit=2")

    assert answer.json == [
        {"ts": "2026-11-22T12:59:00.000Z", "meter_id": "1", "power": 159.0, "energy": 59.0},
        {"ts": "2026-11-22T12:58:00.000Z", "meter_id": "1", "power": 158.0, "energy": 58.0},
    ]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 100),
        ("?meter=1&limit=10000", 60),
        ("?meter_id=esp2&limit=10000", 60),
        ("?meter=nobody", 0),
        ("?meter=1&from=2026-11-22T12:50:00Z", 10),
        ("?meter=1&from=2026-11-22T13:50:00%2B01:00", 10),
        ("?meter=1&from=2026-11-22T13:50:00+01:00", 10),
        ("?meter=1&to=2026-11-22T12:10:00Z", 10),
        (f"?meter=1&from={START.timestamp():.0f}&to={START.timestamp() + 300:.0f}", 5),
        (f"?meter=1&to={START.timestamp() * 1000 + 60_000:.0f}", 1),
    ],
)
def test_readings_are_filtered_by_meter_and_time(
    client: FlaskClient, store: Callable[..., None], query: str, count: int
) -> None:
    store(*hour("1"), *hour("esp2"))

    assert len(client.get(f"/readings/{query}").json) == count


@pytest.mark.parametrize("path", ["/readings/1", "/readings/1/"])
def test_the_readings_of_one_meter_have_an_address(
    client: FlaskClient, store: Callable[..., None], path: str
) -> None:
    store(*hour("1"), *hour("2"))

    found = client.get(f"{path}?limit=3").json

    assert [reading["meter_id"] for reading in found] == ["1"] * 3


@pytest.mark.parametrize(
    "path", ["/readings/nobody", "/meters/nobody/series", "/meters/nobody/energy"]
)
def test_unknown_meter_is_not_found_and_named(
    client: FlaskClient, store: Callable[..., None], path: str
) -> None:
    store(*hour())

    answer = client.get(path)

    assert answer.status_code == 404
    assert answer.json["detail"] == "unknown meter 'nobody'; see /meters/"


@pytest.mark.parametrize("path", ["/readings", "/readings/", "/meters", "/meters/", "/docs"])
def test_an_address_answers_with_and_without_its_slash(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=many", "limit"),
        ("from=yesterday", "from"),
        ("to=2026-11-22T12:00:00", "to"),
    ],
)
def test_a_wrong_filter_is_named(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/readings/?{query}")

    assert answer.status_code == 422
    assert [wrong["loc"] for wrong in answer.json["detail"]] == [["query", field]]


def test_a_chart_gets_columns(client: FlaskClient, store: Callable[..., None]) -> None:
    store(*hour())

    columns = client.get(
        "/meters/1/series?quantities=power,energy&from=2026-11-22T12:00:00Z"
        "&to=2026-11-22T13:00:00Z&points=6"
    ).json

    assert list(columns) == ["ts", "power", "energy"]
    assert columns["ts"][:2] == [START.timestamp(), START.timestamp() + 600]
    assert columns["power"] == [104.5, 114.5, 124.5, 134.5, 144.5, 154.5]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("quantities=power,weather", "quantities"),
        ("quantities=", "quantities"),
        ("from=2026-11-22T12:00:00Z&to=2026-11-22T12:00:00Z", "from"),
        ("points=1001", "points"),
    ],
)
def test_invalid_chart_is_refused(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/meters/1/series?{query}")

    assert answer.status_code == 422
    assert answer.json["detail"][0]["loc"] == ["query", field]


def test_meters_join_the_history_and_the_live_messages(
    client: FlaskClient, store: Callable[..., None]
) -> None:
    store(*hour("10"), *hour("2"))
    for topic, payload in {
        "meters/2/status": "online",
        "meters/2/info": '{"name": "Heat pump", "model": "SDM630", "interval": 10}',
        "meters/2/reading": '{"ts": "2026-11-22T13:30:00Z", "power": 7}',
        "meters/esp1/status": "offline",
    }.items():
        arrived = START + timedelta(hours=2)
        received = Message.of(topic, payload.encode(), retained=True, arrived=arrived, now_s=0.0)
        assert received
        parts(client).latest.handle(received)

    heat_pump, stored, live_only = client.get("/meters/").json

    assert heat_pump == {
        "meter_id": "2",
        "name": "Heat pump",
        "role": None,
        "parent": None,
        "billing": "per_phase",
        "online": True,
        "status": "online",
        "last_seen": "2026-11-22T13:30:00.000Z",
        "first_seen": "2026-11-22T12:00:00.000Z",
        "interval": 10,
        "model": "SDM630",
        "latest": {"ts": "2026-11-22T13:30:00.000Z", "meter_id": "2", "power": 7.0},
    }
    assert (stored["meter_id"], stored["online"], stored["name"]) == ("10", None, "10")
    assert stored["latest"]["power"] == 159.0
    assert (live_only["meter_id"], live_only["online"], live_only["latest"]) == (
        "esp1",
        False,
        None,
    )


def post(client: FlaskClient, body: str, content_type: str = "application/json") -> Any:
    return client.post("/readings/", data=body, content_type=content_type)


def test_posting_without_a_broker_names_the_broker(client: FlaskClient) -> None:
    answer = post(client, CURL_BODY)

    assert answer.status_code == 503
    assert "broker 127.0.0.1:" in answer.json["detail"]
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ('{"meter_id": 1, "power": "much"}', ["power"]),
        ('{"meter_id": 1, "power": NaN, "voltage": 1e300}', ["voltage", "power"]),
        ('{"meter_id": "a b", "power": 1}', ["meter_id"]),
        ('{"power": 1}', ["meter_id"]),
        ('{"meter_id": 1, "power": 1, "ts": "noon"}', ["ts"]),
        ('{"meter_id": 1, "power": true}', ["power"]),
    ],
)
def test_a_wrong_field_is_named_with_its_reason(
    client: FlaskClient, body: str, fields: list[str]
) -> None:
    answer = post(client, body)

    assert answer.status_code == 422
    assert [wrong["loc"] for wrong in answer.json["detail"]] == [["body", f] for f in fields]
    assert all(wrong["msg"] and wrong["type"] for wrong in answer.json["detail"])


@pytest.mark.parametrize("body", ['{"meter_id": 1}', "[]", "1", "null", '"x"'])
def test_a_body_that_is_not_a_reading_is_rejected(client: FlaskClient, body: str) -> None:
    answer = post(client, body)

    assert answer.status_code == 422
    assert answer.json["detail"][0]["loc"][0] == "body"


@pytest.mark.parametrize("body", ["", "{", "power=5", "[" * 60_000, "\udcff"])
def test_body_that_is_not_json_is_refused_with_its_place(client: FlaskClient, body: str) -> None:
    answer = client.post(
        "/readings/",
        data=body.encode(errors="surrogateescape"),
        content_type="application/json",
    )

    assert answer.status_code == 400
    assert answer.json["detail"].startswith("the body is not JSON: ")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_that_a_foreign_page_could_send_is_refused(
    client: FlaskClient, content_type: str
) -> None:
    assert post(client, CURL_BODY, content_type).status_code == 415


def test_a_body_that_is_too_large_is_refused(client: FlaskClient) -> None:
    assert post(client, json.dumps({"meter_id": 1, "note": "x" * 70_000})).status_code == 413


def test_history_is_read_as_soon_as_a_recorder_has_created_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/later.db"
    client = make_client(url)
    before = [client.get(path) for path in ("/readings/", "/meters/", "/meters/1/series")]
    not_ready = client.get("/readyz")

    database = open_database(url)
    migrate(database)
    Writer(database).write(hour())
    database.close()
    after = client.get("/readings/1")
    parts(client).history.close()

    assert [answer.json for answer in before[:2]] == [[], []]
    assert before[2].status_code == 404
    assert "is the recorder running?" in not_ready.json["detail"]
    assert len(after.json) == 60


def test_file_that_is_not_a_database_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes, and no database at all\n" * 50)
    client = make_client(f"sqlite:///{tmp_path}/notes.txt")

    answer = client.get("/readings/")
    parts(client).history.close()

    assert answer.status_code == 503
    assert "notes.txt: file is not a database" in answer.json["detail"]


def test_many_requests_at_once_each_get_their_answer(
    client: FlaskClient, store: Callable[..., None]
) -> None:
    store(*hour())

    def ask() -> list[object]:
        return list(client.application.test_client().get("/readings/1").json)

    jobs = [gevent.spawn(ask) for _ in range(50)]

    gevent.joinall(jobs, timeout=20)

    assert [len(job.value) for job in jobs] == [60] * 50


def test_slow_query_delays_nobody(client: FlaskClient) -> None:
    others_ran = threading.Event()
    gevent.spawn_later(0.01, others_ran.set)

    assert parts(client).history.query(lambda _: others_ran.wait(30), empty=False)


def test_locked_history_delays_nobody(
    client: FlaskClient, store: Callable[..., None], database: peewee.Database
) -> None:
    store(*hour())
    database.execute_sql("PRAGMA journal_mode = delete")  # so that a writer keeps readers out
    database.close()
    path = "/readings/1?limit=1"
    before = [client.get(path).json for _ in range(2)]
    with closing(sqlite3.connect(database.database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        locked = gevent.spawn(lambda: client.application.test_client().get(path).json)
        for _ in range(20):  # which others do, while the request waits
            gevent.sleep(0.01)
        is_waiting = not locked.ready()
    locked.join(30)

    assert is_waiting
    assert [locked.value] * 2 == before


@pytest.mark.parametrize("path", ["/", "/meter/1", "/readings/", "/nowhere", "/static/live.js"])
def test_every_response_has_the_content_security_policy(client: FlaskClient, path: str) -> None:
    headers = client.get(path, buffered=True).headers

    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_holds_the_catalogue(client: FlaskClient) -> None:
    page = client.get("/meter/1").text

    catalogue = page.partition('id="catalogue">')[2].partition("</script>")[0]
    power = next(each for each in json.loads(catalogue) if each["name"] == "power")
    assert power == {
        "name": "power", "label": "Power", "unit": "W", "decimals": 0, "counter": False,
        "additive": True, "kilo": True,
    }  # fmt: skip


@pytest.mark.parametrize("meter_id", ["a b", "_bridge", "x" * 33, "<b>"])
def test_page_of_an_invalid_meter_id_is_not_found(client: FlaskClient, meter_id: str) -> None:
    answer = client.get(f"/meter/{meter_id}")

    assert answer.status_code == 404
    assert "No such meter" in answer.text


@pytest.mark.parametrize("method", ["get", "post", "options"])
def test_a_front_end_of_the_settings_may_read_and_post(client: FlaskClient, method: str) -> None:
    origin = {"Origin": "http://localhost:3000"}

    headers = getattr(client, method)("/readings/", headers=origin).headers

    assert headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    if method == "options":
        offered = client.get("/openapi.json").json["paths"].values()
        methods = {name.upper() for path in offered for name in path}
        assert set(headers["Access-Control-Allow-Methods"].split(", ")) == methods
        allowed = set(headers["Access-Control-Allow-Headers"].split(", "))
        assert allowed == {"Authorization", "Content-Type", "If-None-Match"}


def test_foreign_pages_may_not_read(client: FlaskClient) -> None:
    headers = client.get("/readings/", headers={"Origin": "http://evil.example"}).headers

    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "path", ["/readings/", "/static/live.js", "/docs/assets/js/swagger-ui-bundle.js"]
)
def test_long_response_is_compressed_for_clients_that_accept_it(
    client: FlaskClient, store: Callable[..., None], path: str
) -> None:
    store(*hour())
    plain = client.get(path, buffered=True).data

    for _ in range(2):
        packed = client.get(path, headers={"Accept-Encoding": "gzip"}, buffered=True)
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.data) == plain
    assert "Content-Encoding" not in client.get(path, buffered=True).headers


def test_a_script_that_has_not_changed_is_not_sent_again(client: FlaskClient) -> None:
    accepts = {"Accept-Encoding": "gzip"}
    first = client.get("/static/live.js", headers=accepts, buffered=True)

    known = {"If-None-Match": first.headers["ETag"]}
    again = client.get("/static/live.js", headers=known, buffered=True)

    assert again.status_code == 304
    assert again.headers["Cache-Control"] == "no-cache"


def test_the_interface_describes_itself_with_the_catalogue(client: FlaskClient) -> None:
    description = client.get("/openapi.json").json

    assert set(description["paths"]) == {
        "/meters/", "/meters/{meter_id}", "/meters/{meter_id}/series",
        "/meters/{meter_id}/diagnostics",
        "/meters/{meter_id}/energy", "/readings/", "/readings/{meter_id}", "/quantities/",
        "/site/", "/site/energy", "/site/series", "/meters/{meter_id}/peaks", "/tariffs/",
        "/tariffs/{name}/prices", "/meters/{meter_id}/summary", "/site/summary",
        "/statements/", "/statements/{meter_id}", "/utility-readings/",
        "/utility-readings/{meter_id}", "/voids/", "/voids/{meter_id}", "/traces/",
    }  # fmt: skip
    reading = description["components"]["schemas"]["Reading"]["properties"]
    assert reading["voltage_l1"]["description"] == "Voltage L1 in V"


def test_service_loads_only_what_it_serves() -> None:
    unused = ("flask_openapi3", "pyarrow", "numpy", "rich", "pymodbus", "amqtt")
    program = f"import sys, web.__main__; print(*{{*sys.modules}} & {{*{unused!r}}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []


def test_the_page_of_the_interface_needs_no_other_host(client: FlaskClient) -> None:
    page = client.get("/docs").text

    assert "://" not in page
    assert client.get("/docs/start.js").mimetype == "text/javascript"


@pytest.mark.parametrize(
    ("path", "status"), [("/nowhere", 404), ("/ws/1", 426), ("/ws/a.b", 404), ("/meters/1/x", 404)]
)
def test_an_error_is_a_sentence(client: FlaskClient, path: str, status: int) -> None:
    answer = client.get(path)

    assert answer.status_code == status
    assert isinstance(answer.json["detail"], str)


def test_a_method_that_is_not_offered_is_refused(client: FlaskClient) -> None:
    answer = client.delete("/readings/")

    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_health_answers_while_broker_and_history_are_away(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    assert "broker 127.0.0.1:" in client.get("/readyz").json["detail"]
