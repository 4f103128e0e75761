"""/readyz asks broker, recorder and database, and names the one that is away."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psycopg
import pytest
import websocket

from history.database import migrate, open_database
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.postgresql import server
from tests.support.slow_broker import SlowBroker
from tests.support.web import make_client, parts


class Site:
    """A broker and a web service; recorders on demand."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.mqtt, self.http = free_port(), free_port()
        self._directory, self._stack = directory, stack
        broker = Part(require("mosquitto"), "-p", str(self.mqtt), directory=directory)
        stack.enter_context(broker)
        wait_until(lambda: listens(self.mqtt), what="mosquitto")
        self.start("web", HTTP_PORT=self.http).wait_for("listening")

    def start(self, module: str, **settings: object) -> Part:
        part = Part.module(module, directory=self._directory, MQTT_PORT=self.mqtt, **settings)
        return self._stack.enter_context(part)

    def ready(self) -> tuple[int, Any]:
        try:
            with urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def test_a_recorder_that_is_offline_is_named_until_it_runs_again(site: Site) -> None:
    recorder = site.start("recorder")
    recorder.wait_for("connected")  # the broker has its last will
    wait_until(lambda: site.ready() == (200, {"status": "ready"}), what="readiness")

    recorder.process.kill()
    recorder.process.wait()
    wait_until(lambda: site.ready()[0] == 503, what="the recorder's last will")
    status, body = site.ready()
    site.start("recorder")
    wait_until(lambda: site.ready() == (200, {"status": "ready"}), what="readiness")

    assert status == 503
    assert body["detail"] == "recorder main: offline; readings are not stored until it runs"


def test_a_recorder_that_is_offline_beside_another_is_a_warning(site: Site) -> None:
    site.start("recorder", RECORDER_NAME="first").wait_for("connected")
    second = site.start("recorder", RECORDER_NAME="second")
    second.wait_for("connected")
    wait_until(lambda: site.ready() == (200, {"status": "ready"}), what="readiness")

    second.stop()
    wait_until(lambda: "warnings" in site.ready()[1], what="the warning")

    assert site.ready() == (
        200,
        {
            "status": "ready",
            "warnings": ["recorder second: offline; another one stores the readings"],
        },
    )


def test_a_broker_counts_as_connected_once_every_reading_arrives(tmp_path: Path) -> None:
    """Before it acknowledges the subscription, readings could pass that no client learns of."""
    with SlowBroker() as broker:
        http = free_port()
        settings = {"HTTP_PORT": http, "MQTT_PORT": broker.port}
        with Part.module("web", directory=tmp_path, **settings) as web:
            web.wait_for("listening")
            assert broker.subscribed.wait(30)
            web.wait_for(": connected")
            url = f"ws://127.0.0.1:{http}/ws/1?states=true"
            client = websocket.create_connection(url, timeout=30)
            before = troubles(client, {None, "not subscribed yet"})

            broker.acknowledge()

            after = troubles(client, {None})
            client.shutdown()
    assert before[-1] == "not subscribed yet"
    assert after == [None]


def troubles(client: websocket.WebSocket, last: set[str | None]) -> list[str | None]:
    """Return the states of the broker that a client receives, up to one of these."""
    found: list[str | None] = []
    while not found or found[-1] not in last:
        frame = json.loads(client.recv())
        found += [frame["broker"]["trouble"]] if "broker" in frame else []
    return found


def test_a_database_that_stops_or_hangs_is_named() -> None:
    with server() as url:
        database = open_database(url)
        migrate(database)
        database.close()
        client = make_client(url)

        def missing() -> str:
            detail: str = client.get("/readyz").json["detail"]
            return detail

        well = missing()
        processes = _processes(url)
        _signal(processes, signal.SIGSTOP)
        hangs = [missing(), missing()]
        _signal(processes, signal.SIGCONT)
        wait_until(lambda: missing() == well, what="the database to respond")
        _signal(processes[:1], signal.SIGQUIT)
        stopped = wait_until(lambda: "refused" in (text := missing()) and text, what="the end")
        parts(client).history.close()

    assert "database" not in well
    assert all("database postgres: no response within 1 s; check" in text for text in hangs)
    assert "database postgres: " in stopped


def _processes(url: str) -> list[int]:
    """Return the process of a server, and those of its connections."""
    with psycopg.connect(url) as connection:
        [(text,)] = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchall()
        backends = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND pid != pg_backend_pid()"
        ).fetchall()
    return [int(text.split()[0]), *(pid for (pid,) in backends)]


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        os.kill(process, number)


def test_a_service_stops_while_its_database_hangs(tmp_path: Path) -> None:
    with server() as url, ExitStack() as stack:
        database = open_database(url)
        migrate(database)
        database.close()
        http = free_port()
        settings: dict[str, Any] = {"HTTP_PORT": http, "MQTT_PORT": free_port()}
        web = Part.module("web", directory=tmp_path, DATABASE_URL=url, **settings)
        stack.enter_context(web).wait_for("listening")
        with pytest.raises(HTTPError) as refusal:
            urlopen(f"http://127.0.0.1:{http}/readyz", timeout=30)
        refusal.value.close()
        processes = _processes(url)
        _signal(processes, signal.SIGSTOP)
        stack.callback(_signal, processes, signal.SIGCONT)
        with pytest.raises(HTTPError) as refusal:
            urlopen(f"http://127.0.0.1:{http}/readyz", timeout=30)
        refusal.value.close()

        assert web.stop(timeout_s=30) == 0
