"""The official clients of Socket.IO and WebSockets, as they come, against the real service."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import socketio

from tests.support.javascript import JavaScript, node_modules
from tests.support.parts import wait_until
from tests.web.test_live import Site

Start = Callable[..., JavaScript]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("site"), stack)


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start scripts of tests/web/javascript."""
    modules = node_modules(request.config.cache)
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(JavaScript.run(modules, tmp_path, *arguments))


def powers(client: JavaScript, topic: str) -> list[float]:
    messages = client.values("message")
    return [each["payload"]["power"] for each in messages if each["topic"] == topic]


@pytest.mark.parametrize(
    ("options", "transport"),
    [({}, "polling"), ({"transports": ["websocket"]}, "websocket")],
    ids=["defaults", "websocket alone"],
)
def test_javascript_client_receives_every_reading_in_order_and_once(
    site: Site, start: Start, options: dict[str, Any], transport: str
) -> None:
    meter = f"js-{transport}"
    client = start("socket_io.cjs", site.url, options, [f"meters/{meter}/reading"])
    client.wait_for_event("subscribed")
    for n in range(40):  # also while the connection is being upgraded
        site.read(meter, n)
    if transport == "polling":
        client.wait_for_event("upgrade")
    for n in range(40, 60):
        site.read(meter, n)

    client.wait_for_event("message", 60)
    assert client.values("open") == [transport]
    assert powers(client, f"meters/{meter}/reading") == list(range(60))
    assert client.values("broker")[-1] == {"connected": True, "trouble": None}


def test_javascript_client_that_cannot_upgrade_receives_everything_by_polling(
    site: Site, start: Start
) -> None:
    client = start("socket_io.cjs", site.url, {"transports": ["polling"]}, ["meters/polled/+"])
    client.wait_for_event("subscribed")
    for n in range(50):
        site.read("polled", n)

    client.wait_for_event("message", 50)
    assert powers(client, "meters/polled/reading") == list(range(50))


def test_javascript_client_on_a_page_of_cors_origins_may_poll(site: Site, start: Start) -> None:
    headers = {"extraHeaders": {"Origin": "http://localhost:3000"}}
    client = start("socket_io.cjs", site.url, headers, ["meters/cors/reading"])

    client.wait_for_event("upgrade")


def test_javascript_client_of_a_foreign_page_is_refused(site: Site, start: Start) -> None:
    headers = {"extraHeaders": {"Origin": "http://evil.example"}}
    client = start("socket_io.cjs", site.url, headers, ["meters/cors/reading"])

    client.wait_for_event("connect_error")
    assert client.values("connect") == []


def test_javascript_client_learns_that_there_is_no_such_namespace(site: Site, start: Start) -> None:
    client = start("socket_io.cjs", f"{site.url}/other", {}, [])

    client.wait_for_event("connect_error")


@pytest.mark.parametrize("transports", [None, ["polling"], ["websocket"]], ids=str)
def test_python_client_receives_every_reading_once(
    site: Site, transports: list[str] | None
) -> None:
    """The client handles each message in a thread of its own, so that their order may change."""
    meter = f"py-{transports[0] if transports else 'defaults'}"
    received: list[float] = []
    client = socketio.Client()
    client.on("message", lambda message: received.append(message["payload"]["power"]))
    client.connect(site.url, transports=transports)
    client.call("subscribe", f"meters/{meter}/reading", timeout=30)
    for n in range(50):
        site.read(meter, n)
    wait_until(lambda: len(received) >= 50, what="50 readings")
    client.disconnect()

    assert sorted(received) == list(range(50))


def test_ws_client_receives_the_stored_reading_and_every_live_one(site: Site, start: Start) -> None:
    site.post({"meter_id": "js-raw", "power": 0})
    client = start("raw.cjs", f"{site.url.replace('http', 'ws')}/ws/js-raw")
    client.wait_for_event("message")
    for n in range(1, 30):
        site.read("js-raw", n)

    received = client.wait_for_event("message", 30)
    assert [reading["power"] for reading in received] == list(range(30))
