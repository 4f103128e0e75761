"""The recorder: every reading becomes one row, whichever part fails meanwhile."""

import json
import logging
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.readings import Reading
from contract.replay import ReplayAnswer, Replayed
from history.retention import Keep
from recorder.storage import Storage
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

START = datetime(2026, 11, 22, 19, 0, tzinfo=UTC)
FULL = "SELECT RAISE(ABORT, 'database or disk is full')"


def reading(number: int, meter_id: str = "1") -> Reading:
    return Reading(meter_id, START + timedelta(seconds=number), {"power": float(number)}, number)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """Return the rows that another program sees; none where there is no database yet."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, timeout=10)) as database, database:
        database.execute(statement)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """The database of the recorder of a test."""
    return tmp_path / "recorder" / "energy_meters.db"


@pytest.fixture
def recorder(broker_port: int, history: Path) -> Iterator[Part]:
    """A recorder that has connected."""
    with start(broker_port, history) as part:
        yield part


@pytest.fixture
def client(broker_port: int) -> Iterator[PlainClient]:
    with PlainClient(broker_port) as connected:
        yield connected


def start(broker_port: int, history: Path, **settings: object) -> Part:
    part = Part.module("recorder", directory=history.parent, MQTT_PORT=broker_port, **settings)
    part.wait_for(f":{broker_port}: connected")
    return part


def stored(history: Path) -> list[int]:
    """Return the powers that are stored, in W and in the order of time."""
    return [round(power) for (power,) in rows(history, "SELECT power FROM readings ORDER BY ts")]  # type: ignore[call-overload]


@pytest.mark.usefixtures("recorder")
def test_a_scalar_published_by_hand_ends_as_a_row(client: PlainClient, history: Path) -> None:
    client.publish("meters/esp1/power", "123", qos=0)

    query = "SELECT meter, power, voltage FROM readings"
    wait_until(lambda: rows(history, query) == [("esp1", 123.0, None)])


@pytest.mark.usefixtures("recorder")
def test_a_reading_that_comes_twice_is_stored_once(client: PlainClient, history: Path) -> None:
    for number in (1, 1, 2):
        client.publish("meters/1/reading", reading(number).encode())

    wait_until(lambda: 2 in stored(history))
    assert stored(history) == [1, 2]


def test_readings_of_the_time_when_no_recorder_ran_are_stored(
    recorder: Part, client: PlainClient, broker_port: int, history: Path
) -> None:
    recorder.stop()
    for number in range(5):
        client.publish("meters/1/reading", reading(number).encode())

    with start(broker_port, history):
        wait_until(lambda: stored(history) == [0, 1, 2, 3, 4])


def test_readings_without_a_time_that_are_delivered_at_once_each_get_a_row(
    recorder: Part, client: PlainClient, broker_port: int, history: Path
) -> None:
    for begin in (0, 400):
        recorder.stop()
        for power in range(begin, begin + 400):
            client.begin_publish("meters/esp1/reading", f'{{"power":{power}}}')
        client.publish("meters/esp1/reading", reading(1, "esp1").encode())

        with start(broker_port, history) as another:
            wait_until(lambda count=begin + 401: len(stored(history)) >= count)
            another.stop()

    assert stored(history) == [1, *range(800)]


def test_a_recorder_that_is_killed_loses_nothing_and_stores_nothing_twice(
    recorder: Part, client: PlainClient, broker_port: int, history: Path
) -> None:
    wanted = list(range(1500))
    for number in wanted:
        client.begin_publish("meters/1/reading", reading(number).encode())
    wait_until(lambda: stored(history))
    recorder.stop(signal.SIGKILL)

    with start(broker_port, history):
        wait_until(lambda: len(stored(history)) == len(wanted))
        assert stored(history) == wanted


def journaled(client: PlainClient, history: Path, number: int = 1) -> None:
    """Publish two readings of meter 1, and let a bridge say that it has them in its journal."""
    client.subscribe("meters/_recorder/main/status")
    wait_until(lambda: client.payloads[-1:] == ["online"], what="the recorder's subscriptions")
    client.publish("meters/1/reading", reading(number).encode())
    meters = {"1": Replayed(after=0, upto=number, sent=[(number, number)], oldest=number)}
    answer_as_bridge(client, meters)
    wait_until(lambda: rows(history, "SELECT bridge FROM meters WHERE name = '1'") == [("b",)])
    client.publish("meters/1/reading", reading(number + 1).encode())
    wait_until(lambda: stored(history) == [number, number + 1])


def answer_as_bridge(client: PlainClient, meters: dict[str, Replayed]) -> None:
    """Come online as bridge b, and answer the request of the recorder."""
    client.subscribe("meters/_bridge/b/replay")
    client.publish("meters/_bridge/b/status", "online")
    topic = "meters/_bridge/b/replay"
    requests = wait_until(lambda: [m for m in list(client.messages) if m.topic == topic])
    request = json.loads(requests[-1].payload)["request"]
    answer = ReplayAnswer(recorder="main", request=request, meters=meters)
    client.publish("meters/_bridge/b/replayed", answer.encode())


def test_a_reading_that_a_journal_has_waits_and_is_committed_with_one_that_may_not_wait(
    client: PlainClient, broker_port: int, history: Path
) -> None:
    with start(broker_port, history, COMMIT_INTERVAL=300, LOG_LEVEL="DEBUG") as recorder:
        journaled(client, history)
        client.publish("meters/1/reading", reading(3).encode())
        client.publish("meters/1/reading", reading(4).encode())
        recorder.wait_for("commit window: 2 messages waiting")
        assert stored(history) == [1, 2]

        client.publish("meters/esp1/reading", reading(5, "esp1").encode())

        wait_until(lambda: stored(history) == [1, 2, 3, 4, 5])


def test_readings_that_wait_are_stored_when_the_recorder_stops(
    client: PlainClient, broker_port: int, history: Path
) -> None:
    with start(broker_port, history, COMMIT_INTERVAL=300, LOG_LEVEL="DEBUG") as recorder:
        journaled(client, history)
        client.publish("meters/1/reading", reading(3).encode())
        recorder.wait_for("commit window: 1 message waiting")
        recorder.stop()

    assert stored(history) == [1, 2, 3]


def test_readings_that_wait_in_a_recorder_that_is_killed_are_at_the_broker(
    client: PlainClient, broker_port: int, history: Path
) -> None:
    with start(broker_port, history, COMMIT_INTERVAL=300, LOG_LEVEL="DEBUG") as recorder:
        journaled(client, history)
        client.publish("meters/1/reading", reading(3).encode())
        recorder.wait_for("commit window: 1 message waiting")
        recorder.stop(signal.SIGKILL)
        assert stored(history) == [1, 2]

    with start(broker_port, history, COMMIT_INTERVAL=1):
        wait_until(lambda: stored(history) == [1, 2, 3])


def test_readings_that_wait_are_no_gap(
    client: PlainClient, broker_port: int, history: Path
) -> None:
    with start(broker_port, history, COMMIT_INTERVAL=300):
        journaled(client, history)
        client.publish("meters/1/reading", reading(4).encode())  # 3 is missing
        client.publish("meters/esp1/reading", reading(0, "esp1").encode())
        wait_until(lambda: 4 in stored(history))
        client.messages.clear()
        client.publish("meters/1/reading", reading(3).encode())
        client.publish("meters/1/reading", reading(5).encode())

        wait_until(lambda: client.messages, what="a request")
        assert json.loads(client.payloads[0])["after"] == {"1": 5}
        assert stored(history) == [0, 1, 2, 3, 4, 5]


def test_a_broker_that_delivers_few_unacknowledged_messages_does_not_stop_delivering(
    tmp_path: Path, history: Path
) -> None:
    """Mosquitto with its default of 20 messages in flight."""
    program, port = require("mosquitto"), free_port()
    with Part(program, "-p", str(port), directory=tmp_path):
        wait_until(lambda: listens(port), what="Mosquitto")
        with PlainClient(port) as client, start(port, history, COMMIT_INTERVAL=300):
            journaled(client, history)
            for number in range(3, 103):
                client.begin_publish("meters/1/reading", reading(number).encode())

            wait_until(lambda: len(stored(history)) > 100 - 15)


def test_a_full_disk_is_logged_once_and_nothing_is_lost(
    recorder: Part, client: PlainClient, history: Path
) -> None:
    execute(history, f"CREATE TRIGGER full BEFORE INSERT ON readings_raw BEGIN {FULL}; END")
    for number in range(3):
        client.publish("meters/1/reading", reading(number).encode())
    recorder.wait_for("database or disk is full")

    execute(history, "DROP TRIGGER full")

    recorder.wait_for("works again after")
    wait_until(lambda: stored(history) == [0, 1, 2])
    assert recorder.output.count("disk is full") == 1


def test_trouble_with_the_answer_of_a_bridge_is_in_the_info(
    recorder: Part, client: PlainClient, history: Path
) -> None:
    client.publish("meters/1/reading", reading(1).encode())
    wait_until(lambda: stored(history) == [1])
    execute(history, f"CREATE TRIGGER full BEFORE UPDATE OF bridge ON meters BEGIN {FULL}; END")
    client.subscribe("meters/_recorder/main/info")

    answer_as_bridge(client, {"1": Replayed(after=0, upto=1, sent=[(1, 1)], oldest=1)})

    wait_until(lambda: "disk is full" in (trouble_of(client) or ""))
    execute(history, "DROP TRIGGER full")
    wait_until(lambda: trouble_of(client) is None)
    recorder.wait_for("works again after")


def trouble_of(client: PlainClient) -> str | None:
    """Return the trouble in the last info of the recorder."""
    infos = [m.payload for m in list(client.messages) if m.topic == "meters/_recorder/main/info"]
    trouble: str | None = json.loads(infos[-1])["trouble"]
    return trouble


def test_what_a_troubled_recorder_could_not_store_comes_again(
    recorder: Part, client: PlainClient, broker_port: int, history: Path
) -> None:
    execute(history, f"CREATE TRIGGER full BEFORE INSERT ON readings_raw BEGIN {FULL}; END")
    client.publish("meters/1/reading", reading(7).encode())
    recorder.wait_for("database or disk is full")
    assert recorder.stop() == 0
    execute(history, "DROP TRIGGER full")

    with start(broker_port, history):
        wait_until(lambda: stored(history) == [7])


def test_an_unusable_message_is_kept_for_a_person_and_the_recorder_goes_on(
    recorder: Part, client: PlainClient, history: Path
) -> None:
    client.publish("meters/1/reading", '{"power": "much"}')
    client.publish("meters/two words/reading", reading(1).encode())
    client.publish("meters/1/reading", reading(2).encode())

    wait_until(lambda: stored(history) == [2])
    kept = rows(history, "SELECT topic, reason FROM rejected_messages ORDER BY id")
    assert kept == [("meters/1/reading", "bad_value"), ("meters/two words/reading", "bad_topic")]
    assert "power" in recorder.output


def test_stopping_stores_what_has_arrived_and_publishes_offline(
    recorder: Part, client: PlainClient, history: Path
) -> None:
    client.subscribe("meters/_recorder/main/status")
    client.publish("meters/esp1/power", "1")
    client.publish("meters/esp1/voltage", "230")  # 2 s before the burst would close by itself
    client.publish("meters/other/power", "x")
    recorder.wait_for("meters/other/power: message rejected")

    assert recorder.stop() == 0

    assert rows(history, "SELECT power, voltage FROM readings") == [(1.0, 230.0)]
    wait_until(lambda: client.payloads == ["online", "offline"])
    assert "Traceback" not in recorder.output


def test_the_recorder_publishes_its_counters(recorder: Part, client: PlainClient) -> None:
    client.publish("meters/1/reading", reading(1).encode())
    client.publish("meters/1/reading", "{")
    recorder.wait_for("message rejected")
    recorder.stop()

    client.subscribe("meters/_recorder/main/info")

    wait_until(lambda: client.messages)
    info = json.loads(client.payloads[0])
    assert (info["stored"], info["rejected"], info["trouble"]) == (1, 1, None)


def test_a_history_that_is_replaced_under_the_recorder_is_noticed(
    recorder: Part, client: PlainClient, history: Path
) -> None:
    client.publish("meters/1/reading", reading(1).encode())
    wait_until(lambda: stored(history) == [1])
    for file in history.parent.glob("energy_meters.db*"):
        file.unlink()

    client.publish("meters/1/reading", reading(2).encode())

    wait_until(lambda: stored(history) == [2])
    assert "the file was replaced; opening the new one" in recorder.output


def test_a_missing_directory_is_reported_in_one_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nowhere/energy.db"
    with Part.module("recorder", directory=tmp_path, DATABASE_URL=url) as part:
        assert part.process.wait(30) == 1

    assert "check that its directory exists" in part.output
    assert "Traceback" not in part.output


def test_a_damaged_history_is_left_unchanged_and_reported_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "energy_meters.db"
    opened(path).close()
    damaged = path.read_bytes()[:100] + b"\xa5" * 4000 + path.read_bytes()[4100:]
    path.write_bytes(damaged)

    with Part.module("recorder", directory=tmp_path) as part:
        assert part.process.wait(30) == 1

    assert "the file is damaged: replace it with a backup" in part.output
    assert "Traceback" not in part.output
    assert path.read_bytes() == damaged


def test_a_password_in_the_database_url_is_not_logged(tmp_path: Path) -> None:
    url = "postgresql://me:secret@127.0.0.1:1/meters"
    with Part.module("recorder", directory=tmp_path, DATABASE_URL=url) as part:
        part.wait_for("trying again")
        assert part.stop() == 0

    assert "secret" not in part.output


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (["0001_readings", "0002_rollups", "column charge"], ["created"]),
        (
            ["0002_rollups", "0003_sequences"],
            [
                "schema brought up to date: 0002_rollups",
                "schema brought up to date: 0003_sequences",
            ],
        ),
        ([], []),
    ],
    ids=["new", "of an older version", "current"],
)
def test_what_is_done_to_the_schema_is_logged(
    steps: list[str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "energy_meters.db"
    Storage(f"sqlite:///{path}").open(threading.Event())
    assert caplog.messages == [f"database {path}: created"]

    caplog.clear()
    monkeypatch.setattr("recorder.storage.migrate", lambda _: steps)
    Storage(f"sqlite:///{path}").open(threading.Event())
    assert caplog.messages == [f"database {path}: {text}" for text in expected]


def test_a_locked_history_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("history.dialect.BUSY_TIMEOUT_S", 0.05)
    caplog.set_level(logging.INFO)
    path = tmp_path / "energy_meters.db"
    storage = Storage(f"sqlite:///{path}")
    storage.open(threading.Event())
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")

        def on_change() -> None:
            if storage.trouble:
                other.execute("ROLLBACK")

        storage.on_change = on_change
        assert storage.write([reading(1)], [], threading.Event()) == 1

    storage.close()
    assert "locked" in caplog.text
    assert "works again" in caplog.text


def test_a_write_is_abandoned_when_the_recorder_stops(tmp_path: Path) -> None:
    storage = Storage(f"sqlite:///{tmp_path}/energy_meters.db")
    stop = threading.Event()
    storage.open(stop)
    execute(tmp_path / "energy_meters.db", "DROP TABLE readings_raw")

    storage.on_change = stop.set
    assert storage.write([reading(1)], [], stop) is None
    storage.close()


NONSENSE = [
    b"",
    b"\xff\xfe\x00",
    b"NaN",
    b"1e400",
    b"9" * 5000,
    b"[" * 100_000,
    b'{"power": NaN}',
    b'{"power": 1e400}',
    b'{"power": true, "ts": [], "seq": -1}',
    b'{"power": 1, "ts": 1e308}',
    b'{"power": 1, "ts": -99999999999999}',
    b'{"power": 1, "ts": "0001-01-01T00:00:00+14:00"}',
    b'{"power": 1, "seq": 99999999999999999999999999}',
    b'{"power": 1, "meter_id": "\\ud800"}',
    b'{"power": ' + b"1" * 100_000 + b"}",
    bytes(200_000),
]


def test_no_nonsense_keeps_the_recorder_from_good_readings(
    recorder: Part, client: PlainClient, history: Path
) -> None:
    for payload in NONSENSE:
        for topic in (
            "meters/1/reading",
            "meters/2/power",
            "meters/2/reading",
            "meters/\u00fc/reading",
        ):
            client.begin_publish(topic, payload)
    client.publish("meters/good/reading", reading(5, "good").encode())

    query = "SELECT power FROM readings WHERE meter = 'good'"
    wait_until(lambda: rows(history, query) == [(5.0,)])
    assert recorder.stop() == 0


def opened(path: Path, keep: Keep | None = None) -> Storage:
    storage = Storage(f"sqlite:///{path}", keep)
    assert storage.open(threading.Event())
    return storage


def test_the_history_is_rolled_up_and_thinned_out_beside_the_intake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("history.upkeep.ROLL_UP_EVERY_S", 0)
    path, never = tmp_path / "history.db", threading.Event()
    storage = opened(path, Keep(raw=10))
    old = Reading("1", datetime.now(UTC) - timedelta(days=20), {"power": 1.0})
    new = Reading("1", datetime.now(UTC), {"power": 2.0})

    storage.write([old, new], [], never)
    wait_until(lambda: storage.run_upkeep() or stored(path) == [2])

    assert rows(path, "SELECT COUNT(*) FROM rollup WHERE level = 60") == [(2,)]
    assert storage.write([old], [], never) == 0
    assert storage.too_old == 1
    storage.close()
    assert storage.too_old == 1


def test_trouble_with_rollups_is_logged_once_and_readings_are_still_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("history.upkeep.ROLL_UP_EVERY_S", 0)
    path, never = tmp_path / "history.db", threading.Event()
    storage = opened(path)
    execute(path, "CREATE TRIGGER no BEFORE INSERT ON rollup BEGIN SELECT RAISE(ABORT, 'no'); END")

    for number in range(3):
        assert storage.write([reading(number)], [], never) == 1
        storage.run_upkeep()

    assert [r.message for r in caplog.records] == [f"database {path}: no; its roll-ups wait"]
    storage.close()
