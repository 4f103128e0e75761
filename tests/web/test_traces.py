"""/traces/: the last minutes of several meters, stored or not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from flask.testing import FlaskClient

from contract.readings import Reading
from tests.support.web import parts
from web.latest import Message


def ago(seconds: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=seconds)


def send(client: FlaskClient, sent: Reading) -> None:
    """Let a reading arrive that no recorder has stored yet."""
    topic, payload = f"meters/{sent.meter_id}/reading", sent.encode().encode()
    message = Message.of(topic, payload, retained=False, arrived=ago(0), now_s=0)
    assert message
    assert parts(client).latest.handle(message)


def traces(client: FlaskClient, query: str) -> Any:
    answer = client.get(f"/traces/?{query}")
    return answer.json


def test_a_trace_ends_with_the_readings_that_are_not_stored_yet(
    client: FlaskClient, store: Callable[..., None]
) -> None:
    times = [ago(40), ago(30), ago(20)]
    store(
        Reading("1", times[0], {"power": 1.0, "voltage": 230.0}),
        Reading("1", times[1], {"power": 2.0}),
    )
    send(client, Reading("1", times[1], {"power": 2.0}))
    send(client, Reading("1", times[2], {"power": 3.0}))

    assert traces(client, "meters=1,2&quantities=power,voltage") == {
        "1": {
            "ts": [time.timestamp() for time in times],
            "power": [1.0, 2.0, 3.0],
            "voltage": [230.0, None, None],
        },
        "2": {"ts": [], "power": [], "voltage": []},
    }


def test_a_trace_needs_no_history(client: FlaskClient) -> None:
    send(client, Reading("esp1", ago(5), {"power": 7.0}))

    assert traces(client, "meters=esp1")["esp1"]["power"] == [7.0]


def test_a_trace_begins_when_the_client_says(
    client: FlaskClient, store: Callable[..., None]
) -> None:
    store(Reading("1", ago(40), {"power": 1.0}))
    send(client, Reading("1", ago(30), {"power": 2.0}))

    assert traces(client, "meters=1&seconds=15")["1"]["power"] == []


def test_wrong_meters_are_refused(client: FlaskClient) -> None:
    many = ",".join(f"m{number}" for number in range(51))

    for query in ("", "meters=", "meters=a/b", f"meters={many}"):
        (problem,) = traces(client, query)["detail"]
        assert problem["loc"][:2] == ["query", "meters"]
