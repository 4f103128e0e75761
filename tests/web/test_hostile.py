"""Nonsense on a real broker: recorder and web live on, and the good readings beside it are kept."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.quantities import QUANTITIES
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

START = datetime.now(UTC) - timedelta(hours=12)
NEW_METERS = 200
MADE_UP = 10_000
MOST_GROWN_KB = 40_000
BROKER = """listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 1000000
max_inflight_messages 1000
log_type none
"""
"""Mosquitto without the limit on packets that ours has, so that even 1 MB arrives."""


class Target:
    """A broker, a recorder and a web service under attack, and a meter that means well."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.history = directory / "energy_meters.db"
        self.mqtt, self.http = free_port(), free_port()
        (directory / "broker.conf").write_text(BROKER.format(port=self.mqtt))
        broker = Part(require("mosquitto"), "-c", "broker.conf", directory=directory)
        stack.enter_context(broker)
        wait_until(lambda: listens(self.mqtt), what="mosquitto")
        start: dict[str, Any] = {"directory": directory, "MQTT_PORT": self.mqtt}
        self.recorder = Part.module("recorder", **start, NEW_METERS_PER_HOUR=NEW_METERS)
        stack.enter_context(self.recorder)
        self.recorder.wait_for("connected")
        self.web = stack.enter_context(Part.module("web", **start, HTTP_PORT=self.http))
        self.web.wait_for("listening")
        self.hostile = stack.enter_context(PlainClient(self.mqtt))
        self.good = stack.enter_context(PlainClient(self.mqtt))
        self._numbers = count()
        self.sent_good = 0
        self.keep_good()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.history}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def send_good(self) -> None:
        """Publish a good reading."""
        number = next(self._numbers)
        ts = (START + timedelta(seconds=number)).isoformat()
        reading = {"ts": ts, "seq": number, "power": number}
        self.good.begin_publish("meters/good/reading", json.dumps(reading))
        self.sent_good += 1

    def keep_good(self) -> None:
        """Publish a good reading and wait until it and all before it are stored."""
        self.send_good()
        query = "SELECT count(*) FROM readings WHERE meter = 'good'"
        wait_until(lambda: self.rows(query) == [(self.sent_good,)], what="good readings")

    def answers(self, path: str) -> Any:
        """Return what the web service answers."""
        with urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=20) as answer:
            return json.load(answer)

    def peaks_kb(self) -> tuple[int, int]:
        """Return the most memory that recorder and web have ever had."""
        return _peak_kb(self.recorder), _peak_kb(self.web)


def _peak_kb(part: Part) -> int:
    status = Path(f"/proc/{part.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with ExitStack() as stack:
        yield Target(tmp_path_factory.mktemp("hostile"), stack)


plain_text = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), exclude_characters="+#/"), max_size=20
)
"""What a broker lets pass within a level of a topic."""
meters = st.sampled_from(["1", "good2", "_bridge", "_recorder", "x" * 33, "-", ""]) | plain_text
names = st.sampled_from([quantity.name for quantity in QUANTITIES])
leaves = st.sampled_from(["reading", "power", "status", "info", "set", "again"]) | plain_text
bridge_leaves = st.sampled_from(["status", "info", "replay", "replayed", "again"])
hostile_topics = (
    st.builds("meters/{}/{}".format, meters, leaves)
    | st.builds("meters/{}/{}/{}".format, meters, meters, bridge_leaves)
    | st.builds("meters/_bridge/{}/{}".format, st.sampled_from(["gateway", "b"]), bridge_leaves)
    | st.just("meters/_recorder/main/again")
    | plain_text.filter(bool)
)
numbers = st.floats() | st.integers() | st.sampled_from([1e308, -0.0, 10**400, 2**63, -1])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)
keys = names | st.sampled_from(
    ["ts", "meter_id", "seq", "recorder", "request", "meters", "more", "name"]
)
objects = st.dictionaries(keys, values, max_size=6).map(json.dumps)
payloads = (
    st.binary(max_size=100)
    | objects.map(str.encode)
    | numbers.map(lambda number: json.dumps(number).encode())
    | st.sampled_from([b"1e400", b'{"power": 1e400}', b"[" * 100_000, b'{"a":' * 50_000])
)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(hostile_topics, payloads, st.integers(0, 1), st.booleans()),
        min_size=5,
        max_size=20,
    )
)
def test_good_readings_are_kept_beside_any_message(
    target: Target, messages: list[tuple[str, bytes, int, bool]]
) -> None:
    for topic, payload, qos, retain in messages:
        target.hostile.begin_publish(topic, payload, qos=qos, retain=retain)

    target.keep_good()

    assert target.hostile.connected
    assert target.answers("/healthz") == {"status": "ok"}


LARGE = {
    "meters/1/reading": b'{"power": 1, "name": "' + b"x" * 1_000_000 + b'"}',
    "meters/2/reading": b"[" * 1_000_000,
    "meters/2/power": b"9" * 1_000_000,
    "meters/2/status": bytes(1_000_000),
    "meters/2/info": b'{"a":' * 200_000,
    "meters/_bridge/b/replayed": b'{"a":' * 200_000,
    "meters/_bridge/b/info": b"{" + b'"a":1,' * 160_000 + b'"b":1}',
}


def test_large_messages_that_wait_for_a_locked_history_cost_no_memory(target: Target) -> None:
    target.keep_good()
    peaks_kb = target.peaks_kb()
    with closing(sqlite3.connect(target.history, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(400):
            target.hostile.publish("meters/3/reading", b"x" * 250_000)
        target.send_good()
        other.execute("ROLLBACK")
    target.keep_good()

    assert target.peaks_kb()[0] - peaks_kb[0] < MOST_GROWN_KB


def test_flood_is_refused_and_counted_and_costs_no_memory(target: Target) -> None:
    for topic, payload in LARGE.items():
        target.hostile.publish(topic, payload)
    target.keep_good()
    peaks_kb = target.peaks_kb()

    for topic in list(LARGE) * 10:
        target.hostile.publish(topic, LARGE[topic])
    for number in range(MADE_UP):
        body = '{"power": 1}' if number % 2 else '{"power": 1, "ts": "2026-11-22T12:00:00Z"}'
        target.hostile.begin_publish(f"meters/x{number}/reading", body, retain=number % 3 == 0)
        target.hostile.begin_publish(f"meters/y{number}/power", "1", qos=0)
        if number % 100 == 0:
            target.send_good()
    target.hostile.publish("meters/late/reading", '{"power": 1, "meter_id": "another"}')
    target.keep_good()

    grown_kb = [now - before for now, before in zip(target.peaks_kb(), peaks_kb, strict=True)]
    assert max(grown_kb) < MOST_GROWN_KB, grown_kb
    [(meters,)] = target.rows("SELECT count(*) FROM meters")
    assert meters <= NEW_METERS
    assert target.recorder.stop() == 0
    assert _rejected(target) >= MADE_UP - NEW_METERS
    kinds = {reason for (reason,) in target.rows("SELECT reason FROM rejected_messages")}
    assert {"too_many_meters", "too_large", "bad_value", "id_mismatch"} <= kinds
    [newest] = target.answers("/readings/good?limit=1")
    assert newest["power"] == target.sent_good - 1


def _rejected(target: Target) -> int:
    """Return the number of messages that the recorder reports as rejected."""
    with PlainClient(target.mqtt) as client:
        client.subscribe("meters/_recorder/main/info")
        wait_until(lambda: client.messages)
        return int(json.loads(client.payloads[0])["rejected"])
