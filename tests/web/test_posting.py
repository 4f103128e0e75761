"""POST /readings/ on a real broker and recorder: one reading, lists, repeats and conflicts."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


class Site:
    """A broker, a recorder and the web service."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.mqtt, self.http = free_port(), free_port()
        self._directory, self._stack = directory, stack
        self.broker = self._start_broker()
        self.recorder = self.start("recorder")
        self.recorder.wait_for("connected")
        self.web = self.start("web", HTTP_PORT=self.http)
        self.web.wait_for("listening")
        wait_until(lambda: self.get("/readyz")[0] == 200, what="web to be ready")

    def start(self, module: str, **settings: object) -> Part:
        part = Part.module(module, directory=self._directory, MQTT_PORT=self.mqtt, **settings)
        return self._stack.enter_context(part)

    def _start_broker(self) -> Part:
        broker = Part(require("mosquitto"), "-p", str(self.mqtt), directory=self._directory)
        self._stack.enter_context(broker)
        wait_until(lambda: listens(self.mqtt), what="mosquitto")
        return broker

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.http}{path}"
        try:
            with urlopen(Request(url, data, {"Content-Type": "application/json"})) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def get(self, path: str) -> tuple[int, Any]:
        return self.ask(path)

    def post(self, body: Any) -> tuple[int, Any]:
        return self.ask("/readings/", body)

    @contextmanager
    def published(self, meter_id: str) -> Iterator[PlainClient]:
        """A client that receives what is published of a meter."""
        with PlainClient(self.mqtt) as client:
            client.subscribe(f"meters/{meter_id}/reading")
            yield client


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("posting"), stack)


@pytest.fixture
def meter() -> str:
    """A meter of this test alone."""
    return uuid4().hex[:8]


def reading(meter: str, second: float = 0, **values: float) -> dict[str, Any]:
    ts = (NOW + timedelta(seconds=second)).isoformat(timespec="milliseconds")
    return {"meter_id": meter, "ts": ts.replace("+00:00", "Z"), **(values or {"power": second})}


def test_a_reading_is_stored_once_and_the_same_again_is_fine(site: Site, meter: str) -> None:
    posted = reading(meter, power=5.25, energy=7.0)
    with site.published(meter) as client:
        first = site.post(posted)
        again = [site.post(posted), site.post(reading(meter, energy=7, power=5.2502))]
        wait_until(lambda: client.messages)

        assert first == (201, posted)
        assert again == [(200, posted)] * 2
        assert site.get(f"/readings/{meter}") == (200, [posted])
        assert len(client.messages) == 1


@pytest.mark.parametrize("values", [{"power": 6.0}, {"energy": 5.0}, {"power": 5.0, "energy": 1.0}])
def test_another_reading_of_the_same_time_is_a_conflict_and_not_published(
    site: Site, meter: str, values: dict[str, float]
) -> None:
    posted = reading(meter, power=5.0)
    site.post(posted)
    with site.published(meter) as client:
        status, body = site.post(reading(meter, **values))
        site.post(reading(meter, 1))
        wait_until(lambda: client.payloads[-1:] and 'power":1' in client.payloads[-1])

        assert status == 409
        assert meter in body["detail"]
        assert posted["ts"] in body["detail"]
        assert site.get(f"/readings/{meter}?order=asc&limit=1")[1] == [posted]
        live = [json.loads(payload) for payload in client.payloads]
        assert [each["power"] for each in live if each["ts"] == posted["ts"]] in ([], [5.0])


def test_readings_without_a_time_are_each_stored(site: Site, meter: str) -> None:
    body = {"meter_id": meter, "power": 1.0}

    statuses = [site.post(body)[0] for _ in range(3)] + [site.post([body] * 20)[0]]

    assert statuses == [201] * 4
    assert len(site.get(f"/readings/{meter}")[1]) == 23


def test_a_list_is_stored_and_each_reading_has_its_result(site: Site, meter: str) -> None:
    posted = [reading(meter, second) for second in range(200)]

    status, results = site.post(posted)

    assert status == 201
    assert results == [{"status": 201, "reading": each} for each in posted]
    assert site.get(f"/readings/{meter}?order=asc&limit=1000")[1] == posted
    assert site.post(posted) == (200, [{"status": 200, "reading": each} for each in posted])


def test_a_list_with_conflicts_stores_the_rest_and_says_which(site: Site, meter: str) -> None:
    first, second = reading(meter, 0), reading(meter, 1)
    site.post(first)
    new, other = reading(meter, 2), reading(f"{meter}b", 0)

    status, results = site.post(
        [first, reading(meter, 0, power=9.0), second, new, reading(meter, 2, power=9.0), new, other]
    )

    assert status == 207
    assert [result["status"] for result in results] == [200, 409, 201, 201, 409, 200, 201]
    assert all(("detail" in result) == (result["status"] == 409) for result in results)
    assert site.get(f"/readings/{meter}?order=asc")[1] == [first, second, new]
    assert site.get(f"/readings/{meter}b")[1] == [other]


def test_the_newest_of_a_list_stays_the_latest_of_the_meter(site: Site, meter: str) -> None:
    site.post([reading(meter, second) for second in (5, 9, 1)])
    site.post([reading(meter, 3)])

    with PlainClient(site.mqtt) as client:
        client.subscribe(f"meters/{meter}/#")
        wait_until(lambda: len(client.messages) == 2)
        retained = {message.topic: json.loads(message.payload) for message in client.messages}

    assert retained[f"meters/{meter}/power"] == 9
    assert retained[f"meters/{meter}/reading"]["power"] == 9


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"power": 1.0}, [1, "meter_id"]),
        ({"meter_id": "1", "power": "much"}, [1, "power"]),
        ({"meter_id": "1", "power": 1.0, "ts": "noon"}, [1, "ts"]),
        ({"meter_id": "1"}, [1]),
        ("reading", [1]),
        (None, [1]),
    ],
)
def test_a_list_with_an_invalid_reading_is_refused_whole(
    site: Site, meter: str, wrong: Any, place: list[Any]
) -> None:
    status, body = site.post([reading(meter), wrong])

    assert status == 422
    assert [each["loc"] for each in body["detail"]] == [["body", *place]]
    assert site.get(f"/readings/{meter}")[0] == 404


def test_an_empty_list_is_invalid(site: Site) -> None:
    assert site.post([])[0] == 422


@pytest.mark.parametrize(
    "values",
    [
        {"ts": 10**400},
        {"ts": 1e308},
        {"ts": -(10**30)},
        {"ts": "0001-01-01T00:00:00+14:00"},
        {"ts": "9999-12-31T23:59:59-14:00"},
        {"ts": "\ud800"},
        {"ts": "2026-11-22T12:00:00Z\0"},
        {"meter_id": "\ud800"},
        {"meter_id": "a\0"},
        {"meter_id": 10**33},
        {"power": 10**400},
        {"power": -(10**19)},
        {"seq": 2**63},
        {"seq": -1},
        {"seq": 10**400},
    ],
)
@pytest.mark.parametrize("in_a_list", [False, True])
def test_wild_values_are_invalid(
    site: Site, meter: str, values: dict[str, Any], in_a_list: bool
) -> None:
    body = {"meter_id": meter, "power": 1.0, **values}

    status, answer = site.post([body] if in_a_list else body)

    assert status == 422
    assert [each["loc"][-1] for each in answer["detail"]] == [*values]


@pytest.mark.parametrize("ts", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", 0, 4e12])
def test_a_time_that_no_set_clock_shows_is_replaced_by_the_arrival(
    site: Site, meter: str, ts: Any
) -> None:
    status, stored = site.post({"meter_id": meter, "power": 1.0, "ts": ts})

    assert status == 201
    assert datetime.fromisoformat(stored["ts"]) > NOW


def test_without_a_recorder_readings_are_published_and_not_stored_yet(
    tmp_path: Path, meter: str
) -> None:
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        stored = reading(meter, 0)
        site.post(stored)
        site.recorder.stop()

        one = site.post(reading(meter, 1))
        some = site.post([stored, reading(meter, 2)])
        site.broker.stop()
        wait_until(lambda: "broker" in str(site.get("/readyz")[1]))
        repeated = site.post([stored])
        refused = site.post([stored, reading(meter, 3)])

    assert one == (202, reading(meter, 1))
    assert some[0] == 202
    assert [result["status"] for result in some[1]] == [200, 202]
    assert repeated[0] == 200
    assert refused[0] == 503
    assert "nothing was published" in refused[1]["detail"]
