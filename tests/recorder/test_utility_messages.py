"""Readings of the utility's meter that a program publishes, on their way into the history."""

import json
from pathlib import Path

from tests.recorder.test_recorder import reading, rows, start, stored
from tests.support.parts import wait_until
from tests.support.plain_client import PlainClient

TOPIC = "meters/1/utility"
ENTRIES = "SELECT exported, ts, value FROM utility_readings ORDER BY exported, ts"
REJECTED = "SELECT topic, reason FROM rejected_messages ORDER BY id"
AT = "2026-11-01T08:00:00Z"
AT_MS = 1_793_520_000_000


def test_an_entry_is_stored_replaced_and_removed(broker_port: int, tmp_path: Path) -> None:
    history = tmp_path / "recorder" / "energy_meters.db"
    with start(broker_port, history) as recorder, PlainClient(broker_port) as client:
        client.publish("meters/1/reading", reading(1).encode())
        wait_until(lambda: stored(history) == [1])

        def publish(value: float | None, **more: str) -> None:
            client.publish(TOPIC, json.dumps({"ts": AT, "value": value, **more}))

        publish(5000)
        publish(12.5, register="export")
        publish(5000.25)
        expected = [(0, AT_MS, 5_000_250), (1, AT_MS, 12_500)]
        wait_until(lambda: rows(history, ENTRIES) == expected)
        recorder.wait_for('reading of the utility\'s meter: {"ts":"2026-11-01T08:00:00.000Z"')

        publish(None, register="export")
        wait_until(lambda: rows(history, ENTRIES) == expected[:1])


def test_an_entry_that_does_not_fit_is_rejected_and_a_retained_copy_ignored(
    broker_port: int, tmp_path: Path
) -> None:
    history = tmp_path / "recorder" / "energy_meters.db"
    with PlainClient(broker_port) as client:
        client.publish(TOPIC, json.dumps({"ts": AT, "value": 1}), retain=True)
        with start(broker_port, history):
            client.publish("meters/1/reading", reading(1).encode())
            wait_until(lambda: stored(history) == [1])

            client.publish(TOPIC, json.dumps({"ts": AT, "value": -1}))
            client.publish(TOPIC, json.dumps({"ts": "2999-01-01T00:00:00Z", "value": 1}))
            client.publish("meters/2/utility", json.dumps({"ts": AT, "value": 1}))

            reasons = [
                (TOPIC, "bad_value"),
                (TOPIC, "bad_ts"),
                ("meters/2/utility", "unknown_meter"),
            ]
            wait_until(lambda: sorted(rows(history, REJECTED)) == sorted(reasons))
            assert rows(history, ENTRIES) == []
