"""Reverse proxies: nginx and Caddy with TLS before the service, and whom it believes."""

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from email.message import Message as HTTPMessage
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import socketio
import websocket
from playwright.sync_api import Browser, expect
from werkzeug.test import EnvironBuilder

from tests.support.parts import (
    ROOT,
    Part,
    free_port,
    listens,
    require,
    wait_until,
)
from tests.web.conftest import PROXY
from web.attempts import FREE
from web.proxies import TrustedProxies, was_forwarded
from web.users import set_token, set_user

PASSWORD = "correct horse"
FORM = {"Content_Type": "application/x-www-form-urlencoded"}
JSON = {"Content_Type": "application/json"}
BELOW_A_PATH = {
    "location / {": "location /energy/ {",
    "proxy_pass http://meterflow;": "proxy_pass http://meterflow/;",
    'X-Forwarded-Prefix ""': "X-Forwarded-Prefix /energy",
}
"""What docs/network.md changes in the file for nginx, to serve Meterflow below a path."""
Environ = dict[str, Any]


def passed_on(peer: str, networks: tuple[str, ...] = ("10.0.0.0/24",), **headers: str) -> Environ:
    """Return the environment that the app gets for a request from a peer."""
    seen: list[Environ] = []
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    environ = EnvironBuilder(headers=names, environ_overrides={"REMOTE_ADDR": peer}).get_environ()
    TrustedProxies(lambda environ, _: seen.append(environ), map(ip_network, networks))(
        environ, None
    )
    return seen[0]


def test_a_trusted_proxy_says_for_whom_it_forwards() -> None:
    environ = passed_on(
        "10.0.0.1",
        X_Forwarded_For="1.2.3.4, 192.168.1.7",
        X_Forwarded_Proto="https",
        X_Forwarded_Prefix="/energy",
    )

    assert environ["REMOTE_ADDR"] == "192.168.1.7"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["SCRIPT_NAME"] == "/energy"
    assert not was_forwarded(environ)


@pytest.mark.parametrize("peer", ["10.0.1.1", "192.168.1.7", "127.0.0.1", "::1", "", "x"])
def test_nobody_else_may_say_so(peer: str) -> None:
    environ = passed_on(
        peer, X_Forwarded_For="127.0.0.1", X_Forwarded_Proto="https", X_Forwarded_Prefix="/energy"
    )

    assert environ["REMOTE_ADDR"] == peer
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["SCRIPT_NAME"] == ""
    assert was_forwarded(environ)


@pytest.mark.parametrize("forwarded", [None, "", "unknown", "192.168.1.7, ", "127.0.0.1:80"])
def test_an_unknown_client_of_a_trusted_proxy_does_not_count_as_this_machine(
    forwarded: str | None,
) -> None:
    headers = {} if forwarded is None else {"X_Forwarded_For": forwarded}

    assert passed_on("127.0.0.1", ("127.0.0.1",), **headers)["REMOTE_ADDR"] == ""


def test_ipv6_that_wraps_the_address_of_a_trusted_proxy_is_that_address() -> None:
    environ = passed_on("::ffff:10.0.0.1", X_Forwarded_For="192.168.1.7")

    assert environ["REMOTE_ADDR"] == "192.168.1.7"


@pytest.mark.parametrize("prefix", ["//evil.example", "energy", "/x/", '/"><script>', "/a b", "/"])
def test_a_prefix_that_is_no_path_is_ignored(prefix: str) -> None:
    environ = passed_on("10.0.0.1", X_Forwarded_For="192.168.1.7", X_Forwarded_Prefix=prefix)

    assert environ["SCRIPT_NAME"] == ""


def test_the_header_host_stays_what_a_page_cannot_set() -> None:
    environ = passed_on("10.0.0.1", X_Forwarded_For="192.168.1.7", X_Forwarded_Host="localhost")

    assert environ["HTTP_HOST"] == "localhost"  # the builder's own
    assert passed_on("10.0.0.1", Host="a.example", X_Forwarded_Host="b.example")["HTTP_HOST"] == (
        "a.example"
    )


class Proxied:
    """Broker, recorder, web service, and a proxy with TLS before it."""

    def __init__(self, directory: Path, stack: ExitStack, proxy: str) -> None:
        self.http, self.mqtt, self.port, self.plain = (free_port() for _ in range(4))
        self.directory, self._stack = directory, stack
        users = directory / "state" / "web-users"
        set_user(users, "ben", "editor", PASSWORD)
        _, self.token = set_token(users, "logger", "editor")
        settings = {
            "MQTT_PORT": self.mqtt,
            "HTTP_PORT": self.http,
            "TRUSTED_PROXIES": "127.0.0.1,::1",
            "WEB_HOSTS": PROXY,
        }
        for part in ("broker", "recorder", "web"):
            stack.enter_context(Part.module(part, directory=directory, **settings))
        wait_until(lambda: listens(self.http), what="the web service")
        self.prefix = "/energy" if proxy == "nginx-prefix" else ""
        self.authority = self._start_caddy() if proxy == "caddy" else self._start_nginx()
        wait_until(lambda: listens(self.port), what=proxy)
        wait_until(self._is_ready, what="a reading")

    @property
    def origin(self) -> str:
        """The address that a browser shows."""
        return f"https://{PROXY}:{self.port}"

    def _start_nginx(self) -> Path:
        certificate, key = self.directory / "meterflow.crt", self.directory / "meterflow.key"
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 "
            f"-subj /CN={PROXY} -addext subjectAltName=DNS:{PROXY} -keyout {key} -out {certificate}"
        )
        subprocess.run(command.split(), check=True, capture_output=True)
        site = (ROOT / "deploy/nginx/meterflow.conf").read_text()
        for here, there in {
            "127.0.0.1:8000": f"127.0.0.1:{self.http}",
            "listen [::]:443 ssl http2;": "",
            "listen [::]:80;": "",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "listen 80": f"listen 127.0.0.1:{self.plain}",
            "/etc/nginx": str(self.directory),
            **(BELOW_A_PATH if self.prefix else {}),
        }.items():
            assert here in site
            site = site.replace(here, there)
        temporary = "".join(
            f"{name}_temp_path {self.directory}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        file = self.directory / "nginx.conf"
        file.write_text(
            f"pid {self.directory}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{temporary}{site}}}\n"
        )
        command = (require("nginx"), "-g", "daemon off;", "-c", str(file))
        self._stack.enter_context(
            Part(*command, "-p", str(self.directory), directory=self.directory)
        )
        return certificate

    def _start_caddy(self) -> Path:
        site = (ROOT / "deploy/caddy/Caddyfile").read_text()
        for here, there in {
            "127.0.0.1:8000": f"127.0.0.1:{self.http}",
            f"\n{PROXY} {{": f"\n{PROXY}:{self.port} {{",
        }.items():
            assert here in site
            site = site.replace(here, there)
        options = f"admin off\nhttp_port {self.plain}\nskip_install_trust\ndefault_bind 127.0.0.1\n"
        file = self.directory / "Caddyfile"
        file.write_text(f"{{\n{options}}}\n{site}")
        data = self.directory / "caddy"
        self._stack.enter_context(
            Part(
                *(require("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"),
                directory=self.directory,
                XDG_DATA_HOME=data,
                XDG_CONFIG_HOME=data,
            )
        )
        root = data / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        wait_until(root.exists, what="Caddy's authority")
        return root

    def connected(self) -> ssl.SSLSocket:
        """Return a connection to the proxy whose certificate was verified."""
        trust = ssl.create_default_context(cafile=str(self.authority))
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return trust.wrap_socket(plain, server_hostname=PROXY)

    def request(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, HTTPMessage, str]:
        """Send a request through the proxy, and return status, headers and body."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(HTTPConnection(PROXY, self.port, timeout=30)) as connection:
            connection.sock = self.connected()
            connection.request(method, self.prefix + path, body, names)
            with connection.getresponse() as answer:
                return answer.status, answer.headers, answer.read().decode()

    def _is_ready(self) -> bool:
        try:
            return self.post("1") == 201
        except ssl.SSLError:  # Caddy listens before it has its certificate
            return False

    def post(self, meter_id: str) -> int:
        """Post a reading with a token."""
        body = json.dumps({"meter_id": meter_id, "power": 77})
        return self.request("POST", "/readings/", body, **JSON, **self.bearer)[0]

    def log_in(self, password: str, **headers: str) -> tuple[int, HTTPMessage, str]:
        """Send the form of the login page."""
        body = urlencode({"name": "ben", "password": password})
        return self.request("POST", "/login", body, **FORM, **headers)

    @property
    def bearer(self) -> dict[str, str]:
        """The header of the program that has the token."""
        return {"Authorization": f"Bearer {self.token}"}


@pytest.fixture(scope="module", params=["nginx", "nginx-prefix", "caddy"])
def proxied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    with ExitStack() as stack:
        yield Proxied(tmp_path_factory.mktemp(request.param), stack, request.param)


def test_a_program_reads_and_posts_through_the_proxy(proxied: Proxied) -> None:
    assert proxied.post("through") == 201

    status, headers, text = proxied.request("GET", "/readings/through", **proxied.bearer)

    assert (status, json.loads(text)[0]["power"]) == (200, 77)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert proxied.request("GET", "/meters/")[0] == 401


def test_the_proxy_leads_plain_http_to_tls(proxied: Proxied) -> None:
    with closing(HTTPConnection("127.0.0.1", proxied.plain, timeout=30)) as connection:
        connection.request("GET", "/meters/", headers={"Host": PROXY})
        with connection.getresponse() as answer:
            assert answer.status in (301, 308)
            assert answer.headers["Location"].startswith(f"https://{PROXY}")


def test_the_session_behind_tls_is_sent_over_tls_alone(proxied: Proxied) -> None:
    status, headers, _ = proxied.log_in(PASSWORD, Origin=proxied.origin)

    cookie = SimpleCookie(headers["Set-Cookie"])["meterflow_session"]
    assert status == 303
    assert headers["Location"] == f"{proxied.prefix}/"
    assert cookie["secure"]
    assert cookie["path"] == f"{proxied.prefix}/"


def test_a_client_behind_the_proxy_cannot_choose_its_address_or_pass_for_this_machine(
    proxied: Proxied,
) -> None:
    def forging(number: int) -> int:
        address = f"10.1.1.{number}"
        forged = {"X_Forwarded_For": address, "X_Real_IP": address, "Forwarded": f"for={address}"}
        return proxied.log_in("wrong horse", **forged)[0]

    with ThreadPoolExecutor() as at_once:  # the first wait is of a second
        answers = sorted(at_once.map(forging, range(FREE + 1)))

    assert answers == [401] * FREE + [429]
    wait_until(lambda: proxied.log_in(PASSWORD)[0] == 303, what="the end of the wait")


@pytest.mark.parametrize("name", ["X_Forwarded_Host", "X_Forwarded_Prefix", "X_Forwarded_Server"])
def test_a_client_behind_the_proxy_cannot_change_where_pages_lead(
    proxied: Proxied, name: str
) -> None:
    status, headers, _ = proxied.request("GET", "/", Accept="text/html", **{name: "/evil.example"})

    assert (status, headers["Location"]) == (302, f"{proxied.prefix}/login?next=/")


def test_websockets_pass_the_proxy(proxied: Proxied) -> None:
    url = f"wss://{PROXY}:{proxied.port}{proxied.prefix}/ws/1"
    live = websocket.create_connection(url, socket=proxied.connected(), header=proxied.bearer)
    with closing(live):
        assert json.loads(live.recv())["power"] == 77

    browser = socketio.Client(
        reconnection=False, websocket_extra_options={"socket": proxied.connected()}
    )
    browser.connect(
        proxied.origin,
        proxied.bearer,
        transports=["websocket"],
        socketio_path=f"{proxied.prefix}/socket.io",
    )
    assert browser.call("subscribe", "meters/#", timeout=30) == ["meters/#"]
    browser.disconnect()


@pytest.mark.browser
def test_a_person_logs_in_and_sees_live_values_through_the_proxy(
    proxied: Proxied, chromium: Browser
) -> None:
    options = {"ignore_https_errors": True, "service_workers": "block"}
    with closing(chromium.new_context(**options)) as context:
        page = context.new_page()  # a worker needs a certificate that the browser knows
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        home = f"{proxied.origin}{proxied.prefix}/"

        page.goto(home)
        page.fill("[name=name]", "ben")
        page.fill("[name=password]", PASSWORD)
        page.click("button")
        expect(page.locator("#connection")).to_have_text("Live")
        page.locator('[data-meter="1"] h2 a').click()
        page.wait_for_url(f"{home}meter/1")
        expect(page.locator("#connection")).to_have_text("Live")
        page.get_by_role("link", name="API").click()
        page.locator(".opblock-get").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        answer = page.locator(".live-responses-table tbody .response-col_status")
        expect(answer.first).to_contain_text("200")
        page.get_by_role("link", name="All meters").click()
        page.wait_for_url(home)
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(f"{home}login")

    assert [each for each in troubles if "Service Worker" not in each] == []
