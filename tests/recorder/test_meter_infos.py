"""The settings of meters on their way into the history: by their infos, and by a person."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recorder.test_recorder import reading, rows, start, stored
from tests.support.parts import Part, wait_until
from tests.support.plain_client import PlainClient

SETTINGS = (
    "SELECT name, COALESCE(role, info_role), COALESCE(parent, info_parent), "
    "COALESCE(title, info_title), COALESCE(billing, info_billing) FROM meters ORDER BY name"
)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return tmp_path / "recorder" / "energy_meters.db"


@pytest.fixture
def recorder(broker_port: int, history: Path) -> Iterator[Part]:
    with start(broker_port, history) as part:
        yield part


@pytest.fixture
def client(broker_port: int) -> Iterator[PlainClient]:
    with PlainClient(broker_port) as connected:
        yield connected


def publish_info(client: PlainClient, meter_id: str, **settings: str) -> None:
    client.publish(f"meters/{meter_id}/info", json.dumps({"model": "x", **settings}), retain=True)


@pytest.mark.usefixtures("recorder")
def test_an_info_that_comes_before_the_first_reading_is_stored_with_it(
    client: PlainClient, history: Path
) -> None:
    publish_info(client, "1", role="consumer", parent="main", name="Kitchen", billing="netted")
    client.publish("meters/1/reading", reading(1).encode())

    wait_until(lambda: rows(history, SETTINGS) == [("1", "consumer", "main", "Kitchen", "netted")])

    publish_info(client, "1", name="Kitchen")
    wait_until(lambda: rows(history, SETTINGS) == [("1", None, None, "Kitchen", None)])


def test_a_message_of_a_person_takes_precedence_over_the_info(
    recorder: Part, client: PlainClient, history: Path
) -> None:
    client.publish("meters/1/reading", reading(1).encode())
    wait_until(lambda: stored(history) == [1])

    client.publish("meters/1/set", '{"role": "grid", "name": "Main"}')
    publish_info(client, "1", role="consumer", name="Meter 1", billing="netted")

    wait_until(lambda: rows(history, SETTINGS) == [("1", "grid", None, "Main", "netted")])

    client.publish("meters/1/set", '{"role": null}')
    wait_until(lambda: rows(history, SETTINGS) == [("1", "consumer", None, "Main", "netted")])
    recorder.wait_for('meter 1: set: {"role":"grid","name":"Main"}')
    recorder.wait_for('meter 1: set: {"role":null}')


def test_a_retained_message_of_a_person_is_not_applied_at_each_connection(
    recorder: Part, client: PlainClient, broker_port: int, history: Path
) -> None:
    client.publish("meters/1/reading", reading(1).encode())
    wait_until(lambda: stored(history) == [1])
    for role, retain in (("grid", True), ("consumer", False)):
        client.publish("meters/1/set", json.dumps({"role": role}), retain=retain)
        wait_until(lambda role=role: rows(history, SETTINGS) == [("1", role, None, None, None)])
    recorder.stop()
    publish_info(client, "1", name="One")

    with start(broker_port, history):
        wait_until(lambda: rows(history, SETTINGS) == [("1", "consumer", None, "One", None)])


def test_settings_that_do_not_fit_are_rejected_and_kept_for_a_person(
    recorder: Part, client: PlainClient, history: Path
) -> None:
    client.publish("meters/1/reading", reading(1).encode())
    wait_until(lambda: stored(history) == [1])

    client.publish("meters/1/set", '{"role": "gird"}')
    client.publish("meters/1/set", '{"parent": "1"}')
    client.publish("meters/2/set", '{"role": "grid"}')

    query = "SELECT topic, reason FROM rejected_messages ORDER BY id"
    expected = [("meters/1/set", "bad_value")] * 2 + [("meters/2/set", "unknown_meter")]
    wait_until(lambda: rows(history, query) == expected)
    assert "role: should be 'grid', 'production', 'storage' or 'consumer'" in recorder.output
    assert "'2' has no history" in recorder.output
    assert rows(history, SETTINGS) == [("1", None, None, None, None)]


def test_a_history_that_replaces_another_gets_the_settings_again(
    recorder: Part, client: PlainClient, history: Path
) -> None:
    publish_info(client, "1", role="grid")
    client.publish("meters/1/reading", reading(1).encode())
    wait_until(lambda: rows(history, SETTINGS) == [("1", "grid", None, None, None)])
    for file in history.parent.glob("energy_meters.db*"):
        file.unlink()

    client.publish("meters/1/reading", reading(2).encode())

    wait_until(lambda: rows(history, SETTINGS) == [("1", "grid", None, None, None)])
    assert "the file was replaced" in recorder.output
