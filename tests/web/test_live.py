"""The live interfaces as a real process with a real broker and a real recorder serves them."""

import http.client
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import engineio
import paho.mqtt.publish
import pytest
import socketio
import websocket

from contract.quantities import BY_NAME
from history.database import migrate, open_database
from tests.support import postgresql
from tests.support.line import Line
from tests.support.parts import Part, free_port, listens, require, wait_until

CURL_BODY = '{"meter_id": 1, "voltage": 230.5, "current": 5.2, "power": 1200.0, "energy": 1500.0}'


class Site:
    """A broker, a recorder and the web service, each a process on a port of its own."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.mqtt, self.http = free_port(), free_port()
        self._stack = stack
        self.broker = self.start_broker()
        self.recorder = self.start("recorder")
        self.web = self.start("web", HTTP_PORT=self.http)
        self.web.wait_for(f"listening: open http://localhost:{self.http}")
        wait_until(lambda: self.get("/readyz")[0] == 200, what="web to be ready")

    @property
    def url(self) -> str:
        """Where the web service is."""
        return f"http://127.0.0.1:{self.http}"

    def start(self, module: str, **settings: object) -> Part:
        settings = {"MQTT_PORT": self.mqtt, **settings}
        part = Part.module(module, directory=self.directory, **settings)
        return self._stack.enter_context(part)

    def start_broker(self) -> Part:
        broker = Part(require("mosquitto"), "-p", str(self.mqtt), directory=self.directory)
        self._stack.enter_context(broker)
        wait_until(lambda: listens(self.mqtt), what="mosquitto")
        return broker

    def publish(self, *messages: tuple[str, str], retain: bool = False) -> None:
        paho.mqtt.publish.multiple(
            [{"topic": t, "payload": p, "qos": 1, "retain": retain} for t, p in messages],
            port=self.mqtt,
        )

    def read(self, meter_id: str, power: float, ts: datetime | None = None) -> None:
        stamp = (ts or datetime.now(UTC)).isoformat()
        self.publish((f"meters/{meter_id}/reading", json.dumps({"ts": stamp, "power": power})))

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def post(self, body: dict[str, Any]) -> tuple[int, Any]:
        request = Request(
            f"http://127.0.0.1:{self.http}/readings/",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)

    @contextmanager
    def raw(self, meter_id: str, **options: Any) -> Iterator[websocket.WebSocket]:
        url = f"ws://127.0.0.1:{self.http}/ws/{meter_id}"
        connection = websocket.create_connection(url, timeout=30, **options)
        try:
            yield connection
        finally:
            connection.close()
            connection.shutdown()  # also where the service has ended it

    @contextmanager
    def browser(self) -> Iterator["Browser"]:
        browser = Browser(self.http)
        try:
            yield browser
        finally:
            browser.client.disconnect()


class OrderedEngine(engineio.Client):  # type: ignore[misc]  # publishes no types
    """Handles messages in their order; engineio handles each in a thread of its own."""

    def _trigger_event(self, event: str, *arguments: Any, **options: Any) -> Any:
        return super()._trigger_event(event, *arguments, **options | {"run_async": False})


class OrderedClient(socketio.Client):  # type: ignore[misc]  # publishes no types
    """The official client, whose messages keep their order."""

    def _engineio_client_class(self) -> type[OrderedEngine]:
        return OrderedEngine


class Browser:
    """A Socket.IO client, and what it received."""

    def __init__(self, port: int) -> None:
        self.messages: list[dict[str, Any]] = []
        self.broker: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.client = OrderedClient(reconnection=False)
        self.client.on("message", self.messages.append)
        self.client.on("broker", self.broker.append)
        self.client.on("history", self.history.append)
        self.client.connect(f"http://127.0.0.1:{port}", transports=["websocket"])

    def subscribe(self, wanted: object) -> Any:
        return self.client.call("subscribe", wanted, timeout=30)

    def payloads(self, topic: str) -> list[Any]:
        return [each["payload"] for each in list(self.messages) if each["topic"] == topic]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("site"), stack)


def test_the_curl_of_the_readme_stores_a_reading(site: Site) -> None:
    command = (
        f'curl -s -w "%{{http_code}}" -X POST "http://localhost:{site.http}/readings/" '
        '-H "Content-Type: application/json" '
        f"-d '{CURL_BODY}'"
    )

    answer = subprocess.check_output(command, shell=True, text=True)

    assert answer.endswith("201")
    stored = json.loads(answer[:-3])
    assert (stored["meter_id"], stored["voltage"], stored["energy"]) == ("1", 230.5, 1500.0)
    assert stored in site.get("/readings/")[1]


def test_posted_reading_is_published_for_everybody(site: Site) -> None:
    site.post({"meter_id": "posted", "power": 5.5, "ts": "2026-11-22T12:00:00.1239Z"})

    with site.browser() as browser:
        browser.subscribe("meters/posted/#")
        wait_until(lambda: len(browser.messages) == 2, what="the retained messages")

    assert browser.payloads("meters/posted/power") == [5.5]
    assert browser.payloads("meters/posted/reading")[0]["ts"] == "2026-11-22T12:00:00.123Z"


def test_posted_reading_of_long_ago_does_not_become_the_latest(site: Site) -> None:
    site.post({"meter_id": "late", "power": 2, "ts": "2026-11-22T12:00:00Z"})

    status, _ = site.post({"meter_id": "late", "power": 1, "ts": "2026-11-22T11:00:00Z"})

    with site.browser() as browser:
        browser.subscribe("meters/late/#")
        wait_until(lambda: len(browser.messages) == 2, what="the retained messages")
    assert status == 201
    assert browser.payloads("meters/late/power") == [2]
    assert [r["power"] for r in site.get("/readings/late")[1]] == [2, 1]


def test_readings_posted_at_once_without_a_time_are_all_stored(site: Site) -> None:
    with ThreadPoolExecutor(20) as threads:
        bodies = [{"meter_id": "burst", "power": power} for power in range(20)]
        answers = list(threads.map(site.post, bodies))

    stored = site.get("/readings/burst")[1]
    assert [status for status, _ in answers] == [201] * 20
    assert {reading["power"] for reading in stored} == set(range(20))
    assert len({reading["ts"] for reading in stored}) == 20


def test_posted_reading_that_is_not_stored_is_accepted(site: Site) -> None:
    port = free_port()
    with site.start("web", HTTP_PORT=port, DATABASE_URL="sqlite:///nobody_records_here.db") as web:
        web.wait_for("connected")
        body = json.dumps({"meter_id": "lost", "power": 1})
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/readings/", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()

        assert answer.status == 202
        assert json.load(answer)["power"] == 1
        connection.close()


def test_the_raw_socket_sends_the_stored_reading_and_then_each_live_one(site: Site) -> None:
    site.post({"meter_id": "raw", "power": 1})

    with site.raw("raw") as connection:
        first = json.loads(connection.recv())
        site.read("raw", 2)
        second = json.loads(connection.recv())

    assert (first["power"], second["power"]) == (1, 2)
    assert set(second) == {"ts", "meter_id", "power"}


def test_the_raw_socket_never_goes_back_in_time(site: Site) -> None:
    newest = datetime.now(UTC)
    site.read("back", 1, newest)
    wait_until(lambda: site.get("/readings/back")[0] == 200)

    with site.raw("back") as connection:
        connection.recv()
        site.read("back", 1, newest)
        site.read("back", 0, newest.replace(year=2025))
        site.read("back", 2)

        assert json.loads(connection.recv())["power"] == 2


def test_the_raw_socket_leaves_out_nothing_that_is_stored_before_it_is_received(
    site: Site,
) -> None:
    """The recorder may be faster than this service: what it has stored is still to come here."""
    with ExitStack() as stack:
        line = stack.enter_context(Line(site.mqtt))
        port = free_port()
        web = site.start("web", HTTP_PORT=port, MQTT_PORT=line.port)
        web.wait_for("connected")
        line.stall()
        for n in (1, 2, 3):  # as if measured after the client connects
            site.read("ahead", n, datetime.now(UTC) + timedelta(seconds=20 + n))
        wait_until(lambda: len(site.get("/readings/ahead")[1]) == 3)
        url = f"ws://127.0.0.1:{port}/ws/ahead"
        connection = websocket.create_connection(url, timeout=30)
        stack.callback(connection.shutdown)
        wait_until(lambda: clients(port) == 1, what="the client")
        line.restore()

        assert [json.loads(connection.recv())["power"] for _ in range(3)] == [1, 2, 3]


def clients(port: int) -> float:
    """Return how many clients receive live readings, as the service counts them."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        found = re.search(r"^meterflow_web_clients (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found
    return float(found[1])


def test_a_meter_of_scalars_alone_is_live_as_readings(site: Site) -> None:
    with site.raw("esp1") as connection, site.browser() as browser:
        browser.subscribe(["meters/esp1/reading", "meters/esp1/power"])
        site.publish(("meters/esp1/power", "123"), ("meters/esp1/voltage", "230"))

        reading = json.loads(connection.recv())
        wait_until(lambda: browser.payloads("meters/esp1/reading"))

    assert (reading["power"], reading["voltage"]) == (123, 230)
    assert browser.payloads("meters/esp1/power") == [123]


def test_a_browser_gets_what_it_subscribes_to_as_json_values(site: Site) -> None:
    site.publish(("meters/kinds/status", "online"), retain=True)
    with site.browser() as browser:
        assert browser.subscribe("meters/kinds/+") == ["meters/kinds/+"]
        site.publish(("meters/kinds/info", '{"name": "Cellar", "interval": 10}'))
        site.read("kinds", 4)
        site.read("other", 4)
        wait_until(lambda: len(browser.messages) == 3)

    assert browser.payloads("meters/kinds/status") == ["online"]
    assert browser.payloads("meters/kinds/info") == [{"name": "Cellar", "interval": 10}]
    assert browser.payloads("meters/kinds/reading")[0]["power"] == 4


def test_browser_that_unsubscribes_receives_no_more(site: Site) -> None:
    with site.browser() as browser:
        browser.subscribe(["meters/gone/reading", "meters/stays/reading"])
        left = browser.client.call("unsubscribe", "meters/gone/reading", timeout=30)
        site.read("gone", 1)
        site.read("stays", 1)
        wait_until(lambda: browser.payloads("meters/stays/reading"))

    assert left == ["meters/stays/reading"]
    assert browser.payloads("meters/gone/reading") == []


@pytest.mark.parametrize(
    "wanted",
    [
        "#", "+/1/reading", "homeassistant/#", "$SYS/#", "meters", "meters/#/reading",
        "meters/1+/reading", 5, None, [], [["meters/1/#"]], {"topic": "meters/1/#"},
        "meters/" + "x" * 300, [f"meters/{n}/#" for n in range(101)],
    ],
    ids=lambda wanted: str(wanted)[:20],
)  # fmt: skip
def test_invalid_filter_is_refused_with_a_message(site: Site, wanted: object) -> None:
    with site.browser() as browser:
        answer = browser.subscribe(wanted)

    assert isinstance(answer, str)
    assert "filter" in answer


@pytest.mark.parametrize("meter", ["singly", "at_once"])
def test_every_reading_arrives_in_order_and_once(site: Site, meter: str) -> None:
    received: list[float] = []
    with site.raw(meter) as connection, site.browser() as browser:
        browser.subscribe(f"meters/{meter}/reading")
        if meter == "at_once":
            site.publish(*burst(meter, 40))
        for n in range(40):
            if meter == "singly":
                site.read(meter, n)
            received.append(json.loads(connection.recv())["power"])
        site.read(meter, 99)
        last = json.loads(connection.recv())["power"]
        wait_until(lambda: 99 in powers(browser, meter), what="the last reading")

    assert [*received, last] == powers(browser, meter) == [*range(40), 99]


def burst(meter: str, count: int) -> list[tuple[str, str]]:
    """Return messages with readings of now."""
    topic, now = f"meters/{meter}/reading", datetime.now(UTC)
    times = [now + timedelta(microseconds=n) for n in range(count)]
    return [(topic, json.dumps({"ts": ts.isoformat(), "power": n})) for n, ts in enumerate(times)]


def powers(browser: Browser, meter: str) -> list[float]:
    return [each["power"] for each in browser.payloads(f"meters/{meter}/reading")]


def test_every_value_of_a_topic_reaches_a_browser_that_keeps_up(site: Site) -> None:
    with site.browser() as browser:
        browser.subscribe("meters/values/power")
        site.publish(*(("meters/values/power", str(n)) for n in range(60)))
        wait_until(lambda: browser.payloads("meters/values/power")[-1:] == [59])

    assert browser.payloads("meters/values/power") == list(range(60))


def refused(site: Site, path: str, origin: str) -> int:
    with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
        websocket.create_connection(f"ws://127.0.0.1:{site.http}{path}", origin=origin, timeout=30)
    return int(refusal.value.status_code)


def test_foreign_pages_may_not_connect(site: Site) -> None:
    assert refused(site, "/ws/1", "http://evil.example") == 403
    assert refused(site, "/ws/1", "http://[") == 403
    socket_io = "/socket.io/?EIO=4&transport=websocket"
    assert refused(site, socket_io, "http://evil.example") == 400


@pytest.mark.parametrize("origin", ["http://127.0.0.1:{port}", "http://localhost:3000"])
def test_own_pages_and_those_of_the_settings_may_connect(site: Site, origin: str) -> None:
    origin = origin.format(port=site.http)
    site.post({"meter_id": "origin", "power": 1})

    with site.raw("origin", origin=origin) as connection:
        assert json.loads(connection.recv())["power"] == 1
    socket_io = f"ws://127.0.0.1:{site.http}/socket.io/?EIO=4&transport=websocket"
    connection = websocket.create_connection(socket_io, origin=origin, timeout=30)
    assert connection.recv().startswith("0{")
    connection.close()


def test_invalid_meter_id_is_refused_before_the_handshake(site: Site) -> None:
    assert refused(site, "/ws/_bridge", f"http://127.0.0.1:{site.http}") == 404


def test_compression_is_declined_though_browsers_offer_it(site: Site) -> None:
    offer = ["Sec-WebSocket-Extensions: permessage-deflate"]

    with site.raw("1", header=offer) as connection:
        assert "sec-websocket-extensions" not in connection.getheaders()


@pytest.mark.parametrize("others", [1, 0], ids=["subscribed at once", "one after the other"])
def test_a_browser_that_pauses_gets_every_frame_whole(site: Site, others: int) -> None:
    """16 kB of info for each of 300 meters is more than the kernel holds for a slow reader."""
    count = 300
    site.publish(
        *(
            (f"meters/big{n}/info", json.dumps({"name": f"{n}", "padding": "x" * 15_000}))
            for n in range(count)
        ),
        retain=True,
    )
    wait_until(lambda: len(site.get("/meters/")[1]) >= count)
    connection = websocket.create_connection(
        f"ws://127.0.0.1:{site.http}/socket.io/?EIO=4&transport=websocket",
        timeout=30,
        sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)],
    )
    connection.recv()
    connection.send("40")
    for pattern in ["meters/+/info"] if others else [f"meters/big{n}/info" for n in range(90)]:
        connection.send(f'42["subscribe","{pattern}"]')
    with site.browser() as quick:
        quick.subscribe("meters/quick/reading")
        site.read("quick", 1)
        wait_until(
            lambda: quick.payloads("meters/quick/reading"), what="a frame for a quick reader"
        )

    names = set()
    while len(names) < (count if others else 90):
        text = connection.recv()
        if text == "2":
            connection.send("3")
        elif text.startswith('42["message"'):
            names.add(json.loads(text[2:])[1]["payload"]["name"])
    connection.close()
    assert {"0", "89"} <= names


SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)]


def numbered(meter: str, numbers: range) -> list[tuple[str, str]]:
    """Return messages with readings of all quantities, a second apart."""
    start = datetime.now(UTC) - timedelta(hours=1)
    values = dict.fromkeys(BY_NAME, 1.0)
    return [
        (
            f"meters/{meter}/reading",
            json.dumps({"ts": (start + timedelta(seconds=n)).isoformat()} | values | {"power": n}),
        )
        for n in numbers
    ]


def test_reader_that_falls_too_far_behind_is_told_where_to_fill_the_hole(site: Site) -> None:
    with site.raw("behind", sockopt=SMALL_BUFFER) as connection:
        site.publish(*numbered("behind", range(600)))
        wait_until(lambda: len(site.get("/readings/behind?limit=600")[1]) == 600, 30)

        received: list[int] = []
        while True:
            kind, payload = connection.recv_data()
            if kind == websocket.ABNF.OPCODE_CLOSE:
                break
            received.append(json.loads(payload)["power"])
    code, reason = int.from_bytes(payload[:2], "big"), payload[2:].decode()
    missing = site.get(f"/readings{reason.partition('/readings')[2]}&limit=600")[1]

    assert code == 1013
    assert reason.startswith("too slow; fill the hole from /readings/?meter=behind&from=20")
    assert received == list(range(len(received)))
    assert [each["power"] for each in reversed(missing)] == list(range(len(received), 600))


def test_browser_that_was_slow_learns_what_it_missed_and_ends_with_the_last_values(
    site: Site,
) -> None:
    url = f"ws://127.0.0.1:{site.http}/socket.io/?EIO=4&transport=websocket"
    connection = websocket.create_connection(url, timeout=30, sockopt=SMALL_BUFFER)
    connection.send("40")
    connection.send('42["subscribe",["meters/slow/reading","meters/fast1/+"]]')
    site.publish(*numbered("slow", range(600)))
    site.publish(*((f"meters/fast1/{name}", "1") for name in BY_NAME))
    wait_until(lambda: len(site.get("/readings/slow?limit=600")[1]) == 600, 30)

    powers: list[int] = []
    others: set[str] = set()
    missed: list[str] = []
    while not missed or len(others) < len(BY_NAME):
        text = connection.recv()
        name, value = json.loads(text[2:]) if text.startswith("42") else (text, None)
        if name == "missed":
            missed.append(value["from"])
        elif name == "message" and value["topic"] == "meters/slow/reading":
            powers.append(value["payload"]["power"])
        elif name == "message":
            others.add(value["topic"])
    connection.shutdown()
    stored = site.get(f"/readings/slow?limit=600&from={missed[0]}")[1]

    assert len(powers) < 600
    assert powers == sorted(powers)
    assert powers[-1] == 599
    assert set(range(600)) <= {each["power"] for each in stored} | set(powers)


def test_raw_socket_sends_states_where_it_is_asked_to(site: Site) -> None:
    with site.raw("states?states=true") as connection:
        states = [json.loads(connection.recv()) for _ in range(2)]

    assert {"broker": {"connected": True, "trouble": None}} in states
    assert {"history": {"connected": True, "trouble": None}} in states


def test_broker_that_comes_back_is_reported_and_received_again(site: Site) -> None:
    with (
        site.browser() as browser,
        site.raw("again") as connection,
        site.raw("again?states=true") as with_states,
    ):
        wait_until(lambda: browser.broker == [{"connected": True, "trouble": None}])
        browser.subscribe("meters/again/reading")
        site.broker.stop()
        wait_until(lambda: not browser.broker[-1]["connected"])
        assert browser.broker[-1]["trouble"]
        with pytest.raises(HTTPError, match="503") as refusal:
            site.post({"meter_id": "again", "power": 1})
        refusal.value.close()

        site.broker = site.start_broker()
        wait_until(lambda: browser.broker[-1]["connected"], what="the broker")
        site.read("again", 7)

        assert json.loads(connection.recv())["power"] == 7
        wait_until(lambda: browser.payloads("meters/again/reading"))
        frames = [json.loads(with_states.recv())]
        while "power" not in frames[-1]:
            frames.append(json.loads(with_states.recv()))
    states = [frame["broker"]["connected"] for frame in frames if "broker" in frame]
    assert states[0]
    assert False in states
    assert states[-1]


def test_history_that_begins_is_reported(site: Site, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/later.db"}
    port = free_port()
    with site.start("web", HTTP_PORT=port, **settings) as web:
        web.wait_for("connected")
        browser = Browser(port)
        wait_until(lambda: browser.history, what="the state of the history")
        assert not browser.history[-1]["connected"]
        assert "recorder" in browser.history[-1]["trouble"]

        with site.start("recorder", RECORDER_NAME="second", **settings):
            wait_until(lambda: browser.history[-1]["connected"], what="the history")
        browser.client.disconnect()


def test_database_server_that_stops_is_reported_and_readings_stay_live(site: Site) -> None:
    port = free_port()
    with ExitStack() as stack:
        with postgresql.server() as url:
            database = open_database(url)
            migrate(database)
            database.close()
            web = stack.enter_context(site.start("web", HTTP_PORT=port, DATABASE_URL=url))
            web.wait_for("connected")
            browser = Browser(port)
            stack.callback(browser.client.disconnect)
            browser.subscribe("meters/nodb/reading")
            wait_until(lambda: browser.history == [{"connected": True, "trouble": None}])

        wait_until(lambda: not browser.history[-1]["connected"], what="the outage to be reported")
        site.read("nodb", 3)
        wait_until(lambda: browser.payloads("meters/nodb/reading"), what="a live reading")
    assert "Traceback" not in web.output


def test_port_in_use_is_reported_in_one_sentence(site: Site) -> None:
    with site.start("web", HTTP_PORT=site.http) as second:
        assert second.process.wait(30) == 1
        last = second.output.strip().splitlines()[-1]

    assert last.startswith(f"web: port {site.http} on 127.0.0.1 is in use by another program")
    assert "HTTP_PORT=" in last
    assert "Traceback" not in second.output


def test_garbage_on_the_port_disturbs_nobody(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.http), timeout=30) as connection:
        connection.sendall(b"\x88\x82nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")

    assert site.get("/healthz")[0] == 200


def test_the_service_stops_cleanly_while_browsers_are_connected(site: Site) -> None:
    """After all these tests, the log has no traceback."""
    with site.raw("1"), site.browser():
        code = site.web.stop()

    assert code == 0
    assert site.web.output.strip().endswith("stopped")
    assert "Traceback" not in site.web.output
