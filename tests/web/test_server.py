"""The web server under clients that are slow, silent, many or malformed, as raw sockets."""

import http.client
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.parts import Part, free_port, listens, require, wait_until

FIRST_REQUEST_S = 2.0
QUICK = f"""
import web.server as server
server.FIRST_REQUEST_S, server.IDLE_S, server.REQUEST_S = {FIRST_REQUEST_S}, 4, 2
from web.__main__ import main
main()
"""
"""The service with limits of time that a test can wait for."""
PING = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /readings/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Web:
    """The web service, without a broker."""

    def __init__(self, *command: str, directory: Path) -> None:
        self.port = free_port()
        self.part = Part(*command, directory=directory, HTTP_PORT=self.port, MQTT_PORT=free_port())
        wait_until(lambda: listens(self.port), what="the web service")

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(sent)
        return connection

    def answer(self, sent: bytes) -> bytes:
        """Return all that the service answers, until it closes the connection."""
        with self.connect(sent) as connection:
            return everything(connection)

    def responds(self) -> bool:
        """Return whether a new connection is served."""
        with self.connect(PING) as connection:
            return connection.recv(100).startswith(b"HTTP/1.1 200")


def received(connection: socket.socket, end: bytes) -> bytes:
    """Return what arrives up to these bytes."""
    found = b""
    while end not in found:
        found += connection.recv(65_536)
    return found


def everything(connection: socket.socket) -> bytes:
    received = b""
    while True:
        try:
            piece = connection.recv(65_536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    started = Web(sys.executable, "-c", QUICK, directory=tmp_path_factory.mktemp("web"))
    with started.part:
        yield started
    assert "Traceback" not in started.part.output


def drip(connection: socket.socket, text: bytes) -> bytes:
    """Send a byte at a time, until the service has enough; return what it answered."""
    for byte in text:
        try:
            connection.sendall(bytes((byte,)))
        except OSError:
            break
        time.sleep(0.02)
    return everything(connection)


def test_silent_connection_is_closed(web: Web) -> None:
    assert web.answer(b"") == b""


def test_request_line_that_never_ends_is_closed(web: Web) -> None:
    with web.connect() as connection:
        assert drip(connection, b"GET /" + b"x" * 200) == b""


def test_headers_that_drip_are_answered_with_408(web: Web) -> None:
    with web.connect(b"GET /healthz HTTP/1.1\r\n") as connection:
        assert drip(connection, b"X-Slow: " + b"x" * 200).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("length", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_body_that_drips_ends_the_connection(web: Web, length: bytes) -> None:
    with web.connect(POST + length + b"\r\n\r\n") as connection:
        answer = drip(connection, b"40\r\n" + b" " * 200)

    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.count(b"HTTP/1.1") == 1


def test_body_of_a_request_that_is_refused_does_not_keep_the_connection(web: Web) -> None:
    with web.connect(
        POST.replace(b"/readings/", b"/no/such/") + b"Content-Length: 99\r\n\r\n"
    ) as it:
        assert everything(it).startswith(b"HTTP/1.1 40")


def test_kept_connection_that_is_idle_is_closed(web: Web) -> None:
    with web.connect(PING) as connection:
        assert everything(connection).count(b"HTTP/1.1 200") == 1


def test_requests_of_a_kept_connection_are_each_served(web: Web) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    connection.connect()
    first = connection.sock
    until_s = time.monotonic() + FIRST_REQUEST_S + 0.5
    while time.monotonic() < until_s:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
    assert connection.sock is first
    connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n", b"400"),
        (b"GET /\r\n\r\n" + b"\0" * 100, b"2"),
        (b"GET / HTTP/7.7\r\n\r\n", b"400"),
        (b"GET / HTTP/1.x\r\n\r\n", b"400"),
        (b"GET " + b"/" * 9000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 99_000 + b"\r\n\r\n", b"4"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n: empty\r\n\r\n", b"400"),
        (POST + b"Content-Length: -1\r\n\r\n", b"400"),
        (POST + b"Content-Length: many\r\n\r\n", b"400"),
        (POST + b"Content-Length: 4\r\n\r\n\0\xff\xfe\0", b"400"),
        (POST + b"Content-Length: 5000000\r\n\r\n{", b"413"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n", b"400"),
    ],
    ids=lambda value: str(value)[2:30] if len(value) > 4 else None,
)  # fmt: skip
def test_malformed_request_is_refused_and_logged_without_a_traceback(
    web: Web, sent: bytes, status: bytes
) -> None:
    assert web.answer(sent).partition(b" ")[2].startswith(status)
    assert web.responds()


@pytest.mark.parametrize(
    "headers",
    [
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: \xff\xfe\r\n",
        b"Upgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    ],
    ids=["no version", "no key", "key of other characters", "not an upgrade", "another protocol"],
)
@pytest.mark.parametrize("path", [b"/ws/1", b"/socket.io/?EIO=4&transport=websocket"])
def test_malformed_handshake_is_refused(web: Web, path: bytes, headers: bytes) -> None:
    sent = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n"

    assert web.answer(sent).startswith(b"HTTP/1.1 4")


LARGE_RESPONSE = """
import sys
import web.server as server
from web.limits import Connections
server.PIECE_S = 0.5
def app(environ, start_response):
    start_response("200 OK", [])
    try:
        for _ in range(1000):
            yield bytes(100_000)
    finally:
        print("ended", flush=True)
served = server.Server(("127.0.0.1", int(sys.argv[1])), app, Connections(10))
served.serve_forever()
"""


NO_DELAY = """
import socket, sys
import web.server as server
from web.limits import Connections
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "1")])
    connection = environ["wsgi.input"].rfile.raw.connection
    yield str(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)).encode()
served = server.Server(("127.0.0.1", int(sys.argv[1])), app, Connections(10))
served.serve_forever()
"""


def test_client_that_does_not_read_its_response_is_disconnected(tmp_path: Path) -> None:
    port = free_port()
    command = (sys.executable, "-c", LARGE_RESPONSE, str(port))
    with Part(*command, directory=tmp_path) as part:
        wait_until(lambda: listens(port))
        with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
            slow.sendall(PING)
            part.wait_for("ended")
            assert len(everything(slow)) < 50_000_000
        with socket.create_connection(("127.0.0.1", port), timeout=30) as quick:
            quick.sendall(PING.replace(b"1.1", b"1.0"))
            assert sum(map(len, iter(lambda: quick.recv(1_000_000), b""))) > 100_000_000
    assert "Traceback" not in part.output


def test_responses_do_not_wait_for_acknowledgements(tmp_path: Path) -> None:
    """With Nagle's algorithm, each request of a kept connection takes 44 ms."""
    port = free_port()
    with Part(sys.executable, "-c", NO_DELAY, str(port), directory=tmp_path):
        wait_until(lambda: listens(port))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"1"
        connection.close()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"the limit of open files of this test is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limited(limit: str, directory: Path) -> Web:
    """Start the service in a shell with a limit of open files."""
    command = f"ulimit {limit} && exec {sys.executable} -m web"
    return Web(require("bash"), "-c", command, directory=directory)


@pytest.mark.usefixtures("many_descriptors")
def test_beyond_the_descriptors_connections_are_refused_and_open_ones_go_on(
    tmp_path: Path,
) -> None:
    web = limited("-n 1024", tmp_path)
    with web.part, ExitStack() as stack:
        early = stack.enter_context(web.connect(PING))
        assert b'"ok"' in received(early, b"}")
        silent = [stack.enter_context(web.connect()) for _ in range(1100)]
        early.sendall(PING)
        assert received(early, b"}").startswith(b"HTTP/1.1 200")
        refusal = everything(silent[-1])
        assert refusal.startswith(b"HTTP/1.1 503")
        assert b"connections are open" in refusal
        for connection in silent:
            connection.close()

        wait_until(web.responds, what="a new connection to be served")
    assert web.part.output.count("connections are open") == 1
    assert "Traceback" not in web.part.output


@pytest.mark.usefixtures("many_descriptors")
def test_limit_of_open_files_is_raised_as_far_as_the_system_allows(tmp_path: Path) -> None:
    web = limited("-S -n 256", tmp_path)
    with web.part, ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(web.connect())

        assert web.responds()
