"""Foreign pages and foreign host names: what a browser of the house cannot be made to do."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import websocket
from playwright.sync_api import Browser, Page

from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.web.conftest import ATTACK
from web.origins import KnownHosts, is_cross_origin
from web.users import set_token, set_user

PASSWORD = "correct horse"
MACHINE = socket.gethostname().lower().partition(".")[0]


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "localhost:8000",
        "LocalHost.",
        "127.0.0.1:8000",
        "192.168.1.5",
        "[::1]:8000",
        "[fe80::1]",
        MACHINE,
        f"{MACHINE}.local:8000",
        "meters.example.com",
    ],
)
def test_addresses_and_own_names_are_known(header: str) -> None:
    assert KnownHosts(["meters.example.com"]).knows(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        ATTACK,
        f"{ATTACK}:8000",
        f"{MACHINE}.{ATTACK}",
        f"localhost.{ATTACK}",
        f"127.0.0.1.{ATTACK}",
        f"localhost:8000@{ATTACK}",
        f"localhost, {ATTACK}",
        "localhost:8000:1",
        "127.0.0.1/",
        "0x7f.1",
        "2130706433",
        "[::1",
        "::1",
        "localhost\x00",
        "meters.example.com.evil.example",
    ],
)
def test_other_names_are_not_known(header: str) -> None:
    assert not KnownHosts(["meters.example.com"]).knows(header)


@pytest.mark.parametrize(
    ("headers", "cross"),
    [
        ({}, False),
        ({"HTTP_ORIGIN": "http://localhost:8000"}, False),
        ({"HTTP_ORIGIN": "http://localhost:3000"}, True),
        ({"HTTP_ORIGIN": "http://evil.example"}, True),
        ({"HTTP_ORIGIN": "null"}, True),
        ({"HTTP_ORIGIN": ""}, True),
        ({"HTTP_ORIGIN": "http://[::1"}, True),
        ({"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_ORIGIN": "http://localhost:8000"}, False),
        ({"HTTP_SEC_FETCH_SITE": "none"}, False),
        ({"HTTP_SEC_FETCH_SITE": "same-site"}, True),
        ({"HTTP_SEC_FETCH_SITE": "cross-site"}, True),
    ],
)
def test_what_counts_as_another_origin(headers: dict[str, str], cross: bool) -> None:
    assert is_cross_origin({"HTTP_HOST": "localhost:8000", **headers}) == cross


class House:
    """Broker, recorder and web service with a stored reading."""

    def __init__(self, directory: Path, stack: ExitStack, **settings: object) -> None:
        require("mosquitto")
        self.users_file = directory / "state" / "web-users"
        settings = {"MQTT_PORT": free_port(), "HTTP_PORT": free_port(), **settings}
        self.port = int(str(settings["HTTP_PORT"]))
        self.url = f"http://localhost:{self.port}"
        for part in ("broker", "recorder", "web"):
            stack.enter_context(Part.module(part, directory=directory, **settings))
        wait_until(lambda: listens(self.port), what="the web service")
        wait_until(lambda: self.post("1") == 201, what="a reading")

    def request(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, str]:
        """Send a request as a program does, with any header."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, names)
            with connection.getresponse() as answer:
                return answer.status, answer.read().decode()

    def post(self, meter_id: str, **headers: str) -> int:
        """Post a reading, and return the status."""
        body = json.dumps({"meter_id": meter_id, "power": 77})
        return self.request("POST", "/readings/", body, Content_Type="application/json", **headers)[
            0
        ]

    def log_in(self, page: Page, name: str) -> None:
        """Log in as a person does."""
        page.goto(f"{self.url}/")
        page.fill("[name=name]", name)
        page.fill("[name=password]", PASSWORD)
        page.click("button")
        page.wait_for_url(f"{self.url}/")


class Stranger:
    """A server of a stranger on this machine, with a page that looks harmless."""

    def __init__(self, port: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<!doctype html><title>Games</title>")

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path_factory.mktemp("house"), stack, WEB_HOSTS="meters.example.com")


@pytest.mark.parametrize(
    "path", ["/", "/meters/", "/healthz", "/login", "/static/theme.js", "/docs", "/nowhere"]
)
def test_a_request_with_a_foreign_host_name_is_misdirected(house: House, path: str) -> None:
    status, text = house.request("GET", path, Host=f"{ATTACK}:{house.port}")

    assert status == 421
    assert f"unknown host name '{ATTACK}:{house.port}'" in text
    assert "add the name to WEB_HOSTS" in text


@pytest.mark.parametrize(("protocol", "status"), [("HTTP/1.0", b"200"), ("HTTP/1.1", b"421")])
def test_only_a_client_older_than_host_names_may_send_none(
    house: House, protocol: str, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", house.port), timeout=30) as connection:
        connection.sendall(f"GET /meters/ {protocol}\r\nConnection: close\r\n\r\n".encode())

        assert connection.recv(100).split()[1] == status


def test_a_name_of_the_settings_is_served(house: House) -> None:
    assert house.request("GET", "/meters/", Host="meters.example.com")[0] == 200


@pytest.mark.parametrize("path", ["/ws/1", "/socket.io/?EIO=4&transport=websocket"])
def test_a_websocket_with_a_foreign_host_name_is_misdirected(house: House, path: str) -> None:
    url = f"ws://127.0.0.1:{house.port}{path}"
    foreign = f"{ATTACK}:{house.port}"

    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(url, timeout=30, host=foreign, origin=f"http://{foreign}")

    assert refused.value.status_code == 421


STEAL = """async ([base, token]) => {
  const seen = {};
  const attempt = async (name, path, options) => {
    try {
      seen[name] = (await fetch(base + path, options)).status;
    } catch {
      seen[name] = "failed";
    }
  };
  const listen = (path) => new Promise((resolve) => {
    const socket = new WebSocket(base.replace("http", "ws") + path);
    socket.onmessage = () => resolve("delivered");
    socket.onclose = () => resolve("refused");
  });
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const body = JSON.stringify({ meter_id: "stolen", power: 1 });
  await attempt("read", "/meters/", {});
  await attempt("post", "/readings/", { method: "POST", headers, body });
  seen.ws = await listen("/ws/1");
  seen.socketio = await listen("/socket.io/?EIO=4&transport=websocket");
  return seen;
}"""
"""What a page can try; returns the status or the end of each attempt."""
SUBMIT = """([url, kind]) => {
  const form = document.createElement("form");
  Object.assign(form, { action: url, method: "post", enctype: kind });
  const field = document.createElement("input");
  field.name = '{"meter_id": "stolen", "power": 1, "x": "';
  field.value = '"}';
  form.append(field);
  document.body.append(form);
  form.submit();
}"""
"""A form whose body, as text/plain, is JSON."""


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page of a browser that has visited nothing yet."""
    with closing(chromium.new_context()) as context:
        yield context.new_page()


@pytest.mark.browser
@pytest.mark.parametrize("known", [False, True], ids=["foreign-name", "known-name"])
def test_a_page_whose_name_is_made_to_lead_here_reads_and_posts_nothing(
    tmp_path: Path, page: Page, known: bool
) -> None:
    """DNS rebinding: the browser sees one origin. With a known name the attack would succeed."""
    port = free_port()
    with closing(Stranger(port)):
        page.goto(f"http://{ATTACK}:{port}/")
    hosts = {"WEB_HOSTS": ATTACK} if known else {}
    with ExitStack() as stack:
        house = House(tmp_path, stack, HTTP_PORT=port, **hosts)

        seen = page.evaluate(STEAL, [f"http://{ATTACK}:{port}", ""])
        stolen = house.request("GET", "/readings/stolen")[0]

    if known:
        assert seen == {"read": 200, "post": 201, "ws": "delivered", "socketio": "delivered"}
    else:
        assert seen == {"read": 421, "post": 421, "ws": "refused", "socketio": "refused"}
        assert stolen == 404


@pytest.mark.browser
@pytest.mark.parametrize("logged_in", [False, True])
def test_a_page_of_another_origin_reads_and_posts_nothing(
    tmp_path: Path, page: Page, logged_in: bool
) -> None:
    with ExitStack() as stack:
        house, stranger = House(tmp_path, stack), stack.enter_context(closing(Stranger()))
        if logged_in:
            set_user(house.users_file, "ben", "editor", PASSWORD)
            house.log_in(page, "ben")
        for host in (ATTACK, "localhost"):
            games = f"http://{host}:{stranger.port}/"
            page.goto(games)

            seen = page.evaluate(STEAL, [house.url, ""])
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                page.goto(games)
                with page.expect_navigation():
                    page.evaluate(SUBMIT, [f"{house.url}/readings/", kind])
                assert "detail" in page.content()

            assert seen == {
                "read": "failed", "post": "failed", "ws": "refused", "socketio": "refused",
            }  # fmt: skip
        _, token = set_token(house.users_file, "display", "viewer")
        readings = house.request("GET", "/readings/stolen", Authorization=f"Bearer {token}")
        assert readings[0] == 404


@pytest.mark.browser
def test_a_front_end_of_the_settings_reads_and_posts_only_with_a_token(
    tmp_path: Path, page: Page
) -> None:
    with ExitStack() as stack:
        stranger = stack.enter_context(closing(Stranger()))
        front = f"http://localhost:{stranger.port}"
        house = House(tmp_path, stack, CORS_ORIGINS=front)
        page.goto(front)

        without = page.evaluate(STEAL, [house.url, ""])
        _, token = set_token(house.users_file, "front", "editor")
        with_token = page.evaluate(STEAL, [house.url, token])

    assert without == {"read": 200, "post": 403, "ws": "delivered", "socketio": "delivered"}
    assert with_token == {**without, "post": 201}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_post_across_origins_is_refused_also_where_no_login_is_needed(
    house: House, headers: dict[str, str]
) -> None:
    assert house.post("foreign", **headers) == 403
    assert house.request("GET", "/readings/foreign")[0] == 404


@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_a_page_of_another_origin_can_neither_log_in_nor_out(house: House, path: str) -> None:
    assert house.request("POST", path, "", Origin="http://evil.example")[0] == 403
