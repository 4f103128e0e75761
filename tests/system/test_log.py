"""The logs of all services: no text of others can control them, and no secret is in them."""

import contextlib
import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.parts import Part, free_port, listens, wait_until
from tests.support.plain_client import PlainClient

FORGED = "2026-01-01 00:00:00 INFO    all is well"
FOREIGN = f"\n{FORGED}\r\x1b[2J\x9b2J\x07\u2028\u2029\u202e\u2066\u200f"
SHOWN = rf"\n{FORGED}\r\x1b[2J\x9b2J\x07\u2028\u2029\u202e\u2066\u200f"
SECRET = "s3sam"
PASSWORD = f"{SECRET}@/%: {SECRET}?#&{SECRET}"


class Services:
    """Services with the most detailed log, and the port of their broker."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.port = free_port()
        self.started: list[Part] = []
        self._directory, self._stack = directory, stack

    def start(self, module: str, **settings: object) -> Part:
        settings = {"MQTT_PORT": self.port, "LOG_LEVEL": "DEBUG"} | settings
        part = Part.module(module, directory=self._directory / module, **settings)
        self.started.append(self._stack.enter_context(part))
        return part

    def start_bridge(self, **settings: object) -> Part:
        gateway = {"MODBUS_HOST": "127.0.0.1", "MODBUS_PORT": free_port()}
        return self.start("gateway_bridge", **gateway, **settings)

    def start_broker(self, **settings: object) -> Part:
        broker = self.start("broker", BROKER="embedded", **settings)
        wait_until(lambda: listens(self.port), what="the broker")
        return broker


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with ExitStack() as stack:
        yield Services(tmp_path, stack)


def send_nonsense(port: int, client_id: str) -> None:
    """Connect with a client id, and send a packet that MQTT does not know."""
    name = client_id.encode()
    content = b"\0\4MQTT\4\2\0\x3c" + len(name).to_bytes(2, "big") + name
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(bytes((0x10, len(content))) + content + b"\0\0")
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(100):
                pass


def test_no_topic_payload_client_id_or_path_controls_a_log(services: Services) -> None:
    broker, http = services.start_broker(), free_port()
    recorder, web = services.start("recorder"), services.start("web", HTTP_PORT=http)
    bridge = services.start_bridge()
    for part in (recorder, web, bridge):
        part.wait_for(": connected")
    with PlainClient(services.port) as client:
        client.publish(f"meters/1{FOREIGN}/reading", "{}")
        client.publish("meters/1/reading", json.dumps({"power": FOREIGN}))
        client.publish("meters/_bridge/gateway/replay", json.dumps({"recorder": FOREIGN}))
        recorder.wait_for(f"meters/1{SHOWN}/reading: message rejected")
        web.wait_for("meters/1/reading: power: ")
        bridge.wait_for("replay: invalid request ignored")
    send_nonsense(services.port, f"id{FOREIGN}")
    broker.wait_for(f"client id{SHOWN} at 127.0.0.1: malformed packet")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{http}/{quote(FOREIGN)}", timeout=30)

    for part in services.started:
        assert not any(line.startswith(FORGED) for line in part.output.splitlines())
        assert part.output.replace("\n", "").isprintable()


def test_no_password_or_token_is_in_a_log(services: Services, tmp_path: Path) -> None:
    users = tmp_path / "users"
    adding = ("add-user", "reader", "--file", str(users))
    http, encoded = free_port(), quote(PASSWORD, safe="")
    login = {"MQTT_USER": "reader", "MQTT_PASSWORD": PASSWORD}
    Part.module("broker", *adding, directory=tmp_path).process.wait(30)
    services.start_broker(BROKER_USERS_FILE=users, **login)
    urls = {
        "recorder": f"postgresql://me:{encoded}@127.0.0.1:1/meters",
        "web": f"postgresql://127.0.0.1:1/meters?user=me&password={encoded}",
    }
    recorder = services.start("recorder", DATABASE_URL=urls["recorder"], **login)
    web = services.start("web", DATABASE_URL=urls["web"], HTTP_PORT=http, **login)
    bridge = services.start_bridge(**login)
    recorder.wait_for("Connection refused")
    for part in (web, bridge):
        part.wait_for("connection rejected")
    for path in (f"/readyz?token={SECRET}", f"/readings/?password={SECRET}&a=b"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{http}{path}", timeout=30)
    web.wait_for("/readings/?… HTTP/1.1")
    unreadable = [
        services.start(module, DATABASE_URL=f"postgresql://me:{PASSWORD}@127.0.0.1/meters")
        for module in ("recorder", "web")
    ]
    for part in unreadable:
        assert part.process.wait(30) == 2

    for part in services.started:
        assert SECRET not in part.output


def test_an_exception_of_a_greenlet_is_in_the_log(tmp_path: Path) -> None:
    fails = """
import gevent, signal, os
from service.lifecycle import set_up_log
from web import __main__ as program
from web.settings import WebSettings
def fail():
    gevent.spawn_later(0.2, os.kill, os.getpid(), signal.SIGTERM)
    raise ValueError("a\\n2026-01-01 00:00:00 INFO all is well")
set_up_log("INFO")
gevent.spawn_later(0.2, fail)
program.run(WebSettings.load())
"""
    settings = {"HTTP_PORT": free_port(), "MQTT_PORT": free_port()}
    with Part(sys.executable, "-c", fails, directory=tmp_path, **settings) as web:
        assert web.process.wait(30) == 0

    assert "CRITICAL unexpected error" in web.output
    assert "\n  2026-01-01 00:00:00 INFO all is well" in web.output
    assert "\n2026-01-01" not in web.output
