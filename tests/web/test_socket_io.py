"""Socket.IO under clients that send nonsense or too much: they end, and leave nothing behind."""

import contextlib
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import socketio
import websocket
from engineio.packet import PING, Packet

from tests.support.parts import Part, free_port, listens, wait_until
from tests.web.test_live import Site, clients
from web.websockets import BURST_MESSAGES, MESSAGES_PER_S

CLOSED = (websocket.WebSocketException, OSError)
PATH = "/socket.io/?EIO=4&transport="


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        started = Site(tmp_path_factory.mktemp("site"), stack)
        yield started
        assert started.web.stop() == 0
        assert "Traceback" not in started.web.output
        lines = started.web.output.splitlines()
        assert not [line for line in lines if "ERROR" in line or not line[:1].isdigit()]


@pytest.fixture
def client(site: Site) -> Iterator[websocket.WebSocket]:
    """A WebSocket that has connected to the namespace."""
    connection = websocket.create_connection(f"ws://127.0.0.1:{site.http}{PATH}websocket")
    connection.settimeout(30)
    assert connection.recv().startswith("0{")
    connection.send("40")
    assert connection.recv().startswith("40{")
    yield connection
    connection.shutdown()


def is_ended(client: websocket.WebSocket) -> bool:
    """Read until the end of the connection; fails where it does not come."""
    deadline = time.monotonic() + 30
    with contextlib.suppress(*CLOSED):
        while time.monotonic() < deadline:
            if client.recv() == "":
                return True
    return time.monotonic() < deadline


def serves(site: Site) -> bool:
    """Return whether a new client receives a reading, and how it was."""
    with site.browser() as browser:
        browser.subscribe("meters/well/reading")
        site.read("well", time.time() % 1000)
        return bool(wait_until(lambda: browser.payloads("meters/well/reading")))


NONSENSE = [
    '42["connect"]', '42["disconnect"]', '42["connect_error"]', '42["disconnecting"]',
    '42["newListener","x"]', '427["connect",{}]', "42", "42[]", "42[5]", '42{"a":1}', '42"event"',
    '42["unfinished"', "42" + "[" * 30_000, "42" + '{"a":' * 10_000, '42["x",' + "9" * 9000 + "]",
    '451-["x",{"_placeholder":true,"num":0}]',
    "45999999999-[]", "461-[]", "44{}", "49", "4", "4x", "4²", "4[[[[", '4{"a":1}', "", "x", "0",
    "2", "6", "7", "b4AAA", "\0", "43", '43{"a":1}', "42" + "1" * 200 + "[]",
]  # fmt: skip


@pytest.mark.parametrize("text", NONSENSE, ids=lambda text: repr(text)[:24])
def test_nonsense_ends_the_connection(client: websocket.WebSocket, text: str) -> None:
    client.send(text)

    assert is_ended(client)


@pytest.mark.parametrize("text", [text for text in NONSENSE if text], ids=lambda t: repr(t)[:24])
def test_nonsense_ends_a_session_of_polling(site: Site, text: str) -> None:
    sid = opened(site)

    post(site, sid, text)

    assert post(site, sid, "40") == 400


def opened(site: Site) -> str:
    """Open a session of long-polling and connect to the namespace; return its id."""
    with urlopen(f"{site.url}{PATH}polling", timeout=30) as answer:
        sid = str(json.loads(answer.read()[1:])["sid"])
    assert post(site, sid, "40") == 200
    return sid


def post(site: Site, sid: str, body: str | bytes) -> int:
    body = body if isinstance(body, bytes) else body.encode()
    try:
        with urlopen(Request(f"{site.url}{PATH}polling&sid={sid}", body), timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", b"", b"\x1e".join([b"3"] * 17), b'4' + b"x" * 70_000, b"d=4", b"3\x1e\x1e3"],
    ids=["no text", "empty", "many packets", "large", "JSONP", "empty packet"],
)  # fmt: skip
def test_malformed_request_of_polling_ends_the_session(site: Site, body: bytes) -> None:
    assert post(site, opened(site), body) == 400


def test_binary_message_ends_the_connection(client: websocket.WebSocket) -> None:
    client.send_binary(b"4" + bytes(10))

    assert is_ended(client)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('420["subscribe"]', "expected a topic filter"),
        ('420["subscribe",{"deep":[[[[]]]]}]', "expected a topic filter"),
        ('420["subscribe","meters/1/#",2,3,4]', "meters/1/#"),
        ('420["subscribe","meters/\\ud800/#"]', "meters/"),
        ('420["unsubscribe",[1],null]', "a topic filter should be"),
        ('42["unknown",1]430[]420["x"]', ""),
    ],
)
def test_sound_event_with_odd_arguments_is_answered(
    client: websocket.WebSocket, text: str, answer: str
) -> None:
    client.send(text)
    client.send('421["subscribe","meters/2/#"]')

    received = ""
    while '431["meters' not in received.replace(" ", "") and "431[[" not in received:
        received += client.recv() if answer else '431["meters'
    assert answer in received


FLOODS: dict[str, Callable[[int], str]] = {
    "reserved events, 590 kB": lambda _: '42["connect"]',
    "subscriptions": lambda n: f'42["subscribe","meters/{n}/reading"]',
    "unknown events": lambda _: '42["unknown",1]',
    "connections to the namespace": lambda _: "40",
    "connections to other namespaces": lambda n: f"40/other{n},",
    "acknowledgements": lambda n: f"43{n}[]",
    "answers to pings": lambda _: "3",
    "attachments without end": lambda n: '45999999-["x"]' if n == 0 else "b4" + "A" * 1000,
}


@pytest.mark.parametrize("flood", FLOODS)
def test_flood_ends_and_leaves_nothing_behind(
    site: Site, client: websocket.WebSocket, flood: str
) -> None:
    with contextlib.suppress(*CLOSED):
        for n in range(45_000):
            client.send(FLOODS[flood](n))
        assert is_ended(client)

    assert serves(site)
    wait_until(lambda: clients(site.http) == 0, what="no client to be left")


def test_flood_of_a_polling_session_ends_it(site: Site) -> None:
    sid, began_s = opened(site), time.monotonic()
    codes = [post(site, sid, "\x1e".join(['42["unknown"]'] * 16)) for _ in range(30)]

    allowed = BURST_MESSAGES + MESSAGES_PER_S * (time.monotonic() - began_s)
    assert codes[0] == 200
    assert codes[-1] == 400
    assert codes.count(200) <= allowed / 16


def memory_kb(site: Site) -> int:
    status = Path(f"/proc/{site.web.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_clients_that_were_ended_cost_no_memory(site: Site) -> None:
    def abuse() -> None:
        for n in range(50):
            connection = websocket.create_connection(f"ws://127.0.0.1:{site.http}{PATH}websocket")
            with contextlib.suppress(*CLOSED):
                connection.send("40")
                for m in range(100):
                    connection.send(f'42["subscribe","meters/{n}x{m}/+"]')
                connection.send("1" if n % 2 else '42["disconnect"]')
                connection.send("40")
            assert is_ended(connection)
            connection.shutdown()

    abuse()
    before_kb = memory_kb(site)
    for _ in range(4):
        abuse()

    assert memory_kb(site) - before_kb < 3000


@pytest.mark.parametrize(
    "sent",
    [
        b"\x82\x80\0\0\0\0", b"\x89\x80\0\0\0\0", b"\x8a\x80\0\0\0\0",
        b"\x01\x81\0\0\0\0x\x80\x80\0\0\0\0",
    ],
    ids=["messages", "pings", "pongs", "fragments"],
)  # fmt: skip
def test_flood_of_frames_ends_a_raw_connection(site: Site, sent: bytes) -> None:
    with site.raw("flooded") as connection:
        with contextlib.suppress(OSError):
            for _ in range(2000):
                connection.sock.sendall(sent * 10)

        assert is_ended(connection)
    assert serves(site)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x05hello", 1002),  # not masked
        (b"\xf1\x80\0\0\0\0", 1002),  # reserved bits
        (b"\x83\x80\0\0\0\0", 1002),  # reserved kind
        (b"\x81\x82\0\0\0\0\xff\xfe", 1007),  # not UTF-8
        (b"\x88\x82\0\0\0\0\x00\x05", 1002),  # a code that nobody may send
        (b"\x81\xff\0\0\0\0\0\1\0\x40\0\0\0\0" + bytes(65_600), 1009),
    ],
)
def test_malformed_frame_ends_a_raw_connection_with_its_code(
    site: Site, sent: bytes, code: int
) -> None:
    with site.raw("malformed") as connection:
        connection.sock.sendall(sent)

        kind, payload = connection.recv_data(control_frame=False)
    assert kind == websocket.ABNF.OPCODE_CLOSE
    assert int.from_bytes(payload[:2], "big") == code


PATIENT = """
import web.relay as relay, web.socket_io as socket_io
socket_io.OPTIONS |= {"ping_interval": 0.5, "ping_timeout": 3}
socket_io.TICK_S, socket_io.MOST_CONNECTIONS, relay.KEEP_ALIVE_S = 0.1, 20, 2
from web.__main__ import main
main()
"""
"""The service with pings that a test can wait for, and few sessions."""
PINGS = 12
"""Pings of a client that stays longer than one that does not answer."""


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of this service."""
    port = free_port()
    settings = {"HTTP_PORT": port, "MQTT_PORT": free_port()}
    command = (sys.executable, "-c", PATIENT)
    with Part(*command, directory=tmp_path_factory.mktemp("web"), **settings):
        wait_until(lambda: listens(port), what="the web service")
        yield port


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_silent_client_that_answers_pings_stays_connected(patient: int, transport: str) -> None:
    ended: list[str] = []
    client = socketio.Client(reconnection=False)
    client.on("disconnect", ended.append)
    received: list[int] = []
    handle = client.eio._receive_packet

    def receive(packet: Packet) -> None:
        received.append(packet.packet_type)
        handle(packet)

    client.eio._receive_packet = receive
    client.connect(f"http://127.0.0.1:{patient}", transports=[transport])
    wait_until(lambda: received.count(PING) >= PINGS, what="pings")

    assert client.call("subscribe", "meters/1/#", timeout=30) == ["meters/1/#"]
    assert ended == []
    client.disconnect()


def test_client_that_does_not_answer_pings_is_disconnected(patient: int) -> None:
    client = websocket.create_connection(f"ws://127.0.0.1:{patient}{PATH}websocket", timeout=30)
    client.send("40")

    assert is_ended(client)
    client.shutdown()


def test_raw_connection_that_answers_pings_stays_and_another_ends(patient: int) -> None:
    url = f"ws://127.0.0.1:{patient}/ws/silent"
    dead = socket.create_connection(("127.0.0.1", patient), timeout=30)
    dead.sendall(
        b"GET /ws/silent HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    alive = websocket.create_connection(url, timeout=30)
    for _ in range(3):
        assert alive.recv_frame().opcode == websocket.ABNF.OPCODE_PING
        alive.pong()

    received = b"".join(iter(lambda: dead.recv(1000), b""))
    assert received.endswith(b"\x89\x00")
    assert received.count(b"\x89\x00") == 1
    alive.shutdown()
    dead.close()


def test_sessions_of_polling_are_limited(patient: int) -> None:
    """As many as there may be connections; those of a dead client end with its pings."""

    def status() -> int:
        try:
            with urlopen(f"http://127.0.0.1:{patient}{PATH}polling", timeout=30) as answer:
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    wait_until(lambda: status() == 503, what="the limit", each_s=0)
    wait_until(lambda: status() == 200, what="the end of a session")
